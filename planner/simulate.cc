#include "planner/simulate.h"

#include <algorithm>
#include <cmath>
#include <limits>

namespace zo2 {
namespace {

constexpr double kSettled = 1e-4;  // of the period
constexpr double kExact = 1e-10;   // likewise; what is waited for in the first iterations
constexpr int64_t kFirst = 24;
constexpr int kMostCycles = 4;             // periods of K iterations after which everything may repeat
constexpr size_t kMostTimes = 4u << 20;    // times of past iterations that are kept
constexpr int64_t kLeastIterations = 100;  // before a period counts as unsettled
constexpr int64_t kMostRuns = 100'000;     // of instructions, likewise

// The program flattened, and the state of its execution.
class Run {
 public:
  explicit Run(const Program& program) : p_(program), lanes_(program.lanes.size()) {
    base_.assign(lanes_ + 1, 0);
    for (size_t l = 0; l < lanes_; ++l) base_[l + 1] = base_[l] + p_.lanes[l].instructions.size();
    for (size_t l = 0; l < lanes_; ++l)
      for (size_t i = 0; i < p_.lanes[l].instructions.size(); ++i)
        order_.push_back({&p_.lanes[l].instructions[i], l, base_[l] + i});
    std::sort(order_.begin(), order_.end(),
              [](const Item& a, const Item& b) { return a.instruction->seq < b.instruction->seq; });
    SortEdges();
    lane_time_.assign(lanes_, 0);
    const auto k = static_cast<size_t>(p_.period);
    cycles_ = static_cast<int>(std::clamp<size_t>(kMostTimes / std::max<size_t>(1, size() * k), 1,
                                                  static_cast<size_t>(kMostCycles)));
    depth_ = static_cast<size_t>(max_back_) + static_cast<size_t>(cycles_) * k + 1;
    passed_.assign(depth_, std::vector<double>(size(), 0));
    busy_.assign(depth_, std::vector<double>(lanes_, 0));
    waits_ = busy_;
  }

  size_t size() const { return base_[lanes_]; }
  int cycles() const { return cycles_; }
  double end() const { return end_; }

  void Iteration(int64_t it, bool record, std::vector<Span>* spans) {
    std::vector<double>& now = passed_[Slot(it)];
    std::vector<double>&busy = busy_[Slot(it)], &waits = waits_[Slot(it)];
    std::fill(busy.begin(), busy.end(), 0);
    std::fill(waits.begin(), waits.end(), 0);
    for (const Item& item : order_) {
      const Instruction& i = *item.instruction;
      double& time = lane_time_[item.lane];
      if (RunsAt(p_, i, it)) {
        double start = time;
        size_t blocker = item.lane;
        for (size_t e = first_[item.flat]; e < first_[item.flat + 1]; ++e) {
          const Source& s = sources_[e];
          if (s.back > it) continue;
          const double t = passed_[Slot(it - s.back)][s.flat];
          if (t > start) {
            start = t;
            blocker = s.lane;
          }
        }
        busy[item.lane] += i.seconds;
        if (p_.lanes[item.lane].kind == LaneKind::kCompute) waits[blocker] += start - time;
        time = start + i.seconds;
        if (record)
          spans->push_back({static_cast<LaneId>(item.lane),
                            static_cast<int32_t>(item.flat - base_[item.lane]), it, start, time});
      }
      now[item.flat] = time;
      end_ = std::max(end_, time);
    }
  }

  // The least and the most that any instruction moved on, per iteration, from `back` iterations before, in
  // the iterations before `it` that the next ones look back to; in fewer of them where the two differ by more
  // than `tolerance` times the most already.
  std::pair<double, double> Advance(int64_t it, int64_t back, double tolerance) const {
    double least = std::numeric_limits<double>::infinity(), most = 0;
    for (int64_t t = it - 1; t >= it - max_back_ && t >= back; --t) {
      const std::vector<double>&now = passed_[Slot(t)], &then = passed_[Slot(t - back)];
      for (size_t i = 0; i < now.size(); ++i) {
        least = std::min(least, now[i] - then[i]);
        most = std::max(most, now[i] - then[i]);
      }
      if (most - least > tolerance * most) break;
    }
    const auto n = static_cast<double>(back);
    return {least / n, most / n};
  }

  // Busy seconds and waits per iteration, over the last `back` iterations before `it`.
  void Average(int64_t it, int64_t back, Simulation* out) const {
    out->busy.assign(lanes_, 0);
    out->waits.assign(lanes_, 0);
    for (int64_t t = it - back; t < it; ++t) {
      for (size_t l = 0; l < lanes_; ++l) {
        out->busy[l] += busy_[Slot(t)][l] / static_cast<double>(back);
        out->waits[l] += waits_[Slot(t)][l] / static_cast<double>(back);
      }
    }
  }

 private:
  struct Item {
    const Instruction* instruction;
    size_t lane, flat;  // instruction i of lane l is base_[l] + i
  };
  struct Source {
    size_t flat, lane;
    int back;
  };

  size_t Slot(int64_t it) const { return static_cast<size_t>(it) % depth_; }
  size_t Flat(LaneId lane, int32_t index) const {
    return base_[static_cast<size_t>(lane)] + static_cast<size_t>(index);
  }

  // By target.
  void SortEdges() {
    first_.assign(size() + 1, 0);
    for (const Edge& e : p_.edges) {
      ++first_[Flat(e.to_lane, e.to) + 1];
      max_back_ = std::max(max_back_, e.back);
    }
    for (size_t i = 0; i < size(); ++i) first_[i + 1] += first_[i];
    sources_.resize(p_.edges.size());
    std::vector<size_t> fill(first_.begin(), first_.end() - 1);
    for (const Edge& e : p_.edges)
      sources_[fill[Flat(e.to_lane, e.to)]++] = {Flat(e.from_lane, e.from), static_cast<size_t>(e.from_lane),
                                                 e.back};
  }

  const Program& p_;
  const size_t lanes_;
  std::vector<size_t> base_;
  std::vector<Item> order_;
  std::vector<size_t> first_;  // edge of each instruction
  std::vector<Source> sources_;
  int max_back_ = 1, cycles_ = 1;
  size_t depth_ = 1;
  // Of iteration t, at Slot(t): when each instruction was passed; per lane.
  std::vector<std::vector<double>> passed_, busy_, waits_;
  std::vector<double> lane_time_;
  double end_ = 0;  // of the latest iteration
};

}  // namespace

Simulation Simulate(const Program& p, int64_t record_begin, int64_t record_end) {
  Simulation out;
  out.busy.assign(p.lanes.size(), 0);
  out.waits.assign(p.lanes.size(), 0);
  Run run(p);
  if (run.size() == 0) return out;
  const int64_t k = p.period;
  const int64_t most =
      std::max({kLeastIterations, 8 * k, kMostRuns / static_cast<int64_t>(run.size()), record_end});
  out.settled = false;
  int64_t window = 0, it = 0;
  while (it < record_end || (!out.settled && it < most)) {
    for (int64_t r = 0; r < k; ++r, ++it) {
      run.Iteration(it, it >= record_begin && it < record_end, &out.spans);
      if (it == 0) out.latency = run.end();
    }
    out.settled = false;
    for (int c = 1; c <= run.cycles() && !out.settled && it > c * k; ++c) {
      window = c * k;
      const double tolerance = it < kFirst + 8 * k ? kExact : kSettled;
      const auto [least, longest] = run.Advance(it, window, tolerance);
      out.settled = longest - least <= tolerance * longest;
      out.period = out.settled ? 0.5 * (least + longest) : longest;
    }
  }
  if (window > 0) run.Average(it, window, &out);
  for (double busy : out.busy) out.period = std::max(out.period, busy);  // settled to kSettled only
  return out;
}

Simulation Predict(Program* p, const Machine& machine) {
  double tax = 0;  // seconds of compute per iteration, if it is busy all the time
  for (const Lane& lane : p->lanes) {
    const bool host = lane.kind == LaneKind::kHost;
    if (!host && lane.kind != LaneKind::kH2D && lane.kind != LaneKind::kD2H) continue;
    const double per_byte = lane.kind == LaneKind::kH2D ? machine.UploadTax() : machine.DownloadTax();
    for (const Instruction& i : lane.instructions) {
      int runs = 0;
      for (int r = 0; r < p->period; ++r) runs += RunsAt(*p, i, r);
      const double lost =
          host ? machine.HostTax() * i.seconds : per_byte * static_cast<double>(i.operands[0].type.bytes());
      tax += lost * runs / p->period;
    }
  }
  Simulation out = Simulate(*p);
  double computing = 0;
  for (size_t l = 0; l < p->lanes.size(); ++l)
    if (p->lanes[l].kind == LaneKind::kCompute) computing += out.busy[l];
  if (!(tax > 0) || !(computing > 0)) return out;
  double slowed = 1;
  // The period when the time lost is what it would be if the period were `assumed`, less `assumed`.
  const auto excess = [&](double assumed) {
    const double factor = 1 / (1 - tax / assumed);
    for (Lane& lane : p->lanes)
      if (lane.kind == LaneKind::kCompute)
        for (Instruction& i : lane.instructions) i.seconds *= factor / slowed;
    slowed = factor;
    out = Simulate(*p);
    return out.period - assumed;
  };
  // No period is shorter than this: lanes that are never idle pay all of the tax. The excess falls with the
  // period that is assumed, so there is one without any; secants, after a first step of plain iteration.
  const double shortest = std::max(out.period, computing + tax);
  double x = shortest, h = excess(x), before = x, h_before = h;
  for (int round = 0; round < 4 && std::abs(h) > 1e-4 * x; ++round) {
    const double slope = round == 0 ? -1 : (h - h_before) / (x - before);
    before = x, h_before = h;
    x = std::max(shortest, x - h / std::min(slope, -1.0));
    if (x == before) break;
    h = excess(x);
  }
  out.period = std::max(out.period, shortest);  // the iteration stops within a tolerance, on either side
  out.copies_cost = computing * (slowed - 1);
  return out;
}

}  // namespace zo2
