// Options, machines, partition.
#include <gtest/gtest.h>

#include <map>

#include "planner/machine.h"
#include "planner/options.h"
#include "planner/partition.h"
#include "planner/precision.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

TEST(Options, SizesAndRates) {
  EXPECT_EQ(*ParseSize("64MiB"), uint64_t{64} << 20);
  EXPECT_EQ(*ParseSize("1.5 GB"), 1500000000u);
  EXPECT_EQ(*ParseSize("2k"), 2048u);
  EXPECT_EQ(*ParseSize("4096"), 4096u);
  EXPECT_EQ(*ParseRate("2GB/s"), 2e9);
  for (const char* bad : {"", "abc", "-3MiB", "3XB", "nan", "inf", "1e30GiB", "12 apples"}) {
    auto size = ParseSize(bad);
    ASSERT_FALSE(size.ok()) << bad;
    EXPECT_EQ(size.status().code(), Code::kInvalid);
  }
  EXPECT_FALSE(ParseRate("0").ok());
  EXPECT_EQ(FormatSize(1536), "1.50 KiB");
  EXPECT_EQ(FormatSeconds(0.0123), "12.30 ms");
}

TEST(Machine, BuiltinsReadBackFromTheirJson) {
  for (const Machine& m : BuiltinMachines()) {
    auto back = MachineFromJson(MachineToJson(m), "test");
    ASSERT_TRUE(back.ok()) << back.status().message();
    EXPECT_EQ(MachineToJson(*back).size() > 0, true);
    EXPECT_EQ(back->name, m.name);
    EXPECT_EQ(back->device_bytes, m.device_bytes);
    EXPECT_EQ(back->gemm_flops, m.gemm_flops);
    EXPECT_EQ(back->link_up_bytes_per_s, m.link_up_bytes_per_s);
    EXPECT_FALSE(m.source.empty());
    EXPECT_NE(MachinesText().find(m.name), std::string::npos);
  }
}

TEST(Machine, ErrorsNameTheFileAndTheField) {
  auto missing = LoadMachine("no-such-machine");
  ASSERT_FALSE(missing.ok());
  EXPECT_NE(missing.status().message().find("h100-pcie5"), std::string::npos);
  for (const char* bad : {"[]", "{", "{\"kind\":\"tpu\"}", "{\"link_up_bytes_per_s\":0}", "{\"compute_threads\":\"two\"}",
                          "{\"gemm_flops\":{\"f32\":-1}}", "{\"gemm_table\":[{\"m\":1}]}", "{\"calls\":{\"x\":\"y\"}}"}) {
    auto m = MachineFromJson(bad, "FILE");
    ASSERT_FALSE(m.ok()) << bad;
    EXPECT_EQ(m.status().code(), Code::kInvalid);
    EXPECT_NE(m.status().message().find("FILE"), std::string::npos);
  }
}

TEST(Machine, MeasuredShapesGoFirst) {
  Machine m = *LoadMachine("cpu-2core");
  const double rate = m.GemmFlops(DType::kF32, 64, 64, 64);
  m.gemm_table = {{DType::kF32, 64, 64, 64, 5e9}, {DType::kF32, 512, 512, 512, 9e9}};
  EXPECT_EQ(m.GemmFlops(DType::kF32, 70, 60, 64), 5e9);
  EXPECT_EQ(m.GemmFlops(DType::kF32, 500, 500, 500), 9e9);
  EXPECT_EQ(m.GemmFlops(DType::kF32, 1e6, 64, 64), rate);
}

TEST(Partition, TileTarget) {
  EXPECT_EQ(TileTarget(0), uint64_t{1} << 20);
  EXPECT_EQ(TileTarget(uint64_t{350} << 30), uint64_t{32} << 20);
  EXPECT_EQ(TileTarget(uint64_t{24} << 30), uint64_t{8} << 20);
}

TEST(Partition, LayerPrefix) {
  EXPECT_EQ(LayerPrefix("model.layers.3.fc1.weight"), "model.layers.3.");
  EXPECT_EQ(LayerPrefix("embed.weight"), "");
  EXPECT_EQ(LayerPrefix("h.11.attn.0.w"), "h.11.");
}

// Every element of every weight is in exactly one segment, aligned, and parts say where.
void CheckPartition(const Graph& graph, const Partition& p, uint64_t align) {
  std::vector<int64_t> covered(graph.weights.size(), 0);
  for (const Tile& tile : p.tiles) {
    uint64_t end = 0;
    for (const Segment& s : tile.segments) {
      covered[static_cast<size_t>(s.weight)] += s.elements();
      EXPECT_EQ(s.offset % align, 0u);
      EXPECT_GE(s.offset, end);
      end = s.offset + static_cast<uint64_t>(s.elements()) * 1;
      EXPECT_LE(end, tile.bytes);
    }
  }
  for (size_t w = 0; w < graph.weights.size(); ++w) {
    EXPECT_EQ(covered[w], graph.weights[w].elements()) << graph.weights[w].name;
    int64_t next = 0;
    for (const Part& part : p.parts[w]) {
      EXPECT_EQ(p.tiles[static_cast<size_t>(part.tile)].segments[static_cast<size_t>(part.segment)].weight, static_cast<int32_t>(w));
      if (p.cut[w]) {
        EXPECT_EQ(part.begin, next);
      }
      next = part.end;
    }
  }
}

TEST(Partition, CoversEveryWeightOnce) {
  Machine m = *LoadMachine("cpu-2core");
  for (uint64_t tile : {uint64_t{256}, uint64_t{1000}, uint64_t{4096}, uint64_t{1} << 20}) {
    Graph graph = SmallGraph();
    PlanOptions o;
    o.tile = tile;
    auto p = MakePartition(graph, m, o);
    ASSERT_TRUE(p.ok()) << p.status().message();
    CheckPartition(graph, *p, kCpuAlignment);
  }
}

TEST(Partition, CutsAreMultiplesOf64RowsAndWithinTheTarget) {
  SmallGraphOptions g;
  g.vocabulary = 1000;
  g.width = 64;
  Graph graph = SmallGraph(g);
  PlanOptions o;
  o.tile = 50000;
  auto p = MakePartition(graph, *LoadMachine("cpu-2core"), o);
  ASSERT_TRUE(p.ok());
  const auto& parts = p->parts[0];  // the tied table: 256000 bytes
  ASSERT_TRUE(p->cut[0]);
  for (size_t i = 0; i + 1 < parts.size(); ++i) {
    EXPECT_EQ((parts[i].end - parts[i].begin) % 64, 0);
    EXPECT_EQ(parts[i].end - parts[i].begin, parts[0].end - parts[0].begin);
    EXPECT_LE(p->tiles[static_cast<size_t>(parts[i].tile)].bytes, o.tile);
  }
}

TEST(Partition, BiasesRideAndSmallWeightsShare) {
  Graph graph = SmallGraph();
  PlanOptions o;
  o.tile = 4096;
  auto p = MakePartition(graph, *LoadMachine("cpu-2core"), o);
  ASSERT_TRUE(p.ok());
  std::map<std::string, size_t> index;
  for (size_t w = 0; w < graph.weights.size(); ++w) index[graph.weights[w].name] = w;
  auto tile_of = [&](const std::string& name) { return p->parts[index[name]][0].tile; };
  EXPECT_EQ(tile_of("model.layers.0.fc1.weight"), tile_of("model.layers.0.fc1.bias"));
  EXPECT_EQ(tile_of("model.layers.0.ln1.weight"), tile_of("model.layers.0.ln1.bias"));
  EXPECT_NE(tile_of("model.layers.0.ln1.weight"), tile_of("model.layers.2.ln1.weight"));
  // Layer 1 is frozen but for fc1.bias, which must not drag its matrix along.
  EXPECT_NE(tile_of("model.layers.1.fc1.weight"), tile_of("model.layers.1.fc1.bias"));
  EXPECT_EQ(p->parts[index["model.layers.1.fc1.bias"]].size(), p->parts[index["model.layers.1.fc1.weight"]].size());
  for (const Tile& t : p->tiles) {
    for (const Segment& s : t.segments)
      EXPECT_EQ(p->weights[static_cast<size_t>(s.weight)].trainable, t.trainable);
  }
}

TEST(Partition, RefusesOddWeights) {
  Graph graph = SmallGraph();
  graph.weights[0].dtype = DType::kI64;
  auto p = MakePartition(graph, *LoadMachine("cpu-2core"), {});
  ASSERT_FALSE(p.ok());
  EXPECT_NE(p.status().message().find("embed.weight"), std::string::npos);
}

TEST(ComputeDType, GpuGraphsAreNarrowAndStillVerify) {
  SmallGraphOptions g;
  g.storage = DType::kF16;
  Graph graph = SmallGraph(g);
  auto narrow = ApplyPrecision(graph, *LoadMachine("h100-pcie5"), {});
  ASSERT_TRUE(narrow.ok());
  EXPECT_TRUE(VerifyGraph(*narrow).ok()) << VerifyGraph(*narrow).status().message();
  int halves = 0, floats = 0;
  for (const Value& v : narrow->values) {
    halves += v.type.dtype == DType::kF16;
    floats += v.type.dtype == DType::kF32;
  }
  EXPECT_GT(halves, 20);
  EXPECT_GT(floats, 5);  // one-dimensional weights
  auto same = ApplyPrecision(graph, *LoadMachine("cpu-2core"), {});
  ASSERT_TRUE(same.ok());
  for (const Value& v : same->values) EXPECT_NE(v.type.dtype, DType::kF16);
}

TEST(Precision, VectorsAreStoredInF32AndTheRestAsAsked) {
  SmallGraphOptions g;
  g.storage = DType::kBF16;
  const Graph graph = SmallGraph(g);
  const Machine cpu = *LoadMachine("cpu-2core");
  const auto dtypes = [&](const PlanOptions& o) {
    const auto out = ApplyPrecision(graph, cpu, o);
    EXPECT_TRUE(out.ok()) << out.status().message();
    EXPECT_TRUE(VerifyGraph(*out).ok());
    std::map<std::pair<bool, DType>, int> count;  // vector?, storage
    for (const Weight& w : out->weights) ++count[{w.shape.size() < 2, w.dtype}];
    return count;
  };
  const auto as_is = dtypes({});
  EXPECT_EQ(as_is.size(), 2u);
  EXPECT_TRUE(as_is.count({true, DType::kF32}) && as_is.count({false, DType::kBF16}));
  PlanOptions o;
  o.storage = DType::kF16;
  EXPECT_TRUE(dtypes(o).count({false, DType::kF16}));
  o.storage_for = {{".", {}}};  // as the file has them, vectors too
  EXPECT_EQ(dtypes(o).count({true, DType::kBF16}), 1u);
  EXPECT_EQ(dtypes(o).size(), 2u);
  o.storage_for = {{"embed", DType::kF32}};
  EXPECT_EQ(dtypes(o)[std::make_pair(false, DType::kF32)], 1);
  for (const char* bad : {"no such weight", "("}) {
    o.storage_for = {{bad, DType::kF32}};
    const auto out = ApplyPrecision(graph, cpu, o);
    ASSERT_FALSE(out.ok());
    EXPECT_NE(out.status().message().find(bad), std::string::npos) << out.status().message();
  }
}

TEST(Precision, ProductsInBf16KeepActivationsInF32) {
  const Graph graph = SmallGraph();
  const Machine cpu = *LoadMachine("cpu-2core");
  PlanOptions o;
  o.compute = DType::kBF16;
  const auto out = ApplyPrecision(graph, cpu, o);
  ASSERT_TRUE(out.ok() && VerifyGraph(*out).ok());
  int matrices = 0;
  for (const Value& v : out->values) {
    if (v.type.dtype != DType::kBF16) continue;
    ++matrices;
    EXPECT_EQ(v.kind, ValueKind::kWeight) << v.name;
    EXPECT_EQ(v.type.shape.size(), 2u) << v.name;
  }
  EXPECT_GT(matrices, 3);
  // Scratch for branches halves, and the plan says so.
  const auto wide = MakePartition(graph, cpu, {}), narrow = MakePartition(*out, cpu, o);
  ASSERT_TRUE(wide.ok() && narrow.ok());
  uint64_t before = 0, after = 0;
  for (const Tile& t : wide->tiles) before += t.branch_bytes;
  for (const Tile& t : narrow->tiles) after += t.branch_bytes;
  EXPECT_LT(after, 0.75 * static_cast<double>(before));
  o.compute_for = {{".", DType::kF32}};
  const auto back = ApplyPrecision(graph, cpu, o);
  ASSERT_TRUE(back.ok());
  for (const Value& v : back->values) EXPECT_NE(v.type.dtype, DType::kBF16);
  o.compute_for = {{"norm", DType::kBF16}};  // vectors: nothing that products read
  EXPECT_EQ(ApplyPrecision(graph, cpu, o).status().code(), Code::kInvalid);
  o.compute_for = {};
  EXPECT_EQ(ApplyPrecision(graph, *LoadMachine("h100-pcie5"), o).status().code(), Code::kInvalid);
}

}  // namespace
}  // namespace zo2
