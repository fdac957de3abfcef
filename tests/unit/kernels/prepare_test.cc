// The fused prepare pass to the bit: the reference's vectors, every rounding, how it is cut, what overflows.
// Random rectangles are in prepare_property_test.cc.
#include "runtime/kernels/prepare.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <bit>
#include <cstring>
#include <random>

#include "tests/tools/scalar_noise.h"
#include "tests/unit/kernels/golden.h"

namespace zo2::kernels {
namespace {

uint32_t Bits(float v) { return std::bit_cast<uint32_t>(v); }

// ---- the reference's vectors ----

TEST(Prepare, GoldenUpdates) {
  const std::vector<Isa> isas = Isas();
  for (const std::string& path : GoldenPaths("update.json", "update_golden.json")) {
    const Json vectors = Golden(path);
    ASSERT_GE(vectors.size(), 3u) << path;
    for (const Json& v : vectors) {
      const std::vector<uint32_t> theta = HexWords(v["theta_bits"]);
      const auto n = static_cast<int64_t>(theta.size());
      const std::vector<double> g = v["g"];
      const auto start = v["start"].get<int64_t>();
      const PendingUpdate pending{v["step"].get<uint64_t>(), v["lr"].get<double>(), false, v["q"].get<int>(),
                                  g.data()};
      const uint64_t direction = pending.step * static_cast<uint64_t>(pending.q);
      for (const Isa isa : isas) {
        SCOPED_TRACE(v["name"].get<std::string>() + " " + std::string(Name(isa)));
        std::vector<float> updated(theta.size()), plus(theta.size()), z(theta.size());
        const NoiseKey key{Number(v["seed"]), static_cast<uint32_t>(Number(v["tensor_id"]))};
        for (int i = 0; i < pending.q; ++i) {
          GaussianFill(key, direction + static_cast<uint64_t>(i), static_cast<uint64_t>(start), n, z.data(),
                       isa);
          const std::vector<uint32_t> want = HexWords(v["z_bits"][static_cast<size_t>(i)]);
          for (size_t e = 0; e < z.size(); ++e) EXPECT_EQ(want[e], Bits(z[e])) << "z of sample " << i;
        }
        PrepareArgs args;
        args.seed = key.seed;
        args.tensor_id = key.tensor_id;
        args.cols_logical = args.col_end = start + n;
        args.col_begin = start;
        args.row_end = 1;
        args.source = theta.data();
        args.source_row_stride = args.master_row_stride = n;
        args.master_out = updated.data();
        args.pending = {&pending, 1};
        args.weight_decay = v["wd"];
        Prepare(args, isa);
        // theta + eps z of the same step's sample 0: before the update.
        const BranchTerm term{direction, BranchCoefficient(1, v["eps"])};
        const BranchOut branch{plus.data(), n, DType::kF32, {&term, 1}};
        args.pending = {};
        args.master_out = nullptr;
        args.branches = {&branch, 1};
        Prepare(args, isa);
        std::vector<uint16_t> r(theta.size());
        RoundBitsFill(key, pending.step, static_cast<uint64_t>(start), n, r.data(), isa);

        const auto want = [&](const char* field) { return HexWords(v[field]); };
        uint64_t saturated = 0, judge = 0;
        for (size_t e = 0; e < theta.size(); ++e) {
          const float t = updated[e];
          EXPECT_EQ(want("updated_fp32_bits")[e], Bits(t)) << e;
          EXPECT_EQ(want("theta_plus_sample0_bits")[e], Bits(plus[e])) << e;
          EXPECT_EQ(want("round_bits")[e], r[e]) << e;
          EXPECT_EQ(want("stored_bf16_stochastic")[e], StoreBf16Stochastic(t, r[e], &saturated)) << e;
          EXPECT_EQ(want("stored_fp16_stochastic")[e], StoreF16Stochastic(t, r[e], &saturated)) << e;
          EXPECT_EQ(want("stored_bf16_nearest")[e], StoreBf16Nearest(t, &saturated)) << e;
          EXPECT_EQ(want("stored_fp16_nearest")[e], StoreF16Nearest(t, &saturated)) << e;
          EXPECT_EQ(want("stored_bf16_stochastic")[e],
                    scalar::StoreStochastic(scalar::kBf16, t, r[e], &judge))
              << e;
          EXPECT_EQ(want("stored_fp16_stochastic")[e],
                    scalar::StoreStochastic(scalar::kFp16, t, r[e], &judge))
              << e;
          EXPECT_EQ(want("stored_bf16_nearest")[e], scalar::StoreNearest(scalar::kBf16, t, &judge)) << e;
          EXPECT_EQ(want("stored_fp16_nearest")[e], scalar::StoreNearest(scalar::kFp16, t, &judge)) << e;
        }
        EXPECT_EQ(saturated, 0u);
      }
    }
  }
}

// Whole passes with several pending steps, by the checksums of the numpy reference
// (golden/noise/make_streams.py).
TEST(Prepare, GoldenPasses) {
  const Json file = Golden(std::string(ZO2_SOURCE_DIR) + "/tests/golden/noise/streams.json");
  const Json& p = file["pass"];
  const auto count = p["count"].get<int64_t>(), start = p["start"].get<int64_t>();
  const auto n = static_cast<size_t>(count);
  std::vector<uint16_t> r(n), r2(n);
  RoundBitsFill({99, 1}, 0, 0, count, r.data());
  RoundBitsFill({99, 2}, 0, 0, count, r2.data());
  std::vector<PendingUpdate> pending;
  std::vector<std::vector<double>> g;
  for (const Json& step : p["pending"]) g.push_back(step["g"]);
  for (size_t s = 0; s < g.size(); ++s) {
    const Json& step = p["pending"][s];
    pending.push_back({step["step"], step["lr"], step["skipped"], p["q"], g[s].data()});
  }
  ASSERT_GE(file["passes"].size(), 10u);
  for (const Json& c : file["passes"]) {
    const DType storage = *ParseDType(c["storage"].get<std::string>());
    const auto bytes = static_cast<size_t>(SizeOf(storage));
    std::vector<std::byte> theta(n * bytes);
    for (size_t e = 0; e < n; ++e) {
      const uint32_t v = r[e];
      const uint32_t bits = storage == DType::kF32
                                ? ((v & 0x807F) << 16 | (0x76 + (v >> 7) % 12) << 23) | r2[e]
                            : storage == DType::kBF16 ? (v & 0x807F) | (0x76 + (v >> 7) % 12) << 7
                                                      : (v & 0x83FF) | ((v >> 10) % 31) << 10;
      std::memcpy(theta.data() + e * bytes, &bits, bytes);  // little endian
    }
    for (const Isa isa : Isas()) {
      SCOPED_TRACE(c.dump() + " " + std::string(Name(isa)));
      std::vector<std::byte> master(theta.size());
      std::vector<BranchOut> branches;
      std::vector<std::vector<std::byte>> outs;
      const uint64_t direction = p["step"].get<uint64_t>() * p["q"].get<uint64_t>();
      const BranchTerm terms[2] = {{direction, BranchCoefficient(1, p["eps"])},
                                   {direction, BranchCoefficient(-1, p["eps"])}};
      for (const DType dtype : {DType::kF32, DType::kBF16, DType::kF16}) {
        for (const BranchTerm& term : terms) {
          outs.emplace_back(n * static_cast<size_t>(SizeOf(dtype)));
          branches.push_back({outs.back().data(), count, dtype, {&term, 1}});
        }
      }
      uint64_t saturated = 0;
      PrepareArgs args;
      args.seed = Number(p["seed"]);
      args.tensor_id = p["tensor_id"];
      args.cols_logical = start + count + 17;
      args.row_end = 1;
      args.col_begin = start;
      args.col_end = start + count;
      args.storage = storage;
      args.source = theta.data();
      args.master_out = master.data();
      args.source_row_stride = args.master_row_stride = count;
      args.pending = pending;
      args.lr_mul = p["lr_mul"];
      args.weight_decay = p["weight_decay"];
      args.rounding = c["rounding"] == "nearest" ? Rounding::kNearest : Rounding::kStochastic;
      args.rademacher = c["rademacher"];
      args.branches = branches;
      args.saturated = &saturated;
      Prepare(args, isa);
      EXPECT_EQ(Number(c["master"], 16), Checksum(master));
      if (c.contains("saturated")) {
        EXPECT_EQ(c["saturated"], saturated);
      }
      const char* names[] = {"f32", "bf16", "f16"};
      for (size_t b = 0; b < outs.size(); ++b)
        EXPECT_EQ(Number(c[b % 2 == 0 ? "plus" : "minus"][names[b / 2]], 16), Checksum(outs[b])) << b;
    }
  }
}

// ---- roundings ----

// The judge's arithmetic and the kernels' tricks agree on every value near which something changes.
TEST(Prepare, EveryRounding) {
  std::mt19937_64 random(2);
  std::vector<uint32_t> values;
  for (uint32_t high = 0; high < 0x7F80; ++high)  // every bf16 and what lies between
    for (const uint32_t low :
         {0u, 1u, 0x7FFFu, 0x8000u, 0x8001u, 0xFFFFu, static_cast<uint32_t>(random() & 0xFFFF)})
      values.push_back(high << 16 | low);
  for (uint32_t half = 0; half < 0x7C00; ++half) {  // every fp16, the ties between, and their neighbours
    const uint32_t a = Bits(scalar::Value(scalar::kFp16, static_cast<uint16_t>(half)));
    const uint32_t b = Bits(
        0.5f * (scalar::Value(scalar::kFp16, static_cast<uint16_t>(half)) +
                (half == 0x7BFF ? 65536.0f : scalar::Value(scalar::kFp16, static_cast<uint16_t>(half + 1)))));
    for (const uint32_t x : {a, b})
      for (int64_t d = -1; d <= 1; ++d)
        if (static_cast<int64_t>(x) + d >= 0)
          values.push_back(static_cast<uint32_t>(static_cast<int64_t>(x) + d));
  }
  for (const uint32_t magnitude : values) {
    for (const uint32_t sign : {0u, 0x80000000u}) {
      const float t = std::bit_cast<float>(magnitude | sign);
      const auto r = static_cast<uint32_t>(random() & 0xFFFF);
      uint64_t cut[8] = {};
      ASSERT_EQ(scalar::Narrow(scalar::kBf16, t), NarrowBf16(t)) << std::hexfloat << t;
      ASSERT_EQ(scalar::Narrow(scalar::kFp16, t), NarrowF16(t)) << std::hexfloat << t;
      ASSERT_EQ(scalar::StoreNearest(scalar::kBf16, t, &cut[0]), StoreBf16Nearest(t, &cut[1]))
          << std::hexfloat << t;
      ASSERT_EQ(scalar::StoreNearest(scalar::kFp16, t, &cut[2]), StoreF16Nearest(t, &cut[3]))
          << std::hexfloat << t;
      for (const uint32_t bits : {0u, 1u, 0x8000u, 0xFFFFu, r}) {
        ASSERT_EQ(scalar::StoreStochastic(scalar::kBf16, t, bits, &cut[4]),
                  StoreBf16Stochastic(t, bits, &cut[5]))
            << std::hexfloat << t;
        ASSERT_EQ(scalar::StoreStochastic(scalar::kFp16, t, bits, &cut[6]),
                  StoreF16Stochastic(t, bits, &cut[7]))
            << std::hexfloat << t;
      }
      for (int k = 0; k < 8; k += 2) ASSERT_EQ(cut[k], cut[k + 1]) << std::hexfloat << t << " " << k;
    }
  }
  for (uint32_t half = 0; half <= 0xFFFF; ++half) {
    const auto h = static_cast<uint16_t>(half);
    if ((half & 0x7F80) != 0x7F80) {
      ASSERT_EQ(Bits(scalar::Value(scalar::kBf16, h)), Bits(WidenBf16(h)));
    }
    if ((half & 0x7C00) != 0x7C00) {
      ASSERT_EQ(Bits(scalar::Value(scalar::kFp16, h)), Bits(WidenF16(h)));
    }
  }
}

// Stochastic rounding goes up as often as the value demands: the mean is the value.
TEST(Prepare, StochasticRoundingIsUnbiased) {
  for (const float t : {1.0f + 0x1.4p-9f, 3.3e-6f, -0.0213f}) {
    double bf16 = 0, fp16 = 0;
    uint64_t cut = 0;
    for (uint32_t r = 0; r < 65536; ++r) {
      bf16 += static_cast<double>(WidenBf16(StoreBf16Stochastic(t, r, &cut)));
      fp16 += static_cast<double>(WidenF16(StoreF16Stochastic(t, r, &cut)));
    }
    EXPECT_NEAR(bf16 / 65536, static_cast<double>(t), 1e-7 * std::fabs(static_cast<double>(t)));
    EXPECT_NEAR(fp16 / 65536, static_cast<double>(t), 2e-5 * std::fabs(static_cast<double>(t)));
  }
}

// Values that stochastic rounding takes up or down by the last of their random bits, through the whole pass:
// theta = 0 and signs as noise make every updated value +-c, whatever c.
TEST(Prepare, StochasticRoundingAtItsThresholds) {
  constexpr size_t kCount = 160;
  for (const Isa isa : Isas()) {
    for (size_t target = 0; target < kCount; target += 3) {
      const uint32_t r = scalar::RoundBits(7, 1, 9, target);
      std::vector<std::pair<DType, float>> values;
      for (int d = -1; d <= 1; ++d) {
        const uint32_t carry16 = 0x3F810000u - r + static_cast<uint32_t>(d);  // bf16: low half + r carries
        const uint32_t carry13 = 0x3F802000u - (r & 0x1FFF) + static_cast<uint32_t>(d);  // fp16: low 13 bits
        values.emplace_back(DType::kBF16, std::bit_cast<float>(carry16));
        values.emplace_back(DType::kF16, std::bit_cast<float>(carry13));
        const double small =
            3 + std::ldexp(r, -16) + 0x1p-17 + d * 0x1p-18;  // fp16: below its normal numbers
        values.emplace_back(DType::kF16, static_cast<float>(std::ldexp(small, -24)));
      }
      for (const auto& [storage, c] : values) {
        const std::vector<uint16_t> theta(kCount);
        std::vector<uint16_t> master(kCount), want;
        const double g = -static_cast<double>(c);
        const PendingUpdate pending{1, 1.0, false, 1, &g};
        PrepareArgs args;
        args.seed = 7;
        args.tensor_id = 9;
        args.cols_logical = args.col_end = kCount;
        args.row_end = 1;
        args.storage = storage;
        args.source = theta.data();
        args.source_row_stride = args.master_row_stride = kCount;
        args.master_out = master.data();
        args.pending = {&pending, 1};
        args.rademacher = true;
        Prepare(args, isa);
        uint64_t cut = 0;
        for (size_t e = 0; e < kCount; ++e)
          want.push_back(scalar::StoreStochastic(storage == DType::kBF16 ? scalar::kBf16 : scalar::kFp16,
                                                 c * scalar::Rademacher(7, 1, 9, e),
                                                 scalar::RoundBits(7, 1, 9, e), &cut));
        ASSERT_EQ(master, want) << Name(isa) << " " << Name(storage) << " " << std::hexfloat << c;
      }
    }
  }
}

// ---- parts, overflow, steps ----

// The parts cover every element once, are cut as the header says, and are even.
TEST(Prepare, PartsAreCutAtTilesAndRows) {
  for (const auto& [rows, cols] : {std::pair<int64_t, int64_t>{5, 1000}, {1, 4096}, {300, 3}}) {
    for (const int parts : {1, 2, 3, 8, 33}) {
      std::vector<int> owner(static_cast<size_t>(rows * cols), -1);
      for (int part = 0; part < parts; ++part) {
        std::vector<float> theta(owner.size()), out(owner.size(), 0.f);
        std::fill(theta.begin(), theta.end(), 1.0f);
        PrepareArgs args;
        args.cols_logical = cols + 5;  // rows with gaps: not one long row
        args.row_end = rows;
        args.col_begin = 5;
        args.col_end = cols + 5;
        args.source = theta.data();
        args.source_row_stride = args.master_row_stride = cols;
        args.master_out = out.data();
        PreparePart(args, part, parts);
        for (size_t e = 0; e < out.size(); ++e) {
          if (out[e] == 0.f) continue;
          ASSERT_EQ(owner[e], -1) << "element " << e << " in two parts";
          owner[e] = part;
        }
      }
      std::vector<int64_t> size(static_cast<size_t>(parts));
      for (size_t e = 0; e < owner.size(); ++e) {
        ASSERT_NE(owner[e], -1) << "element " << e << " in no part";
        ++size[static_cast<size_t>(owner[e])];
        if (e == 0 || owner[e] == owner[e - 1]) continue;
        ASSERT_GT(owner[e], owner[e - 1]);
        const auto row = static_cast<int64_t>(e) / cols, col = static_cast<int64_t>(e) % cols;
        EXPECT_TRUE(col == 0 || (row * (cols + 5) + 5 + col) % 128 == 0)
            << "cut at row " << row << ", column " << col;
      }
      EXPECT_LE(*std::max_element(size.begin(), size.end()), rows * cols / parts + 129);
    }
  }
}

// An infinite parameter makes the loss infinite, and the step is skipped: so a branch may overflow, a master
// may not.
TEST(Prepare, BranchesOverflowMastersDoNot) {
  const uint16_t largest[2] = {0x7BFF, 0xFBFF};  // +-65504 in fp16
  for (const Isa isa : Isas()) {
    uint16_t master[2] = {}, plus[2] = {};
    uint64_t saturated = 0;
    const double g = -1e6;
    const PendingUpdate pending{0, 1.0, false, 1, &g};  // signs of direction 0 times 1e6
    const BranchTerm term{9, 1e6f};
    const BranchOut branch{plus, 2, DType::kF16, {&term, 1}};
    PrepareArgs args;
    args.seed = 3;
    args.cols_logical = args.col_end = 2;
    args.row_end = 1;
    args.storage = DType::kF16;
    args.source = largest;
    args.source_row_stride = args.master_row_stride = 2;
    args.master_out = master;
    args.pending = {&pending, 1};
    args.rademacher = true;
    args.branches = {&branch, 1};
    args.saturated = &saturated;
    Prepare(args, isa);
    EXPECT_EQ(saturated, 2u) << Name(isa);
    for (size_t e = 0; e < 2; ++e) {
      EXPECT_EQ(master[e] & 0x7FFF, 0x7BFF) << Name(isa);
      EXPECT_EQ(plus[e] & 0x7FFF, 0x7C00) << Name(isa);
      EXPECT_EQ(master[e] >> 15, scalar::Rademacher(3, 0, 0, e) < 0) << Name(isa);
      EXPECT_EQ(plus[e] >> 15, scalar::Rademacher(3, 9, 0, e) < 0) << Name(isa);
    }
  }
}

// Updating through several steps at once, or one step a pass, gives the same master: that is what makes the
// write-back period free of bits.
TEST(Prepare, StepsAtOnceOrOneByOne) {
  for (const DType storage : {DType::kF32, DType::kBF16, DType::kF16}) {
    std::vector<float> wide(777);
    GaussianFill({5, 5}, 0, 0, 777, wide.data());
    std::vector<std::byte> start(777 * static_cast<size_t>(SizeOf(storage)));
    for (size_t e = 0; e < 777; ++e) {
      const uint16_t half = storage == DType::kBF16 ? NarrowBf16(wide[e]) : NarrowF16(wide[e]);
      storage == DType::kF32 ? std::memcpy(start.data() + 4 * e, &wide[e], 4)
                             : std::memcpy(start.data() + 2 * e, &half, 2);
    }
    const double g[6] = {1, -2, 3, 0.5, -0.25, 7};
    std::vector<PendingUpdate> steps;
    for (uint64_t s = 0; s < 6; ++s) steps.push_back({s, 1e-2, s == 2, 1, g + s});
    PrepareArgs args;
    args.seed = 11;
    args.cols_logical = args.col_end = 777;
    args.row_end = 1;
    args.storage = storage;
    args.source_row_stride = args.master_row_stride = 777;
    args.weight_decay = 0.01;
    std::vector<std::byte> at_once = start, one_by_one = start;
    args.source = args.master_out = at_once.data();
    args.pending = steps;
    Prepare(args);
    args.source = args.master_out = one_by_one.data();
    for (const PendingUpdate& step : steps) {
      args.pending = {&step, 1};
      Prepare(args);
    }
    EXPECT_EQ(at_once, one_by_one) << Name(storage);
    EXPECT_NE(at_once, start) << Name(storage);
  }
}

}  // namespace
}  // namespace zo2::kernels
