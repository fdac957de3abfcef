// The decision problem over class counts: tiles that cost the same are told apart by nothing but their
// number.
//
// For a number of steps K between write-backs, a number of slots S, the size of a slot and the direction in
// which more is copied, the unknowns are x_c: how many of the n_c tiles of class c are streamed; the others
// are resident. With r_c, s_c what a resident and a streamed tile takes of a lane per step, and f what a step
// takes whatever is decided,
//
//   T >= f + sum_c (n_c - x_c) r_c + x_c s_c                         compute lane: calls, prepares, time lost
//   to copies T >= f + sum_c x_c up_c + slow both                              upload lane T >= f + sum_c x_c
//   down_c + slow both                            download lane S T >= sum_c x_c (up_c + down_c + hold_c) + 2
//   slow both          a slot is taken while a tile is uploaded, prepared
//                                                                    and written back
//   sum_c (n_c - x_c) bytes_c + S slot <= device budget - (constants, records, temporaries)
//   T >= sum_c x_c host_c                                            host lane: updates of coded tiles
//   sum_c x_c host_bytes_c <= host budget - staging
//   sum_c (n_c - x_c) bytes_c <= what --resident allows
//   x_c = 0 for tiles that are larger than a slot;  0 <= x_c <= n_c
//
// `both` is the time during which both directions run, in which each loses `slow` of it: the shorter of the
// two wires' times, hence one such problem for each direction that may be the shorter one. Over reals the
// least T is a lower bound (bound.h); over integers it is the closed form of the best decision (exact.h),
// blind to the order in which tiles are used. From S = 3 on the slots' row follows from the others, so that
// three slots stand for all larger numbers.
#ifndef ZO2_PLANNER_CLASS_MODEL_H_
#define ZO2_PLANNER_CLASS_MODEL_H_

#include <cstdint>
#include <map>
#include <vector>

#include "planner/bound.h"
#include "planner/emit.h"

namespace zo2 {

// What a tile takes per step, in seconds of each lane.
struct TileDemand {
  double compute = 0;                 // prepares, and what its copies take from the compute lane
  double up = 0, down = 0;            // copies
  double up_wire = 0, down_wire = 0;  // of those, without the latency
  double hold = 0;                    // of a slot, copies apart
  double host = 0;                    // host lane: updates and encoding
};

struct TileClass {
  std::vector<TileId> tiles;  // in order of first use
  bool trained = false;
  // Of one tile, aligned: on the device for good; a slot that it fits in; on the host when it is streamed.
  uint64_t bytes = 0, slot_bytes = 0, host_bytes = 0;
  TileDemand resident, streamed;
};

// Everything that K and the budgets decide.
struct ClassModel {
  int every = 1;                         // K
  double compute = 0, up = 0, down = 0;  // f: calls and gradient; inputs, control; records, losses, outputs
  double slow = 0;                       // of the time in which both directions run
  uint64_t room = 0;       // device budget beside what is neither masters nor slots; 0 where that is too much
  bool fits = true;        // it is not
  uint64_t host_room = 0;  // likewise
  bool host_fits = true;
  uint64_t resident_limit = UINT64_MAX;
  std::vector<TileClass> classes;
};

// Models of one plan, by K.
class ClassModels {
 public:
  ClassModels(const PlanInput& input, const Demand& demand);
  const ClassModel& Every(int k);
  const std::vector<uint64_t>& slot_sizes() const { return sizes_; }  // distinct ones, largest first
  size_t ClassOf(TileId tile) const { return class_of_[static_cast<size_t>(tile)]; }

 private:
  const PlanInput in_;
  const Demand& demand_;
  std::vector<std::vector<TileId>> classes_;
  std::vector<size_t> class_of_;
  std::vector<uint64_t> sizes_;
  std::map<int, ClassModel> models_;
};

// Closed form of the period when streamed[c] tiles of class c pass through `slots` slots.
double Period(const ClassModel& model, const std::vector<int64_t>& streamed, int slots);

// A linear program: the least T with T >= base + sum x_c per_tile_c for each lane, and each sum x_c
// per_tile_c <= most.
struct ClassProgram {
  struct Lane {
    const char* name = "";
    double base = 0;
    std::vector<double> per_tile;
  };
  struct Limit {  // integers, or seconds
    double most = 0;
    std::vector<double> per_tile;
    bool integers = true;
  };
  std::vector<int64_t> most;  // of x_c
  std::vector<Lane> lanes;
  std::vector<Limit> limits;  // the first: device memory

  double Seconds(const std::vector<double>& x) const;
  // T of one lane after the other, each at its own least within the first limit alone: no x has all of them
  // lower. Infinite where that limit cannot be held.
  double Least() const;
};

// What the equations above hold fixed beside K. No slots: everything is resident.
struct Setting {
  int slots = 0;
  uint64_t slot_bytes = 0;
  bool more_down = false;    // the download wire takes longer than the upload wire
  bool frozen_only = false;  // nothing trained is streamed: where K is forced, such a plan need not follow
  bool any_tile = false;     // tiles of any size fit: a relaxation
};
ClassProgram MakeProgram(const ClassModel& model, const Setting& setting);

}  // namespace zo2

#endif  // ZO2_PLANNER_CLASS_MODEL_H_
