// What a timeline shows of a program, and the words for it: some steps far enough in that the pipeline is full.
#ifndef ZO2_PLANNER_TIMELINE_VIEW_H_
#define ZO2_PLANNER_TIMELINE_VIEW_H_

#include <array>
#include <cstdint>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "planner/simulate.h"

namespace zo2::internal {

// Instructions of a timeline; past it fewer steps are shown, then wider rectangles.
inline constexpr size_t kMostSpans = 150000;

// Seconds are the simulation's.
struct View {
  const Program* program = nullptr;
  Simulation simulation;         // spans of steps [first - 1, first + steps + 1)
  int64_t first = 0, steps = 0;  // shown
  double begin = 0, end = 0;     // from the first kernel of step `first` to the first one of step first + steps
  std::vector<double> starts;    // of the shown steps: when their first kernel starts
};
View MakeView(const Program& program);

// Train, or evaluate where there is no train; null if there is neither.
const Program* MainProgram(const Schedule& schedule);

// Kinds of instructions that a person tells apart, and their colors.
enum TimelineKind {
  kUpload, kUploadInput, kPrepare, kLinear, kAttention, kOther, kLoss, kGradient, kDownload, kDownloadResult
};
struct TimelineKindRow {
  const char* name;
  const char* color;
  bool dark_text;
};
inline constexpr std::array<TimelineKindRow, 10> kTimelineKinds = {{{"upload of weights", "#3b78b0", false},
                                                                    {"upload of inputs", "#9fc3e0", true},
                                                                    {"prepare", "#e0912f", true},
                                                                    {"matrix product", "#2f8f5b", false},
                                                                    {"attention", "#86bb4a", true},
                                                                    {"other op", "#b9d3be", true},
                                                                    {"loss", "#0f5e54", false},
                                                                    {"gradient", "#b3261e", false},
                                                                    {"download of weights", "#7a5ba6", false},
                                                                    {"download of results", "#c7b6e2", true}}};
TimelineKind KindOf(const Schedule& schedule, LaneKind lane, const Instruction& instruction);

// What an instruction is, in a few words, and what else there is to say, in lines.
struct TimelineLabel {
  std::string title, more;
};
TimelineLabel MakeLabel(const Schedule& schedule, const Program& program, const Lane& lane, const Instruction& instruction);

}  // namespace zo2::internal

#endif  // ZO2_PLANNER_TIMELINE_VIEW_H_
