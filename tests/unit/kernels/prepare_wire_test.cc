// `prepare` from a source in wire form: random rectangles of random coded ones, cut in any way, against the scalar
// judges to the bit, and against Decode followed by a plain pass.
#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cmath>
#include <cstring>
#include <random>
#include <thread>

#include "runtime/kernels/codec.h"
#include "runtime/kernels/prepare.h"
#include "tests/tools/scalar_wire.h"
#include "tests/unit/kernels/golden.h"

namespace zo2::kernels {
namespace {

constexpr WireFormat kFormats[] = {WireFormat::kF32,  WireFormat::kBF16, WireFormat::kF16,
                                   WireFormat::kE4M3, WireFormat::kI8,   WireFormat::kI4};
constexpr DType kTypes[] = {DType::kF32, DType::kBF16, DType::kF16};

scalar::Storage Judged(DType t) {
  return t == DType::kF32    ? scalar::Storage::kF32
         : t == DType::kBF16 ? scalar::Storage::kBf16
                             : scalar::Storage::kFp16;
}

struct Output {
  DType dtype = DType::kF32;
  int64_t stride = 0;
  std::vector<std::pair<uint64_t, float>> terms;
  bool operator==(const Output&) const = default;
};

struct Case {
  WireFormat wire = WireFormat::kI8;
  int64_t wire_rows = 0, wire_cols = 0, wire_row = 0, wire_col = 0;
  std::vector<uint8_t> coded;
  scalar::Weight weight;
  int64_t cols_logical = 0, row_begin = 0, rows = 0, col_begin = 0, cols = 0;
  std::vector<int64_t> row_ids;
  std::vector<scalar::Update> updates;
  std::vector<Output> outputs;

  uint64_t Element(int64_t row, int64_t col) const {
    const int64_t logical = row_ids.empty() ? row_begin + row : row_ids[static_cast<size_t>(row)];
    return static_cast<uint64_t>(logical * cols_logical + col_begin + col);
  }
};
using Planes = std::vector<std::vector<std::byte>>;  // of the outputs

class Maker {
 public:
  explicit Maker(uint64_t seed) : random_(seed) {}
  int64_t Below(int64_t n) { return static_cast<int64_t>(random_() % static_cast<uint64_t>(n)); }
  bool Chance(int percent) { return Below(100) < percent; }

  Case Make() {
    Case c;
    c.wire = kFormats[Below(6)];
    c.wire_rows = 1 + Below(5);
    c.wire_cols = Chance(30) ? 128 * (1 + Below(3)) : 1 + Below(Chance(50) ? 20 : 420);
    const bool whole = Chance(50);  // rows without gaps, if the weight is as wide
    c.wire_row = whole ? 0 : Below(c.wire_rows);
    c.rows = whole ? c.wire_rows : 1 + Below(c.wire_rows - c.wire_row);
    c.wire_col = whole ? 0 : Below(c.wire_cols);
    c.cols = whole ? c.wire_cols : 1 + Below(c.wire_cols - c.wire_col);
    c.col_begin = Chance(whole ? 70 : 30) ? 0 : Below(300);
    c.cols_logical = c.col_begin + c.cols + (Chance(60) ? 0 : Below(200));
    const int64_t around = int64_t{1} << (Chance(60) ? 0 : 32 + Below(9));
    c.row_begin = around / c.cols_logical + Below(3);
    if (Chance(15))
      for (int64_t r = 0; r < c.rows; ++r) c.row_ids.push_back(Below(1000));
    c.weight = {random_() >> Below(64),         static_cast<uint32_t>(random_()), Chance(70) ? 1.0 : 0.37,
                Chance(60) ? 0.0 : 0.1,         Chance(25),                       scalar::Storage::kF32,
                /*stochastic=*/false};
    MakeCodes(&c);
    uint64_t step = random_() >> (8 + Below(56));
    for (int64_t n = Below(3); n > 0; --n) {
      scalar::Update u{step++, std::ldexp(1.0, -static_cast<int>(Below(20))), Chance(15), {}};
      for (int64_t q = 1 + Below(2); q > 0; --q) u.g.push_back(std::ldexp(static_cast<double>(Below(2001) - 1000), -9));
      c.updates.push_back(std::move(u));
    }
    for (int64_t b = Below(4); b > 0; --b) {
      c.outputs.push_back({kTypes[Below(3)], c.cols + (Chance(60) ? 0 : Below(9)), {}});
      for (int64_t k = Chance(60) ? 1 : Below(3); k > 0; --k)
        c.outputs.back().terms.emplace_back(step + static_cast<uint64_t>(Below(3)),
                                            std::ldexp(1.0f, -static_cast<int>(Below(12))));
    }
    return c;
  }

 private:
  // By the judge's encoder from values of many sizes; the bytes of a plain format are any.
  void MakeCodes(Case* c) {
    std::vector<float> values;
    for (int64_t i = 0; i < c->wire_rows * c->wire_cols; ++i) {
      const float v = std::ldexp(static_cast<float>(Below(2001) - 1000), -static_cast<int>(Below(12)) - 8);
      values.push_back(Chance(3) ? -0.0f : v);
    }
    uint64_t not_finite = 0;
    c->coded = scalar::Encoded(c->wire, c->wire_rows, c->wire_cols, values, &not_finite);
  }
  std::mt19937_64 random_;
};

Planes Empty(const Case& c) {
  Planes planes;
  for (const Output& o : c.outputs)
    planes.emplace_back(static_cast<size_t>(c.rows * o.stride * SizeOf(o.dtype)), std::byte{0xA5});
  return planes;
}

Planes Judge(const Case& c) {
  Planes planes = Empty(c);
  uint64_t saturated = 0;
  for (int64_t r = 0; r < c.rows; ++r) {
    for (int64_t j = 0; j < c.cols; ++j) {
      const float start =
          scalar::DecodedAt(c.wire, c.wire_rows, c.wire_cols, c.coded.data(), c.wire_row + r, c.wire_col + j);
      const uint32_t bits =
          scalar::Updated(c.weight, std::bit_cast<uint32_t>(start), c.Element(r, j), c.updates, &saturated);
      for (size_t b = 0; b < planes.size(); ++b) {
        const Output& o = c.outputs[b];
        const uint32_t out = scalar::Branch(c.weight, bits, c.Element(r, j), Judged(o.dtype), o.terms);
        const auto size = static_cast<size_t>(SizeOf(o.dtype));
        std::memcpy(planes[b].data() + static_cast<size_t>(r * o.stride + j) * size, &out, size);
      }
    }
  }
  return planes;
}

// In `parts` parts, of a source that ends with its last byte; decoded by Decode first if asked.
Planes RunParts(const Case& c, Isa isa, int parts, bool threads, bool decode_first) {
  Planes planes = Empty(c);
  std::vector<PendingUpdate> pending;
  for (const scalar::Update& u : c.updates)
    pending.push_back({u.step, u.lr, u.skipped, static_cast<int>(u.g.size()), u.g.data()});
  std::vector<std::vector<BranchTerm>> terms(c.outputs.size());
  std::vector<BranchOut> branches;
  for (size_t b = 0; b < c.outputs.size(); ++b) {
    for (const auto& [direction, coefficient] : c.outputs[b].terms) terms[b].push_back({direction, coefficient});
    branches.push_back({planes[b].data(), c.outputs[b].stride, c.outputs[b].dtype, terms[b]});
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
  args.storage = DType::kBF16;  // says nothing
  args.source = c.coded.data();
  args.coded = true;
  args.wire = c.wire;
  args.wire_rows = c.wire_rows;
  args.wire_cols = c.wire_cols;
  args.wire_row = c.wire_row;
  args.wire_col = c.wire_col;
  args.pending = pending;
  args.lr_mul = c.weight.lr_mul;
  args.weight_decay = c.weight.weight_decay;
  args.branches = branches;
  args.rademacher = c.weight.rademacher;
  std::vector<float> decoded;
  if (decode_first) {
    decoded.resize(static_cast<size_t>(c.wire_rows * c.wire_cols));
    Decode({c.wire, c.wire_rows, c.wire_cols, 0, c.wire_rows, c.coded.data(), decoded.data(), c.wire_cols}, isa);
    args.coded = false;
    args.storage = DType::kF32;
    args.source = decoded.data() + c.wire_row * c.wire_cols + c.wire_col;
    args.source_row_stride = c.wire_cols;
  }
  if (threads) {
    std::vector<std::thread> pool;
    for (int part = 0; part < parts; ++part)
      pool.emplace_back([&args, part, parts, isa] { PreparePart(args, part, parts, isa); });
    for (std::thread& thread : pool) thread.join();
  } else {
    for (int n = 0; n < parts; ++n) PreparePart(args, (n * 5 + 3) % parts, parts, isa);
  }
  return planes;
}

TEST(PrepareWire, RandomRectangles) {
  const std::vector<Isa> isas = Isas();
  constexpr int kParts[] = {1, 2, 3, 4, 7, 64};
  constexpr int kCases = 9000;
  int64_t elements = 0, odd = 0;
  for (int n = 0; n < kCases; ++n) {
    Maker maker(static_cast<uint64_t>(n));
    const Case c = maker.Make();
    const Planes want = Judge(c);
    elements += c.rows * c.cols;
    odd += c.wire == WireFormat::kI4 && (c.wire_col & 1) != 0;
    for (const Isa isa : isas) {
      const int parts = kParts[maker.Below(std::size(kParts))];
      SCOPED_TRACE("case " + std::to_string(n) + " " + std::string(Name(c.wire)) + " " + std::string(Name(isa)) + ", " +
                   std::to_string(parts) + " parts, " + std::to_string(c.rows) + " x " + std::to_string(c.cols) +
                   " from column " + std::to_string(c.wire_col) + " of " + std::to_string(c.wire_cols));
      ASSERT_EQ(RunParts(c, isa, parts, parts <= 4 && maker.Chance(5), false), want);
      ASSERT_EQ(RunParts(c, isa, 1, false, true), want) << "decoded first";
    }
  }
  std::cout << kCases << " rectangles, " << elements << " elements, " << odd << " int4 from an odd column\n";
  EXPECT_GT(odd, 100);
}

// A weight of 16 bits: its codes are updated without a rounding, as its master is not.
TEST(PrepareWire, UpdatesAreNotRoundedToStorage) {
  std::vector<uint16_t> master(300, 0x3F80);  // ones, bf16
  std::vector<float> from_codes(300), from_master(300);
  const double g = 1;
  const PendingUpdate pending{0, 1e-6, false, 1, &g};
  const BranchOut branch{from_codes.data(), 300, DType::kF32, {}};
  const BranchOut plain{from_master.data(), 300, DType::kF32, {}};
  PrepareArgs args;
  args.cols_logical = args.col_end = args.wire_cols = args.source_row_stride = 300;
  args.row_end = args.wire_rows = 1;
  args.storage = DType::kBF16;
  args.rounding = Rounding::kNearest;
  args.source = master.data();
  args.pending = {&pending, 1};
  for (const Isa isa : Isas()) {
    args.coded = false;
    args.branches = {&plain, 1};
    Prepare(args, isa);
    args.coded = true;
    args.wire = WireFormat::kBF16;
    args.branches = {&branch, 1};
    Prepare(args, isa);
    int moved = 0;
    for (size_t i = 0; i < 300; ++i) {
      EXPECT_EQ(from_master[i], 1.0f) << Name(isa);
      moved += from_codes[i] != 1.0f;
    }
    EXPECT_GT(moved, 280) << Name(isa);
  }
}

}  // namespace
}  // namespace zo2::kernels
