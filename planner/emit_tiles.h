// Tiles of one program: slots, uploads, prepares, write-backs. Private to emit_program.cc.
//
// Uploads go round the slots: upload j of an iteration takes slot j mod S and waits for whatever released it, the first
// ones for the last use in the iteration before. Of a trained tile's prepares the first of an iteration brings the
// master up to date, in the slot (or where it is resident); a download follows on the iterations that write it back.
// Coded tiles: emit.h.
#ifndef ZO2_PLANNER_EMIT_TILES_H_
#define ZO2_PLANNER_EMIT_TILES_H_

#include <string>
#include <utility>
#include <vector>

#include "planner/emit.h"

namespace zo2 {

inline constexpr LaneId kCompute = 0, kUp = 1, kDown = 2, kHostLane = 3;  // the last only where it has work

// u8[bytes] of a buffer.
Operand Bytes(BufferId buffer, uint64_t bytes, AccessMode access, uint64_t offset = 0);

// A slot that holds a tile, and what brings it there on the h2d lane: its master or its codes, each in its residues.
struct InSlot {
  int index = -1;
  int32_t master = -1, codes = -1;  // -1: never in this form
};

class TileEmitter {
 public:
  // Gives `program` its lanes, period and lags. `slots`: their buffers; `tables`: masters are placed already.
  TileEmitter(const PlanInput& input, const Decision& decision, const std::vector<BufferId>& slots,
              const Schedule& tables, Program* program);

  // Appends to a lane, next in the serial order; its index there.
  int32_t Add(LaneId lane, Instruction instruction);
  void AddEdge(LaneId from_lane, int32_t from, LaneId to_lane, int32_t to, int32_t back = 0);
  int32_t Last(LaneId lane) const;

  // As master and as codes in these residues; 0: never.
  InSlot Upload(TileId tile, uint64_t masters, uint64_t codes);
  // One prepare into `outputs` for `branches` - two where iterations that write the master back differ from others.
  void Prepare(TileId tile, const std::vector<int32_t>& branches, const std::vector<BufferId>& outputs);
  // Compute instruction `index` is the last that reads this slot.
  void Release(const InSlot& slot, int32_t index) {
    slots_[static_cast<size_t>(slot.index)].released.push_back({kCompute, index});
  }
  // Notes a call: a block of the block-granular order starts with its first.
  void NoteCall(int32_t index) {
    if (first_of_block_ < 0) first_of_block_ = index;
  }
  // Downloads that wait for the end of their block; at once in every schedule but the block-granular one.
  void EndBlock();
  // Trained tiles that nothing prepared in this iteration get their updates all the same.
  void UpdateUnused();
  // Host updates of coded trained tiles, after their last uploads; in a flush only where the host keeps the masters.
  void UpdateOnHost(BufferId records, bool encode);
  // The edges from one iteration to the next, and what copies take while both directions run.
  void Close();

  BufferId slot_buffer(const InSlot& slot) const { return slot_buffers_[static_cast<size_t>(slot.index)]; }

  int pass = 0;  // of the instructions added

 private:
  struct Slot {
    std::vector<int32_t> first;                        // first upload of the iteration, in each form
    std::vector<std::pair<LaneId, int32_t>> released;  // by the latest use
    bool down_pending = false;                         // a tile in pending_down_ is in it
  };
  struct Download {
    TileId tile;
    int slot;
    int32_t prepare;
  };

  const Tile& tile(TileId id) const { return s_.tiles[static_cast<size_t>(id)]; }
  bool updated_on_host(TileId id) const;  // never goes up as master
  void StartBlock(TileId id);
  void PriceCopies();

  const PlanInput& in_;
  const Decision& d_;
  const std::vector<BufferId>& slot_buffers_;
  const Schedule& s_;
  Program& p_;
  int64_t seq_ = 0;
  std::vector<uint64_t> due_;  // per tile: residues in which its master is written back
  std::vector<Slot> slots_;
  int64_t num_uploads_ = 0;
  std::vector<bool> written_;    // per tile: its master was brought up to date in this iteration
  std::vector<int32_t> down_;    // per tile: its download, -1
  std::vector<int64_t> upload_;  // per tile: number of its latest upload
  std::vector<InSlot> first_, last_;  // per tile: its first and latest upload
  std::vector<Download> pending_down_;
  std::vector<bool> down_pending_;  // per tile: it is there
  std::vector<int32_t> first_upload_;  // of the iteration, in each form
  std::string block_;  // block-granular order
  int32_t first_of_block_ = -1, block_gate_ = -1;
};

}  // namespace zo2

#endif  // ZO2_PLANNER_EMIT_TILES_H_
