#include "planner/timeline_view.h"

#include <algorithm>
#include <map>

#include "planner/options.h"

namespace zo2::internal {

const Program* MainProgram(const Schedule& s) {
  const Program* p = s.Find(Purpose::kTrain);
  return p != nullptr ? p : s.Find(Purpose::kEvaluate);
}

View MakeView(const Program& p) {
  View v;
  v.program = &p;
  // Two steps, or all of a write-back's period and one more.
  v.steps = p.period == 1 ? 2 : std::min(p.period + 1, 8);
  size_t instructions = 0;
  for (const Lane& lane : p.lanes) instructions += lane.instructions.size();
  if (static_cast<size_t>(v.steps) * instructions > kMostSpans) v.steps = 2;
  v.first = (std::max<int64_t>(p.period, 8) + p.period - 1) / p.period * p.period;
  v.simulation = Simulate(p, v.first - 1, v.first + v.steps + 1);
  std::map<int64_t, double> starts;
  for (const Span& s : v.simulation.spans) {
    v.end = std::max(v.end, s.finish);
    if (p.lanes[static_cast<size_t>(s.lane)].kind != LaneKind::kCompute) continue;
    auto [it, fresh] = starts.emplace(s.iteration, s.start);
    if (!fresh) it->second = std::min(it->second, s.start);
  }
  for (const auto& [step, start] : starts)
    if (step >= v.first && step < v.first + v.steps) v.starts.push_back(start);
  if (!v.starts.empty()) v.begin = v.starts.front();
  if (auto it = starts.find(v.first + v.steps); it != starts.end()) v.end = it->second;
  return v;
}

TimelineKind KindOf(const Schedule& s, LaneKind lane, const Instruction& i) {
  if (i.kind == InstrKind::kPrepare) return kPrepare;
  if (i.kind == InstrKind::kGradient) return kGradient;
  if (lane == LaneKind::kH2D) return i.tile >= 0 ? kUpload : kUploadInput;
  if (lane == LaneKind::kD2H) return i.tile >= 0 ? kDownload : kDownloadResult;
  if (i.kind != InstrKind::kCall || i.node < 0) return kOther;
  if (i.node == s.loss.node) return kLoss;
  const Op op = s.nodes[static_cast<size_t>(i.node)].op;
  return op == Op::kLinear || op == Op::kMatMul ? kLinear : op == Op::kAttention ? kAttention : kOther;
}

namespace {

std::string ShapeText(const TensorType& type) {
  std::string text(Name(type.dtype));
  text += "[";
  for (size_t d = 0; d < type.shape.size(); ++d) text += (d > 0 ? "," : "") + std::to_string(type.shape[d]);
  return text + "]";
}

// "+" and "-" for the usual branches; with several samples "sample 2 +".
std::string BranchText(const Program& p, int32_t branch) {
  const Branch& b = p.branches[static_cast<size_t>(branch)];
  if (b.terms.empty()) return "";
  const std::string sign = b.terms[0].coefficient > 0 ? "+" : "-";
  return p.samples > 1 ? "sample " + std::to_string(b.terms[0].sample) + " " + sign : sign;
}

}  // namespace

TimelineLabel MakeLabel(const Schedule& s, const Program& p, const Lane& lane, const Instruction& i) {
  TimelineLabel label;
  const bool copy = i.kind == InstrKind::kCopy;
  label.title = copy ? lane.kind == LaneKind::kH2D ? "upload" : "download" : std::string(Name(i.kind));
  if (i.kind == InstrKind::kCall && i.node >= 0) {
    const PlanNode& n = s.nodes[static_cast<size_t>(i.node)];
    label.title = std::string(Name(n.op)) + " " + n.name;
    if (!n.outputs.empty()) label.more = "makes " + ShapeText(s.values[static_cast<size_t>(n.outputs[0])].type);
    if (!i.first_part || !i.last_part || i.part_begin != 0)
      label.more += ", part [" + std::to_string(i.part_begin) + ", " + std::to_string(i.part_end) + ") of its weight";
    for (const Operand& o : i.operands)
      if (o.tile >= 0) {
        const Tile& tile = s.tiles[static_cast<size_t>(o.tile)];
        label.more += "\nweights from tile " + tile.name + ", " + FormatSize(static_cast<double>(tile.branch_bytes)) +
                      " as computed";
        break;
      }
    for (int32_t b : i.branches) label.title += " " + BranchText(p, b);
    if (i.branches.empty() && !p.branches.empty()) label.more += "\none call serves all branches";
  } else if (i.tile >= 0) {
    label.title += " " + s.tiles[static_cast<size_t>(i.tile)].name;
    if (i.kind == InstrKind::kPrepare) {
      label.more = FormatSize(static_cast<double>(s.tiles[static_cast<size_t>(i.tile)].bytes)) + ": ";
      label.more += s.tiles[static_cast<size_t>(i.tile)].trainable ? "applies pending updates" : "frozen";
      if (i.operands.size() > 1 && i.operands[1].buffer >= 0) label.more += ", leaves the master up to date";
      if (!i.branches.empty()) label.more += ", emits " + std::to_string(i.branches.size()) + " branches";
    }
  } else if (copy && i.operands.size() == 2 && i.operands[0].buffer >= 0) {
    label.title += " " + s.buffers[static_cast<size_t>(i.operands[lane.kind == LaneKind::kH2D ? 1 : 0].buffer)].name;
  }
  if (copy && !i.operands.empty() && i.seconds > 0) {
    const auto bytes = static_cast<double>(i.operands[0].type.bytes());
    label.more = FormatSize(bytes) + " at " + FormatSize(bytes / i.seconds) + "/s";
  }
  if (p.samples * p.micro_batches > 1 && i.kind != InstrKind::kGradient)
    label.more += "\npass " + std::to_string(i.pass) + " of " + std::to_string(p.samples * p.micro_batches);
  return label;
}

}  // namespace zo2::internal
