#include "runtime/trace_table.h"

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <limits>
#include <map>
#include <utility>

namespace zo2 {
namespace {

struct Row {
  int64_t calls = 0;
  double measured = 0, predicted = 0;
};

// One lane of one program, over all its starts.
struct LaneTotals {
  std::map<std::string, Row> rows;  // by kind and op
  Row all;
  double waiting = 0;
};

// All starts of one program.
struct Totals {
  std::vector<LaneTotals> lanes;
  int64_t iterations = 0;
  double seconds = 0;
};

// Iterations [first, end) of a start that count.
std::pair<int64_t, int64_t> Counted(const TracedRun& run) {
  int64_t first = std::numeric_limits<int64_t>::max(), last = -1;
  for (const auto& events : run.lanes) {
    if (events.empty()) continue;
    first = std::min(first, events.front().iteration);
    last = std::max(last, events.back().iteration);
  }
  return {last > first ? first + 1 : first, last + 1};
}

void Add(const Schedule& schedule, const Program& program, const TracedRun& run, Totals* totals) {
  const auto [first, end] = Counted(run);
  if (end <= first) return;
  int64_t longest = 0;
  for (size_t l = 0; l < run.lanes.size(); ++l) {
    LaneTotals& lane = totals->lanes[l];
    int64_t begin = -1;  // where the lane's counted time begins: where what is left out ends
    for (const LaneEvent& event : run.lanes[l]) {
      if (event.iteration < first || begin < 0) begin = event.iteration < first ? event.end : event.begin;
      if (event.iteration < first) continue;
      const Instruction& i = program.lanes[l].instructions[static_cast<size_t>(event.index)];
      std::string what(Name(i.kind));
      if (i.node >= 0) what += " " + std::string(Name(schedule.nodes[static_cast<size_t>(i.node)].op));
      for (Row* row : {&lane.rows[what], &lane.all}) {
        ++row->calls;
        row->measured += 1e-9 * static_cast<double>(event.end - event.start);
        row->predicted += i.seconds;
      }
      lane.waiting += 1e-9 * static_cast<double>(event.start - event.begin);
      longest = std::max(longest, event.end - begin);
    }
  }
  totals->iterations += end - first;
  totals->seconds += 1e-9 * static_cast<double>(longest);
}

class Printer {
 public:
  Printer(int64_t iterations, double seconds) : n_(static_cast<double>(iterations)), seconds_(seconds) {}
  // Without calls or prediction: blanks.
  void Line(const std::string& what, const Row& row) {
    Put("    %-24s", what.c_str());
    row.calls > 0 ? Put(" %7.6g", static_cast<double>(row.calls) / n_) : Put("%8s", "");
    Put(" %10.6f", row.measured / n_);
    row.predicted > 0 ? Put(" %10.6f %6.2f", row.predicted / n_, row.measured / row.predicted) : Put("%18s", "");
    Put(" %6.1f%%\n", 100 * row.measured / seconds_);
  }
  template <typename... T>
  void Put(const char* format, T... values) {
    char text[200];
    std::snprintf(text, sizeof text, format, values...);
    text_ += text;
  }
  const std::string& text() const { return text_; }

 private:
  const double n_, seconds_;
  std::string text_;
};

std::string Print(const Program& program, const Totals& totals) {
  Printer p(totals.iterations, totals.seconds);
  p.Put("%s, mean of %ld iteration%s, seconds per iteration:\n", program.name.c_str(),
        static_cast<long>(totals.iterations), totals.iterations == 1 ? "" : "s");
  p.Put("    %-24s %7s %10s %10s %6s %7s\n", "", "calls", "measured", "predicted", "ratio", "share");
  for (size_t l = 0; l < totals.lanes.size(); ++l) {
    const LaneTotals& lane = totals.lanes[l];
    if (lane.all.calls == 0) continue;
    p.Put("  %s %d\n", std::string(Name(program.lanes[l].kind)).c_str(), static_cast<int>(program.lanes[l].device));
    std::vector<std::pair<std::string, Row>> rows(lane.rows.begin(), lane.rows.end());
    std::stable_sort(rows.begin(), rows.end(),
                     [](const auto& a, const auto& b) { return a.second.measured > b.second.measured; });
    for (const auto& [what, row] : rows) p.Line(what, row);
    if (rows.size() > 1) p.Line("all", lane.all);
    p.Line("waiting", {0, lane.waiting, 0});
    p.Line("rest", {0, std::max(0.0, totals.seconds - lane.all.measured - lane.waiting), 0});
  }
  p.Line("iteration", {0, totals.seconds, program.predicted_period * static_cast<double>(totals.iterations)});
  return p.text();
}

}  // namespace

std::string TraceTable(const Schedule& schedule, const std::vector<TracedRun>& runs) {
  std::string text;
  for (const Program& program : schedule.programs) {
    Totals totals;
    totals.lanes.resize(program.lanes.size());
    for (const TracedRun& run : runs)
      if (run.purpose == program.purpose) Add(schedule, program, run, &totals);
    if (totals.iterations > 0) text += Print(program, totals);
  }
  return text;
}

}  // namespace zo2
