#include "planner/simulate.h"

#include <algorithm>
#include <cmath>

namespace zo2 {
namespace {

constexpr int64_t kWindow = 4;    // iterations that are measured, about
constexpr int kMostWindows = 24;  // tried until the lanes keep step
constexpr double kSettled = 1e-4;

}  // namespace

Simulation Simulate(const Program& p, int64_t record_begin, int64_t record_end) {
  Simulation out;
  const size_t lanes = p.lanes.size();
  // Flat indices: instruction i of lane l is base[l] + i.
  std::vector<size_t> base(lanes + 1, 0);
  for (size_t l = 0; l < lanes; ++l) base[l + 1] = base[l] + p.lanes[l].instructions.size();
  const size_t n = base[lanes];
  out.busy.assign(lanes, 0);
  out.waits.assign(lanes, 0);
  if (n == 0) return out;
  struct Item {
    const Instruction* instruction;
    size_t lane, flat;
  };
  std::vector<Item> order;
  for (size_t l = 0; l < lanes; ++l)
    for (size_t i = 0; i < p.lanes[l].instructions.size(); ++i)
      order.push_back({&p.lanes[l].instructions[i], l, base[l] + i});
  std::sort(order.begin(), order.end(),
            [](const Item& a, const Item& b) { return a.instruction->seq < b.instruction->seq; });
  // Edges by target.
  std::vector<size_t> first(n + 1, 0);
  int max_back = 1;
  for (const Edge& e : p.edges) {
    ++first[base[static_cast<size_t>(e.to_lane)] + static_cast<size_t>(e.to) + 1];
    max_back = std::max(max_back, e.back);
  }
  for (size_t i = 0; i < n; ++i) first[i + 1] += first[i];
  struct Source {
    size_t flat, lane;
    int back;
  };
  std::vector<Source> sources(p.edges.size());
  std::vector<size_t> fill(first.begin(), first.end() - 1);
  for (const Edge& e : p.edges) {
    sources[fill[base[static_cast<size_t>(e.to_lane)] + static_cast<size_t>(e.to)]++] = {
        base[static_cast<size_t>(e.from_lane)] + static_cast<size_t>(e.from), static_cast<size_t>(e.from_lane), e.back};
  }
  // passed[back][flat]: when the instruction of that many iterations ago was passed.
  const size_t depth = static_cast<size_t>(max_back) + 1;
  std::vector<std::vector<double>> passed(depth, std::vector<double>(n, 0));
  std::vector<double> lane_time(lanes, 0);
  double end = 0;  // of the latest iteration
  const int64_t k = p.period;
  const int64_t window = std::max<int64_t>(k, kWindow) / k * k;  // whole periods
  const int64_t warm = (std::max<int64_t>(kWindow, k) + max_back + k - 1) / k * k + window;
  int64_t it = 0;
  for (int windows = 0;; ++windows) {
    const bool measure = it >= warm;
    const int64_t until = measure ? it + window : warm;
    const double end_before = end;
    const std::vector<double> before = lane_time;
    std::fill(out.busy.begin(), out.busy.end(), 0);
    std::fill(out.waits.begin(), out.waits.end(), 0);
    for (; it < until; ++it) {
      std::vector<double>& now = passed[static_cast<size_t>(it) % depth];
      for (const Item& item : order) {
        const Instruction& i = *item.instruction;
        double& time = lane_time[item.lane];
        if (RunsAt(p, i, it)) {
          double start = time;
          size_t blocker = item.lane;
          for (size_t e = first[item.flat]; e < first[item.flat + 1]; ++e) {
            const Source& s = sources[e];
            if (s.back > it) continue;
            double t = passed[static_cast<size_t>(it - s.back) % depth][s.flat];
            if (t > start) {
              start = t;
              blocker = s.lane;
            }
          }
          out.busy[item.lane] += i.seconds;
          if (p.lanes[item.lane].kind == LaneKind::kCompute) out.waits[blocker] += start - time;
          time = start + i.seconds;
          if (it >= record_begin && it < record_end) {
            out.spans.push_back(
                {static_cast<LaneId>(item.lane), static_cast<int32_t>(item.flat - base[item.lane]), it, start, time});
          }
        }
        now[item.flat] = time;
        end = std::max(end, time);
      }
      if (it == 0) out.latency = end;
    }
    if (!measure) continue;
    out.period = (end - end_before) / static_cast<double>(window);
    // The compute lanes keep step with all: a lane that is slower has stopped running behind.
    bool settled = true;
    for (size_t l = 0; l < lanes; ++l) {
      if (p.lanes[l].kind != LaneKind::kCompute || p.lanes[l].instructions.empty()) continue;
      settled = settled && std::abs(lane_time[l] - before[l] - (end - end_before)) <= kSettled * (end - end_before);
    }
    if (it >= record_end && (settled || windows >= kMostWindows)) break;
  }
  for (double& b : out.busy) b /= static_cast<double>(window);
  for (double& w : out.waits) w /= static_cast<double>(window);
  return out;
}

}  // namespace zo2
