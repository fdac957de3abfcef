#include "planner/simulate.h"

#include <algorithm>

namespace zo2 {

Simulation Simulate(const Program& p, int64_t record_begin, int64_t record_end) {
  Simulation out;
  const size_t lanes = p.lanes.size();
  out.busy.assign(lanes, 0);
  out.waits.assign(lanes, 0);
  // Flat indices: instruction i of lane l is base[l] + i.
  std::vector<size_t> base(lanes + 1, 0);
  for (size_t l = 0; l < lanes; ++l) base[l + 1] = base[l] + p.lanes[l].instructions.size();
  const size_t n = base[lanes];
  if (n == 0) return out;
  struct Item {
    const Instruction* instruction;
    size_t lane, flat;
  };
  std::vector<Item> order;
  for (size_t l = 0; l < lanes; ++l)
    for (size_t i = 0; i < p.lanes[l].instructions.size(); ++i)
      order.push_back({&p.lanes[l].instructions[i], l, base[l] + i});
  std::sort(order.begin(), order.end(), [](const Item& a, const Item& b) { return a.instruction->seq < b.instruction->seq; });
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
  std::vector<double> ends;  // when each iteration was over
  const int64_t k = p.period;
  const int64_t warm = std::max<int64_t>(4, k) + max_back, least = warm + 2 * std::max<int64_t>(k, 4);
  const int64_t total = std::max((least + k - 1) / k * k, record_end);
  int64_t counted = 0;
  for (int64_t it = 0; it < total; ++it) {
    std::vector<double>& now = passed[static_cast<size_t>(it) % depth];
    const bool measure = it >= total - std::max<int64_t>(k, 4) / k * k;  // whole periods at the end
    counted += measure;
    double end = ends.empty() ? 0 : ends.back();
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
        if (measure) {
          out.busy[item.lane] += i.seconds;
          if (p.lanes[item.lane].kind == LaneKind::kCompute) out.waits[blocker] += start - time;
        }
        time = start + i.seconds;
        if (it >= record_begin && it < record_end) {
          out.spans.push_back({static_cast<LaneId>(item.lane), static_cast<int32_t>(item.flat - base[item.lane]), it, start, time});
        }
      }
      now[item.flat] = time;
      end = std::max(end, time);
    }
    ends.push_back(end);
    if (it == 0) out.latency = end;
  }
  out.period = (ends.back() - ends[ends.size() - 1 - static_cast<size_t>(counted)]) / static_cast<double>(counted);
  for (double& b : out.busy) b /= static_cast<double>(counted);
  for (double& w : out.waits) w /= static_cast<double>(counted);
  return out;
}

}  // namespace zo2
