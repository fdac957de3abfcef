// The vectors of the noise specification through the body of the GPU's prepare kernel.
#include "tests/unit/kernels/golden.h"

#include <gtest/gtest.h>

#include <bit>
#include <cstring>

#include "runtime/cuda/prepare_launch.h"
#include "tests/unit/cuda_kernels/tile_case.h"

namespace zo2::cuda {
namespace {

using kernels::Checksum;
using kernels::Golden;
using kernels::GoldenPaths;
using kernels::HexWords;
using kernels::Json;
using kernels::Number;

// One row of one weight: elements [start, start + n).
TileCase OneRow(uint64_t seed, uint32_t tensor_id, int64_t start, int64_t n, int64_t cols, DType storage, int q,
                const Bytes& theta) {
  TileCase c;
  PlanWeight weight;
  weight.shape = {cols};
  weight.components.push_back({"w", tensor_id, storage, WireFormat::kF32, DType::kF32, {cols}});
  c.schedule.weights.push_back(weight);
  c.schedule.programs.emplace_back();
  c.train().samples = q;
  c.parameters.seed = seed;
  c.tile.segments.push_back({0, 0, 0, 1, start, start + n, 0, 0, 0});
  c.tile.bytes = theta.size();
  c.tile.branch_bytes = static_cast<uint64_t>(4 * n);
  c.planes = {theta};
  c.lead = {0};
  return c;
}

void AddRecord(TileCase* c, uint64_t step, double lr, bool skipped, const std::vector<double>& g) {
  const uint64_t stride = StepRecordBytes(static_cast<int>(g.size()));
  c->records.resize(c->records.size() + stride);
  StepRecord& r = *reinterpret_cast<StepRecord*>(c->records.data() + c->records.size() - stride);
  r = {step, lr, static_cast<uint32_t>(g.size()), skipped};
  std::copy(g.begin(), g.end(), r.g());
  c->ring.stride = stride;
}

int AddOutput(TileCase* c, double coefficient) {
  c->train().branches.push_back({{{0, coefficient}}});
  c->planes.emplace_back(c->tile.branch_bytes);
  c->lead.push_back(0);
  c->outputs.push_back(static_cast<int>(c->planes.size()) - 1);
  return c->outputs.back();
}

std::vector<uint32_t> Words32(const Bytes& bytes) {
  std::vector<uint32_t> words(bytes.size() / 4);
  std::memcpy(words.data(), bytes.data(), bytes.size());
  return words;
}
std::vector<uint32_t> Words16(const Bytes& bytes) {
  std::vector<uint16_t> halves(bytes.size() / 2);
  std::memcpy(halves.data(), bytes.data(), bytes.size());
  return {halves.begin(), halves.end()};
}

TEST(PrepareGolden, Updates) {
  for (const std::string& path : GoldenPaths("update.json", "update_golden.json")) {
    const Json vectors = Golden(path);
    ASSERT_GE(vectors.size(), 3u) << path;
    for (const Json& v : vectors) {
      SCOPED_TRACE(v["name"].get<std::string>());
      const std::vector<uint32_t> theta = HexWords(v["theta_bits"]);
      Bytes bytes(4 * theta.size());
      std::memcpy(bytes.data(), theta.data(), bytes.size());
      const auto n = static_cast<int64_t>(theta.size()), start = v["start"].get<int64_t>();
      const std::vector<double> g = v["g"];
      TileCase c = OneRow(Number(v["seed"]), static_cast<uint32_t>(Number(v["tensor_id"])), start, n, start + n,
                          DType::kF32, v["q"], bytes);
      AddRecord(&c, v["step"].get<uint64_t>(), v["lr"], false, g);
      c.parameters.weight_decay = v["wd"];
      c.parameters.eps = v["eps"];
      c.version = c.step = v["step"].get<int64_t>();
      const auto plus = static_cast<size_t>(AddOutput(&c, 1));
      uint64_t saturated = 0;
      // theta + eps z of the step itself: nothing is pending.
      auto memory = RunLaunches(c, ThreadOrder::kForward, 1, &saturated);
      ASSERT_TRUE(memory.ok());
      EXPECT_EQ(Words32((*memory)[plus]), HexWords(v["theta_plus_sample0_bits"]));
      EXPECT_EQ((*memory)[0], bytes) << "nobody asked for a master";
      ++c.step;
      c.master = 0;
      memory = RunLaunches(c, ThreadOrder::kForward, 1, &saturated);
      ASSERT_TRUE(memory.ok());
      EXPECT_EQ(Words32((*memory)[0]), HexWords(v["updated_fp32_bits"]));
    }
  }
}

// z itself: an update of -1 on zeros, whose coefficient is 1. And what the roundings make of it, by the core.
TEST(PrepareGolden, NoiseAndRoundBits) {
  for (const std::string& path : GoldenPaths("update.json", "update_golden.json")) {
    for (const Json& v : Golden(path)) {
      const auto n = static_cast<int64_t>(v["theta_bits"].size()), start = v["start"].get<int64_t>();
      const std::vector<uint32_t> z = HexWords(v["z_bits"][0]), round_bits = HexWords(v["round_bits"]);
      for (const DType storage : {DType::kF32, DType::kBF16, DType::kF16}) {
        SCOPED_TRACE(v["name"].get<std::string>() + " " + std::string(Name(storage)));
        TileCase c = OneRow(Number(v["seed"]), static_cast<uint32_t>(Number(v["tensor_id"])), start, n, start + n,
                            storage, v["q"], Bytes(static_cast<size_t>(n * SizeOf(storage))));
        const int q = v["q"];
        std::vector<double> g(static_cast<size_t>(q));
        g[0] = -q;  // divided by q
        AddRecord(&c, v["step"].get<uint64_t>(), 1.0, false, g);
        c.version = v["step"].get<int64_t>();
        c.step = c.version + 1;
        c.master = 0;
        uint64_t saturated = 0;
        const auto memory = RunLaunches(c, ThreadOrder::kForward, 1, &saturated);
        ASSERT_TRUE(memory.ok());
        const std::vector<uint32_t> got = storage == DType::kF32 ? Words32((*memory)[0]) : Words16((*memory)[0]);
        for (size_t e = 0; e < z.size(); ++e) {
          const float value = std::bit_cast<float>(z[e]);
          const uint32_t want = storage == DType::kF32 ? z[e]
                                : storage == DType::kBF16
                                    ? kernels::StoreBf16Stochastic(value, round_bits[e], &saturated)
                                    : kernels::StoreF16Stochastic(value, round_bits[e], &saturated);
          EXPECT_EQ(got[e], want) << e;
        }
      }
    }
  }
}

// Whole passes with several pending steps, by the checksums of the numpy reference.
TEST(PrepareGolden, Passes) {
  const Json file = Golden(std::string(ZO2_SOURCE_DIR) + "/tests/golden/noise/streams.json");
  const Json& p = file["pass"];
  const auto count = p["count"].get<int64_t>(), start = p["start"].get<int64_t>();
  const auto n = static_cast<size_t>(count);
  std::vector<uint16_t> r(n), r2(n);
  kernels::RoundBitsFill({99, 1}, 0, 0, count, r.data());
  kernels::RoundBitsFill({99, 2}, 0, 0, count, r2.data());
  ASSERT_GE(file["passes"].size(), 10u);
  for (const Json& v : file["passes"]) {
    SCOPED_TRACE(v.dump());
    const DType storage = *ParseDType(v["storage"].get<std::string>());
    const auto bytes = static_cast<size_t>(SizeOf(storage));
    Bytes theta(n * bytes);
    for (size_t e = 0; e < n; ++e) {
      const uint32_t w = r[e];
      const uint32_t bits = storage == DType::kF32    ? ((w & 0x807F) << 16 | (0x76 + (w >> 7) % 12) << 23) | r2[e]
                            : storage == DType::kBF16 ? (w & 0x807F) | (0x76 + (w >> 7) % 12) << 7
                                                      : (w & 0x83FF) | ((w >> 10) % 31) << 10;
      std::memcpy(theta.data() + e * bytes, &bits, bytes);  // little endian
    }
    for (const DType compute : {DType::kF32, DType::kBF16, DType::kF16}) {
      TileCase c = OneRow(Number(p["seed"]), p["tensor_id"], start, count, start + count + 17, storage, p["q"], theta);
      PlanWeight& weight = c.schedule.weights[0];
      weight.components[0].compute = compute;
      weight.lr_mul = p["lr_mul"];
      c.schedule.rademacher = v["rademacher"];
      c.schedule.rounding = v["rounding"] == "nearest" ? Rounding::kNearest : Rounding::kStochastic;
      c.parameters.weight_decay = p["weight_decay"];
      c.parameters.eps = p["eps"];
      c.tile.branch_bytes = n * static_cast<size_t>(SizeOf(compute));
      c.step = p["step"];
      c.version = c.step - static_cast<int64_t>(p["pending"].size());
      // A ring begins with the step that is a multiple of its length.
      c.ring.ring = static_cast<uint32_t>(p["pending"].size());
      std::vector<const Json*> in_ring(p["pending"].size());
      for (const Json& step : p["pending"]) in_ring[step["step"].get<size_t>() % in_ring.size()] = &step;
      for (const Json* step : in_ring) AddRecord(&c, (*step)["step"], (*step)["lr"], (*step)["skipped"], (*step)["g"]);
      const auto minus = static_cast<size_t>(AddOutput(&c, -1)), plus = static_cast<size_t>(AddOutput(&c, 1));
      c.master = 0;
      uint64_t saturated = 0;
      const auto memory = RunLaunches(c, ThreadOrder::kForward, 2, &saturated);
      ASSERT_TRUE(memory.ok());
      const std::string name(Name(compute));
      EXPECT_EQ(Number(v["master"], 16), Checksum((*memory)[0]));
      EXPECT_EQ(Number(v["plus"][name], 16), Checksum((*memory)[plus])) << name;
      EXPECT_EQ(Number(v["minus"][name], 16), Checksum((*memory)[minus])) << name;
      if (v.contains("saturated")) {
        EXPECT_EQ(v["saturated"], saturated);
      }
    }
  }
}

}  // namespace
}  // namespace zo2::cuda
