// A random tile with all that a prepare of it needs: schedule, source, records, branches, ids. Run by PrepareTile and
// by the GPU kernel's body on the host, its memory must be the same.
#ifndef ZO2_TESTS_UNIT_CUDA_KERNELS_TILE_CASE_H_
#define ZO2_TESTS_UNIT_CUDA_KERNELS_TILE_CASE_H_

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "runtime/cuda/prepare_launch.h"
#include "runtime/kernels/codec.h"
#include "runtime/step_kernels.h"

namespace zo2::cuda {

using Bytes = std::vector<std::byte>;

struct TileCase {
  Schedule schedule;  // weights, rounding, rademacher; one program, train
  Tile tile;
  RunParameters parameters;
  int64_t step = 0, version = 0;
  Bytes records;
  RecordRing ring;  // its base is set by Job
  bool coded = false, gathered = false;
  std::vector<int64_t> ids;
  // Memory: [0] the source, then the master and the outputs where they are apart from it.
  std::vector<Bytes> planes;
  std::vector<uint64_t> lead;  // bytes of each plane before the tile
  int master = -1;             // plane; -1: not written
  std::vector<int> outputs;    // planes
  // Of this run: what Job's spans point to.
  std::vector<std::byte*> output_data;
  std::vector<const Branch*> branches;
  uint64_t saturated = 0;

  Program& train() { return schedule.programs[0]; }
  const Component& ComponentOf(const Segment& s) const {
    return schedule.weights[static_cast<size_t>(s.weight)].components[static_cast<size_t>(s.component)];
  }

  // On `memory`, which is like `planes`.
  PrepareJob Job(std::vector<Bytes>& memory) {
    const auto at = [&](int plane) {
      return memory[static_cast<size_t>(plane)].data() + lead[static_cast<size_t>(plane)];
    };
    PrepareJob job;
    job.schedule = &schedule;
    job.train = &train();
    job.tile = &tile;
    job.source = at(0);
    job.coded = coded;
    job.master_out = master < 0 ? nullptr : at(master);
    job.gathered = gathered;
    job.ids = ids;
    output_data.clear();
    branches.clear();
    for (size_t b = 0; b < outputs.size(); ++b) {
      output_data.push_back(at(outputs[b]));
      branches.push_back(&train().branches[b]);
    }
    job.outputs = output_data;
    job.branches = branches;
    job.version = version;
    job.step = step;
    job.records = ring;
    job.records.base = records.data();
    job.parameters = &parameters;
    saturated = 0;
    job.saturated = &saturated;
    return job;
  }
};

class CaseMaker {
 public:
  explicit CaseMaker(uint64_t seed) : random_(seed) {}
  int64_t Below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  bool Chance(int percent) { return Below(100) < percent; }

  TileCase Make() {
    TileCase c;
    c.schedule.rounding = Chance(50) ? Rounding::kStochastic : Rounding::kNearest;
    c.schedule.rademacher = Chance(25);
    c.schedule.programs.emplace_back();
    c.train().samples = static_cast<int32_t>(1 + Below(4));
    c.parameters = {random_() >> Below(64), std::ldexp(1.0, -static_cast<int>(Below(12))), Chance(60) ? 0.1 : 0.0, 0};
    c.coded = Chance(40);
    c.gathered = Chance(15);
    const int64_t segments = c.gathered ? 1 : Chance(40) ? 1 : Chance(80) ? 1 + Below(5) : 17 + Below(20);
    const bool small = segments > 5;
    const DType storage = Type();
    const WireFormat wire = static_cast<WireFormat>(Below(6));
    for (int64_t i = 0; i < segments; ++i)
      AddSegment(&c, Chance(80) ? storage : Type(), Chance(80) ? wire : static_cast<WireFormat>(Below(6)), small);
    MakeRecords(&c);
    MakeBranches(&c);
    MakePlanes(&c);
    return c;
  }

 private:
  DType Type() { return static_cast<DType>(Below(3)); }
  static uint64_t Up(uint64_t offset, uint64_t to) { return (offset + to - 1) / to * to; }

  void AddSegment(TileCase* c, DType storage, WireFormat wire, bool small) {
    Segment s;
    s.weight = static_cast<int32_t>(c->schedule.weights.size());
    PlanWeight weight;
    weight.name = "w" + std::to_string(s.weight);
    const bool vector = Chance(small ? 60 : 20);
    const int64_t most = small ? 40 : Chance(10) ? 3000 : 500;
    int64_t width = Chance(40) ? 8 * (1 + Below(most / 8)) : 1 + Below(most);
    int64_t rows = vector ? 1 : 1 + Below(small ? 3 : 8);
    const bool part = Chance(50);
    s.col_begin = part ? (Chance(30) ? 8 * Below(40) : Below(300)) : 0;
    s.col_end = s.col_begin + width;
    // First rows such that elements cross 2^32 and the streams' blocks do.
    const int64_t cols = s.col_end + (part ? Below(200) : 0);
    if (!vector && Chance(70)) s.row_begin = Chance(60) ? Below(5) : (int64_t{1} << (31 + Below(9))) / cols - Below(3);
    s.row_end = s.row_begin + rows;
    weight.shape = vector ? Shape{cols} : Shape{s.row_end + Below(3), cols};
    weight.decay = Chance(60);
    weight.eps_mul = Chance(60) ? 1.0 : 0.3 + 0.1 * static_cast<double>(Below(10));
    weight.lr_mul = Chance(60) ? 1.0 : 0.37;
    weight.trainable = Chance(85);
    Component component;
    component.name = weight.name;
    component.tensor_id = static_cast<uint32_t>(random_());
    component.storage = storage;
    component.wire = wire;
    component.compute = Chance(60) ? storage : Type();
    component.shape = weight.shape;
    component.trainable = weight.trainable;
    weight.components = {component};
    c->schedule.weights.push_back(weight);
    if (c->gathered)
      for (int64_t n = 1 + Below(30); n > 0; --n) c->ids.push_back(s.row_begin + Below(rows));
    // Aligned as plans align them, or to the element only.
    const uint64_t align = Chance(50) ? 256 : 4;
    const int64_t held = c->gathered ? static_cast<int64_t>(c->ids.size()) : rows;
    s.offset = Up(c->tile.bytes, align);
    c->tile.bytes = s.offset + static_cast<uint64_t>(held * width * SizeOf(storage));
    s.branch_offset = Up(c->tile.branch_bytes, align);
    c->tile.branch_bytes = s.branch_offset + static_cast<uint64_t>(held * width * SizeOf(component.compute));
    s.wire_offset = Up(c->tile.wire_bytes, Chance(50) ? 64 : 4);
    c->tile.wire_bytes = s.wire_offset + WireBytes(wire, rows, width);
    c->tile.segments.push_back(s);
    if (c->coded && c->gathered) {  // the codes of a gathered tile hold whole rows: one for each id
      c->ids.resize(static_cast<size_t>(std::min<int64_t>(rows, static_cast<int64_t>(c->ids.size()))));
    }
  }

  void MakeRecords(TileCase* c) {
    const int q = c->train().samples;
    const int64_t pending = Chance(15) ? 0 : Chance(7) ? 40 + Below(40) : Chance(50) ? Below(4) : Below(21);
    c->version = static_cast<int64_t>(random_() >> (24 + Below(40)));
    c->step = c->version + pending;
    c->ring.ring = static_cast<uint32_t>(std::max<int64_t>(1, pending + Below(3)));
    c->ring.stride = Up(StepRecordBytes(q), Chance(50) ? 64 : 8);
    c->records.assign(c->ring.ring * c->ring.stride, std::byte{0});
    const int scale = static_cast<int>(Below(14));
    for (int64_t step = c->version; step < c->step; ++step) {
      StepRecord& r = *reinterpret_cast<StepRecord*>(c->records.data() +
                                                     c->ring.stride * (static_cast<uint64_t>(step) % c->ring.ring));
      r.step = static_cast<uint64_t>(step);
      r.lr = std::ldexp(1.0, -scale) * (1 + 0.1 * static_cast<double>(Below(5)));
      r.q = static_cast<uint32_t>(q);
      r.skipped = Chance(15);
      for (int i = 0; i < q; ++i)
        r.g()[i] = r.skipped != 0 ? std::numeric_limits<double>::quiet_NaN()
                                  : std::ldexp(static_cast<double>(Below(2001) - 1000), Chance(5) ? 10 : -9);
    }
  }

  void MakeBranches(TileCase* c) {
    const int q = c->train().samples;
    for (int64_t b = Chance(60) ? 2 : Below(6); b > 0; --b) {
      Branch branch;
      for (int64_t k = Chance(60) ? 1 : Below(4); k > 0; --k)
        branch.terms.push_back({static_cast<int32_t>(Below(q)), Chance(50) ? 1.0 : -1.0});
      c->train().branches.push_back(branch);
    }
  }

  int AddPlane(TileCase* c, uint64_t bytes) {
    c->lead.push_back(64 + (Chance(70) ? 0 : 4 * static_cast<uint64_t>(Below(16))));
    c->planes.emplace_back(c->lead.back() + bytes + 64, std::byte{0xA5});
    return static_cast<int>(c->planes.size()) - 1;
  }

  void MakePlanes(TileCase* c) {
    AddPlane(c, c->coded ? c->tile.wire_bytes : c->tile.bytes);
    std::byte* source = c->planes[0].data() + c->lead[0];
    for (const Segment& s : c->tile.segments) {
      const Component& component = c->ComponentOf(s);
      const int64_t width = s.col_end - s.col_begin, rows = s.row_end - s.row_begin;
      const int64_t held = c->gathered && !c->coded ? static_cast<int64_t>(c->ids.size()) : rows;
      if (!c->coded) {
        for (int64_t n = 0; n < held * width; ++n)
          Put(component.storage, source + s.offset + n * SizeOf(component.storage));
        continue;
      }
      std::vector<float> values;
      for (int64_t n = 0; n < rows * width; ++n)
        values.push_back(std::ldexp(static_cast<float>(Below(2001) - 1000), -static_cast<int>(Below(12)) - 8));
      alignas(64) static thread_local std::byte codes[1 << 18];
      kernels::Encode({component.wire, rows, width, 0, rows, DType::kF32, values.data(), width, codes});
      std::memcpy(source + s.wire_offset, codes, WireBytes(component.wire, rows, width));
    }
    if (!c->coded && Chance(70)) c->master = Chance(50) ? 0 : AddPlane(c, c->tile.bytes);
    bool same = true;  // branches lie as the source does
    for (const Segment& s : c->tile.segments)
      same = same && s.offset == s.branch_offset && c->ComponentOf(s).storage == c->ComponentOf(s).compute;
    bool over_source = !c->coded && same && c->master != 0 && Chance(50);
    for (size_t b = 0; b < c->train().branches.size(); ++b) {
      c->outputs.push_back(over_source ? 0 : AddPlane(c, c->tile.branch_bytes));
      over_source = false;
    }
  }

  // A finite value of any size, often near the largest.
  void Put(DType dtype, std::byte* to) {
    uint32_t bits;
    do {
      bits = static_cast<uint32_t>(random_());
      if (dtype == DType::kF32) {
        if (Chance(70)) bits = std::bit_cast<uint32_t>(std::ldexp(static_cast<float>(bits % 2001) - 1000, -12));
        if ((bits & 0x7F800000) == 0x7F800000) continue;
        break;
      }
      const uint32_t infinity = dtype == DType::kBF16 ? 0x7F80 : 0x7C00;
      if (Chance(10)) bits = (bits & 0x8000) | (infinity - 1 - bits % 3);
      if ((bits & 0x7FFF) < infinity) break;
    } while (true);
    std::memcpy(to, &bits, static_cast<size_t>(SizeOf(dtype)));  // little endian
  }

  std::mt19937_64 random_;
};

// Who runs launches: tests/gpu puts a GPU here; else their bodies run on the host.
using TileRunner = Result<std::vector<Bytes>> (*)(TileCase& c, int blocks, uint64_t* saturated,
                                                  std::vector<PrepareLaunch>* kept);
inline TileRunner g_tile_runner = nullptr;

// The launches of the case's tile, run on a copy of its memory.
inline Result<std::vector<Bytes>> RunLaunches(TileCase& c, ThreadOrder order, int blocks, uint64_t* saturated,
                                              std::vector<PrepareLaunch>* kept = nullptr) {
  if (g_tile_runner != nullptr) return g_tile_runner(c, blocks, saturated, kept);
  std::vector<Bytes> memory = c.planes;
  PrepareJob job = c.Job(memory);
  const StepScalars scalars{c.step, c.version};
  const RecordRing ring = job.records;
  job.step = job.version = -1;  // they say nothing
  job.records = {};
  ZO2_ASSIGN(std::vector<PrepareLaunch> launches, MakePrepareLaunches(job, ring, &scalars, blocks));
  for (const PrepareLaunch& launch : launches) RunOnHost(launch, order);
  *saturated = c.saturated;
  if (kept != nullptr) *kept = launches;
  return memory;
}
// The same by the CPU's kernels.
inline std::vector<Bytes> RunTile(TileCase& c, uint64_t* saturated) {
  std::vector<Bytes> memory = c.planes;
  WorkerPool one(1);
  (void)PrepareTile(c.Job(memory), one).ok();
  *saturated = c.saturated;
  return memory;
}

}  // namespace zo2::cuda

#endif  // ZO2_TESTS_UNIT_CUDA_KERNELS_TILE_CASE_H_
