#include "tests/property/planner/event_simulator.h"

#include <algorithm>
#include <limits>

namespace zo2 {
namespace {

constexpr double kNever = std::numeric_limits<double>::infinity();

struct Worker {
  int64_t iteration = 0;
  size_t next = 0;
  bool busy = false;
  double until = 0;
};

class Events {
 public:
  Events(const Program& program, int64_t iterations)
      : p_(program), iterations_(iterations), workers_(program.lanes.size()) {
    passed_.resize(static_cast<size_t>(iterations));
    out_.start.resize(passed_.size());
    out_.finish.resize(passed_.size());
    for (size_t t = 0; t < passed_.size(); ++t) {
      for (const Lane& lane : p_.lanes) {
        passed_[t].emplace_back(lane.instructions.size(), false);
        out_.start[t].emplace_back(lane.instructions.size(), -1.0);
        out_.finish[t].emplace_back(lane.instructions.size(), -1.0);
      }
    }
    out_.end.assign(passed_.size(), 0);
  }

  EventRun Run() {
    double now = 0;
    for (;;) {
      bool moved = true;
      while (moved) {  // all that happens at this instant
        moved = false;
        for (size_t l = 0; l < workers_.size(); ++l) moved = Step(l, now) || moved;
      }
      double next = kNever;
      for (const Worker& w : workers_)
        if (w.busy) next = std::min(next, w.until);
      if (next == kNever) break;
      now = next;
    }
    for (const Worker& w : workers_) out_.stuck = out_.stuck || w.iteration < iterations_;
    return std::move(out_);
  }

 private:
  bool MayStart(size_t lane, size_t index, int64_t iteration) const {
    for (const Edge& e : p_.edges) {
      if (static_cast<size_t>(e.to_lane) != lane || static_cast<size_t>(e.to) != index || e.back > iteration) continue;
      if (!passed_[static_cast<size_t>(iteration - e.back)][static_cast<size_t>(e.from_lane)]
                  [static_cast<size_t>(e.from)])
        return false;
    }
    return true;
  }

  // One thing that lane can do now; false when there is none.
  bool Step(size_t l, double now) {
    Worker& w = workers_[l];
    if (w.iteration >= iterations_) return false;
    const auto& queue = p_.lanes[l].instructions;
    const auto t = static_cast<size_t>(w.iteration);
    if (w.next == queue.size()) {
      ++w.iteration;
      w.next = 0;
      return true;
    }
    const Instruction& i = queue[w.next];
    if (w.busy) {
      if (w.until > now) return false;
      w.busy = false;
      out_.finish[t][l][w.next] = now;
    } else if ((i.residues >> (w.iteration % p_.period)) & 1) {
      if (!MayStart(l, w.next, w.iteration)) return false;
      out_.start[t][l][w.next] = now;
      w.busy = true;
      w.until = now + i.seconds;
      return true;
    }
    passed_[t][l][w.next] = true;
    out_.end[t] = std::max(out_.end[t], now);
    ++w.next;
    return true;
  }

  const Program& p_;
  const int64_t iterations_;
  std::vector<Worker> workers_;
  std::vector<std::vector<std::vector<bool>>> passed_;
  EventRun out_;
};

}  // namespace

EventRun RunEvents(const Program& program, int64_t iterations) { return Events(program, iterations).Run(); }

}  // namespace zo2
