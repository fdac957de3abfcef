// A bound program as its asynchronous lanes run it: cut into stretches, with the events that join them.
//
// A lane's thread gives its queue the work of an iteration as fast as it can and never waits for the device. Where an
// edge comes from another asynchronous lane, the queue waits for an event; where it comes from a lane of the host, the
// thread waits. A stretch is the longest run of instructions of which only the first waits for another lane and only
// the last is waited for, so that its work can be repeated as one graph: waits and records stay outside of graphs, whose
// meaning is then plain, and a host lane in the middle of an iteration does no harm.
//
// Every event has a ring of copies, one per iteration that may be under way, so that a copy is not recorded again while
// somebody may still wait for what it stood for: at most `depth` iterations run beyond the last one that has been waited
// for to its end, and an edge reaches back at most `max_back` iterations.
#ifndef ZO2_RUNTIME_ASYNC_PROGRAM_H_
#define ZO2_RUNTIME_ASYNC_PROGRAM_H_

#include <cstdint>
#include <map>
#include <memory>
#include <vector>

#include "runtime/async_queue.h"
#include "runtime/bound_program.h"
#include "runtime/lane.h"

namespace zo2 {

// Copies of one event, by iteration.
class EventRing {
 public:
  static Result<EventRing> Make(AsyncQueue& queue, int copies);
  Event& at(int64_t iteration) const { return *events_[static_cast<size_t>(iteration) % events_.size()]; }
  bool empty() const { return events_.empty(); }

 private:
  std::vector<std::unique_ptr<Event>> events_;
};

struct Stretch {
  int32_t begin = 0, end = 0;  // instructions
  // Addresses, and which instructions run, are the same in iterations that agree modulo `iterations` at steps that agree
  // modulo `steps`. iterations * steps graphs stand for the stretch; 0: it is not worth one, or there would be too many.
  int64_t iterations = 0, steps = 0;
  struct Captured {
    std::unique_ptr<CapturedWork> graph;
    bool warm = false;  // has run once without a graph: libraries have set themselves up
  };
  std::map<int64_t, Captured> graphs;  // by Key
  int64_t Key(int64_t iteration, int64_t step) const { return iteration % iterations * steps + step % steps; }
};

struct AsyncLane {
  std::vector<Stretch> stretches;
  std::vector<EventRing> passed;  // per instruction; empty where no other lane waits for it
  EventRing iteration_end;
  std::vector<int32_t> scalars;   // per instruction: its place in an iteration's scalars; -1 = has none
};

struct AsyncProgram {
  std::vector<std::unique_ptr<AsyncLane>> lanes;  // null for lanes of the host
  std::unique_ptr<ArenaMemory> memory;            // [depth][scalars_count] StepScalars, then the saturation counter
  int64_t scalars_count = 0;
  int depth = 1;

  cuda::StepScalars* scalars(int64_t iteration) const;
  uint64_t* saturated() const;
};

// threads[l]: the thread of lane l. Null when no lane is asynchronous.
Result<std::unique_ptr<AsyncProgram>> MakeAsyncProgram(const BoundProgram& bound, Device& device,
                                                       const std::vector<LaneThread*>& threads);

}  // namespace zo2

#endif  // ZO2_RUNTIME_ASYNC_PROGRAM_H_
