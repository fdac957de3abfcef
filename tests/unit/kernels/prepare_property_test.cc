// Thousands of random rectangles through the fused prepare pass, against the scalar judge, to the bit: every
// dtype, stride, alignment, row list, aliasing and number of parts, on every instruction set.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>

#include "runtime/kernels/prepare.h"
#include "tests/tools/scalar_noise.h"
#include "tests/unit/kernels/golden.h"

namespace zo2::kernels {
namespace {

uint32_t Bits(float v) { return std::bit_cast<uint32_t>(v); }
scalar::Storage Judged(DType t) {
  return t == DType::kF32    ? scalar::Storage::kF32
         : t == DType::kBF16 ? scalar::Storage::kBf16
                             : scalar::Storage::kFp16;
}

// A buffer of a rectangle: sentinels before, between rows and behind.
struct Plane {
  DType dtype = DType::kF32;
  int64_t lead = 0, stride = 0;  // elements
  std::vector<std::byte> bytes;
  size_t At(int64_t row, int64_t col) const {
    return static_cast<size_t>((lead + row * stride + col) * SizeOf(dtype));
  }
  uint32_t Get(int64_t row, int64_t col) const {
    uint32_t bits = 0;
    std::memcpy(&bits, bytes.data() + At(row, col), static_cast<size_t>(SizeOf(dtype)));
    return bits;
  }
  void Set(int64_t row, int64_t col, uint32_t bits) {
    std::memcpy(bytes.data() + At(row, col), &bits, static_cast<size_t>(SizeOf(dtype)));
  }
};

struct Case {
  scalar::Weight weight;
  DType storage = DType::kF32;
  int64_t cols_logical = 0, row_begin = 0, rows = 0, col_begin = 0, cols = 0;
  std::vector<int64_t> row_ids;  // empty: none
  std::vector<scalar::Update> updates;
  std::vector<std::vector<std::pair<uint64_t, float>>> terms;  // per branch
  std::vector<Plane> planes;   // [0] the source, then whatever is apart from it
  size_t master = 0;           // plane of master_out; kNone
  std::vector<size_t> branch;  // planes of the branches
  static constexpr size_t kNone = ~size_t{0};

  uint64_t Element(int64_t row, int64_t col) const {
    const int64_t logical = row_ids.empty() ? row_begin + row : row_ids[static_cast<size_t>(row)];
    return static_cast<uint64_t>(logical * cols_logical + col_begin + col);
  }
};

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}
  uint64_t Below(uint64_t n) { return random_() % n; }
  bool Chance(int percent) { return Below(100) < static_cast<uint64_t>(percent); }

  Case Make() {
    constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16};
    Case c;
    c.storage = kTypes[Below(3)];
    c.rows = static_cast<int64_t>(Chance(30) ? 1 : Below(7));
    c.cols = static_cast<int64_t>(Chance(30) ? Below(8) : Chance(50) ? 64 * Below(4) : Below(300));
    c.col_begin = static_cast<int64_t>(Chance(40) ? 0 : Chance(50) ? 64 * Below(5) : Below(300));
    c.cols_logical = c.col_begin + c.cols + static_cast<int64_t>(Chance(50) ? 0 : Below(200));
    // First rows such that elements cross 2^32 and the blocks of the three streams cross 2^32.
    const int64_t around = int64_t{1} << (Chance(50) ? 0 : 32 + Below(9));
    c.row_begin = c.cols_logical == 0
                      ? 0
                      : std::max<int64_t>(0, around / c.cols_logical - static_cast<int64_t>(Below(4)));
    if (Chance(25))
      for (int64_t r = 0; r < c.rows; ++r) c.row_ids.push_back(c.row_begin + static_cast<int64_t>(Below(5)));
    c.weight = {random_() >> Below(64),
                static_cast<uint32_t>(random_()),
                Chance(70) ? 1.0 : 0.37,
                Chance(60) ? 0.0 : 0.1,
                Chance(25),
                Judged(c.storage),
                Chance(50)};
    MakeUpdates(&c);
    MakePlanes(&c, kTypes);
    return c;
  }

 private:
  void MakeUpdates(Case* c) {
    uint64_t step = random_() >> (8 + Below(56));
    for (uint64_t n = Chance(30) ? 0 : Below(4); n > 0; --n) {
      scalar::Update u{step, std::ldexp(1.0, -static_cast<int>(Below(20))), Chance(15), {}};
      const uint64_t q = 1 + Below(3);
      for (uint64_t i = 0; i < q; ++i)
        u.g.push_back((Chance(50) ? 1 : -1) *
                      std::ldexp(static_cast<double>(random_() % 1000), static_cast<int>(Below(20)) - 14));
      step += 1 + Below(3);
      c->updates.push_back(std::move(u));
    }
    const uint64_t first = step * (1 + Below(3));
    for (uint64_t b = Below(5); b > 0; --b) {
      c->terms.emplace_back();
      for (uint64_t k = Chance(60) ? 1 : Below(4); k > 0;
           --k)  // shared directions, in orders that may contradict
        c->terms.back().emplace_back(
            first + Below(3), (Chance(50) ? 1.f : -1.f) * std::ldexp(1.0f, -static_cast<int>(Below(12))));
    }
  }
  Plane MakePlane(const Case& c, DType dtype) {
    Plane p;
    p.dtype = dtype;
    p.lead = static_cast<int64_t>(Below(70));
    p.stride = c.cols + static_cast<int64_t>(Chance(50) ? 0 : Below(70));
    p.bytes.assign(static_cast<size_t>((p.lead + p.stride * c.rows + 40) * SizeOf(dtype)), std::byte{0xA5});
    return p;
  }
  void MakePlanes(Case* c, const DType (&types)[3]) {
    c->planes = {MakePlane(*c, c->storage)};
    for (int64_t r = 0; r < c->rows; ++r)
      for (int64_t j = 0; j < c->cols; ++j) c->planes[0].Set(r, j, Finite(c->storage));
    const bool in_place = Chance(35);
    c->master = in_place ? 0 : Case::kNone;
    if (!in_place && Chance(50)) {
      c->planes.push_back(MakePlane(*c, c->storage));
      c->master = c->planes.size() - 1;
    }
    bool over_source = !in_place && Chance(30);
    for (size_t b = 0; b < c->terms.size(); ++b) {
      const DType dtype = over_source ? c->storage : types[Below(3)];
      if (!over_source) c->planes.push_back(MakePlane(*c, dtype));
      c->branch.push_back(over_source ? 0 : c->planes.size() - 1);
      over_source = false;
    }
  }
  // Finite values of every size, often near the largest.
  uint32_t Finite(DType dtype) {
    while (true) {
      const uint32_t v = static_cast<uint32_t>(random_());
      if (dtype == DType::kF32) {
        const uint32_t bits = Chance(70) ? Bits(std::ldexp(static_cast<float>(v % 2001) - 1000, -12)) : v;
        if ((bits & 0x7F800000) != 0x7F800000) return bits;
      } else {
        const scalar::Format f = dtype == DType::kBF16 ? scalar::kBf16 : scalar::kFp16;
        const uint32_t largest = f.Infinity() - 1u;
        if (Chance(10)) return (v & 0x8000) | (largest - v % 3);
        if ((v & 0x7FFF) <= largest) return v & 0xFFFF;
      }
    }
  }
  std::mt19937_64 random_;
};

// The planes as they must be, and how many master elements were cut.
std::vector<Plane> Judge(const Case& c, uint64_t* saturated) {
  std::vector<Plane> planes = c.planes;
  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t j = 0; j < c.cols; ++j) {
      const uint64_t element = c.Element(r, j);
      const uint32_t bits = scalar::Updated(c.weight, c.planes[0].Get(r, j), element, c.updates, saturated);
      if (c.master != Case::kNone) planes[c.master].Set(r, j, bits);
      for (size_t b = 0; b < c.branch.size(); ++b) {
        Plane& out = planes[c.branch[b]];
        out.Set(r, j, scalar::Branch(c.weight, bits, element, Judged(out.dtype), c.terms[b]));
      }
    }
  }
  return planes;
}

// Runs it in `parts` parts, in an order of their own; concurrently if asked.
std::vector<Plane> RunParts(const Case& c, Isa isa, int parts, bool threads, uint64_t* saturated) {
  std::vector<Plane> planes = c.planes;
  const auto at = [&](size_t plane) { return planes[plane].bytes.data() + planes[plane].At(0, 0); };
  std::vector<PendingUpdate> pending;
  for (const scalar::Update& u : c.updates)
    pending.push_back(
        {u.step, u.lr, u.skipped, static_cast<int>(u.g.size()), u.skipped ? nullptr : u.g.data()});
  std::vector<std::vector<BranchTerm>> terms(c.terms.size());
  std::vector<BranchOut> branches;
  for (size_t b = 0; b < c.terms.size(); ++b) {
    for (const auto& [direction, coefficient] : c.terms[b]) terms[b].push_back({direction, coefficient});
    branches.push_back({at(c.branch[b]), planes[c.branch[b]].stride, planes[c.branch[b]].dtype, terms[b]});
  }
  PrepareArgs args;
  args.seed = c.weight.seed;
  args.tensor_id = c.weight.tensor_id;
  args.cols_logical = c.cols_logical;
  args.row_begin = c.row_begin;
  args.row_end = c.row_begin + c.rows;
  args.col_begin = c.col_begin;
  args.col_end = c.col_begin + c.cols;
  args.row_ids = c.row_ids.empty() ? nullptr : c.row_ids.data();
  args.storage = c.storage;
  args.source = at(0);
  args.source_row_stride = planes[0].stride;
  if (c.master != Case::kNone) {
    args.master_out = at(c.master);
    args.master_row_stride = planes[c.master].stride;
  }
  args.pending = pending;
  args.lr_mul = c.weight.lr_mul;
  args.weight_decay = c.weight.weight_decay;
  args.rounding = c.weight.stochastic ? Rounding::kStochastic : Rounding::kNearest;
  args.branches = branches;
  args.rademacher = c.weight.rademacher;
  args.saturated = saturated;
  if (threads) {
    std::vector<std::thread> pool;
    for (int part = 0; part < parts; ++part)
      pool.emplace_back([&args, part, parts, isa] { PreparePart(args, part, parts, isa); });
    for (std::thread& thread : pool) thread.join();
  } else {
    for (int n = 0; n < parts; ++n)
      PreparePart(args, (n * 5 + 3) % parts, parts, isa);  // 5 and parts have no factor in common
  }
  return planes;
}

TEST(Prepare, RandomRectangles) {
  const std::vector<Isa> isas = Isas();
  constexpr int kParts[] = {1, 2, 3, 4, 7, 64};
  constexpr int kCases = 12000;
  int64_t elements = 0, cut = 0;
  for (int n = 0; n < kCases; ++n) {
    Maker maker(static_cast<uint64_t>(n));
    const Case c = maker.Make();
    uint64_t want_cut = 0;
    const std::vector<Plane> want = Judge(c, &want_cut);
    elements += c.rows * c.cols;
    cut += static_cast<int64_t>(want_cut);
    for (const Isa isa : isas) {
      const int parts = kParts[maker.Below(std::size(kParts))];
      const bool threads = parts <= 4 && maker.Chance(5);
      uint64_t got_cut = 0;
      const std::vector<Plane> got = RunParts(c, isa, parts, threads, &got_cut);
      SCOPED_TRACE("case " + std::to_string(n) + " " + std::string(Name(isa)) + ", " + std::to_string(parts) +
                   " parts");
      ASSERT_EQ(got_cut, want_cut);
      for (size_t p = 0; p < got.size(); ++p) {
        if (got[p].bytes == want[p].bytes) continue;
        const auto differs = std::mismatch(got[p].bytes.begin(), got[p].bytes.end(), want[p].bytes.begin());
        FAIL() << "plane " << p << " (0 the source, master " << static_cast<int64_t>(c.master)
               << ") differs at byte " << differs.first - got[p].bytes.begin() << "; " << c.rows
               << " rows of " << c.cols << " from column " << c.col_begin << ", lead " << got[p].lead
               << ", stride " << got[p].stride;
      }
    }
  }
  std::cout << kCases << " rectangles, " << elements << " elements, " << cut
            << " masters cut to the largest, " << isas.size() << " instruction sets\n";
  EXPECT_GT(cut, 100);
}

}  // namespace
}  // namespace zo2::kernels
