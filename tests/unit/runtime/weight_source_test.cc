#include "runtime/masters.h"
#include "runtime/weight_source.h"

#include <gtest/gtest.h>

#include <cmath>
#include <set>

#include "runtime/number.h"
#include "tests/unit/runtime/data_fixture.h"
#include "tests/unit/runtime/tiny_run.h"

namespace zo2 {
namespace {

PlanWeight MakeWeight(const std::string& name, const Shape& shape, DType storage = DType::kF32) {
  PlanWeight weight;
  weight.name = name;
  weight.shape = shape;
  weight.components = {{name, 1, storage, PlainWire(storage), DType::kF32, shape, true}};
  return weight;
}

std::vector<float> Made(int64_t n, int seed = 0) {
  std::vector<float> values;
  for (int64_t i = 0; i < n; ++i) values.push_back(0.001f * static_cast<float>((i * 37 + seed * 11) % 1009 - 500));
  return values;
}

std::string As(DType dtype, const std::vector<float>& values) {
  std::string bytes(values.size() * static_cast<size_t>(SizeOf(dtype)), '\0');
  Convert(Number::kF32, reinterpret_cast<const std::byte*>(values.data()), static_cast<int64_t>(values.size()), dtype,
          reinterpret_cast<std::byte*>(bytes.data()));
  return bytes;
}

std::vector<float> Turned(const std::vector<float>& values, int64_t rows, int64_t cols) {
  std::vector<float> turned;
  for (int64_t c = 0; c < cols; ++c)
    for (int64_t r = 0; r < rows; ++r) turned.push_back(values[static_cast<size_t>(r * cols + c)]);
  return turned;
}

class WeightSourceTest : public testing::Test {
 protected:
  WeightSourceTest() { schedule_.model_dir = folder_.path(); }

  // A weight whose place is a file of its own, `gap` bytes from its start.
  void Add(const PlanWeight& weight, DType dtype, const std::string& bytes, bool transposed = false, size_t gap = 3) {
    const std::string file = weight.name + ".bin";
    ASSERT_TRUE(WriteFile(folder_ / file, std::string(gap, 'x') + bytes + "y").ok());
    schedule_.weights.push_back(weight);
    schedule_.weights.back().places.insert(schedule_.weights.back().places.begin(),
                                           Place{weight.name, {file, gap, bytes.size()}, dtype, transposed, true});
  }
  std::string Whole(const WeightSource& source, int32_t w) {
    const PlanWeight& weight = schedule_.weights[static_cast<size_t>(w)];
    std::string out(static_cast<size_t>(NumElements(weight.shape) * SizeOf(weight.components[0].storage)), '\0');
    const Status status = source.Read(w, 0, weight.rows(), 0, weight.cols(), reinterpret_cast<std::byte*>(out.data()));
    EXPECT_TRUE(status.ok()) << status.message();
    return out;
  }
  // Opens and reads weight 0.
  std::string First(const std::string& weights = "") {
    const Result<WeightSource> source = WeightSource::Open(schedule_, weights);
    EXPECT_TRUE(source.ok()) << source.status().message();
    notes_ = source.ok() ? source->notes() : std::vector<std::string>();
    return source.ok() ? Whole(*source, 0) : "";
  }
  std::string Clean(std::string message) {
    for (size_t at; (at = message.find(folder_.path() + "/")) != std::string::npos;)
      message.erase(at, folder_.path().size() + 1);
    return message;
  }
  std::string Error(const std::string& weights = "") {
    const Result<WeightSource> source = WeightSource::Open(schedule_, weights);
    return source.ok() ? "no error" : Clean(source.status().message());
  }
  Folder folder_;
  Schedule schedule_;
  std::vector<std::string> notes_;
};

constexpr DType kFloats[] = {DType::kF32, DType::kBF16, DType::kF16, DType::kF64};

TEST_F(WeightSourceTest, EveryDtypeAsIsAndTransposed) {
  const Shape shapes[] = {{5, 7}, {1, 9}, {9, 1}, {64, 64}, {65, 130}, {200, 3}};
  for (const Shape& shape : shapes)
    for (const DType from : kFloats)
      for (const DType to : kFloats)
        for (const bool transposed : {false, true}) {
          schedule_.weights.clear();
          const std::vector<float> values = Made(NumElements(shape));
          const std::string stored = As(from, transposed ? Turned(values, shape[0], shape[1]) : values);
          Add(MakeWeight("w", shape, to), from, stored, transposed);
          // What the file holds, rounded once more to the storage dtype.
          const std::string there = As(from, values);
          std::string expected(static_cast<size_t>(NumElements(shape) * SizeOf(to)), '\0');
          Convert(NumberOf(from), reinterpret_cast<const std::byte*>(there.data()), NumElements(shape), to,
                  reinterpret_cast<std::byte*>(expected.data()));
          ASSERT_EQ(First(), expected) << shape[0] << "x" << shape[1] << " " << Name(from) << " to " << Name(to) << " "
                                       << transposed;
        }
}

TEST_F(WeightSourceTest, AnyRowsAndColumns) {
  constexpr int64_t kRows = 70, kCols = 131;
  const std::vector<float> values = Made(kRows * kCols);
  Add(MakeWeight("a", {kRows, kCols}), DType::kF32, As(DType::kF32, values));
  Add(MakeWeight("b", {kRows, kCols}), DType::kF32, As(DType::kF32, Turned(values, kRows, kCols)), true);
  Add(MakeWeight("c", {kRows, kCols}, DType::kBF16), DType::kF64, As(DType::kF64, Turned(values, kRows, kCols)), true);
  const Result<WeightSource> source = WeightSource::Open(schedule_, "");
  ASSERT_TRUE(source.ok()) << source.status().message();
  const int64_t cuts[] = {0, 1, 31, 63, 64, 65, 70, 128, 131};
  for (const int64_t r0 : cuts)
    for (const int64_t r1 : cuts)
      for (const int64_t c0 : cuts)
        for (const int64_t c1 : cuts) {
          if (r0 > r1 || r1 > kRows || c0 > c1) continue;
          std::vector<float> part;
          for (int64_t r = r0; r < r1; ++r)
            part.insert(part.end(), values.begin() + r * kCols + c0, values.begin() + r * kCols + c1);
          for (int32_t w = 0; w < 3; ++w) {
            const std::string expected = As(schedule_.weights[static_cast<size_t>(w)].components[0].storage, part);
            std::string got(expected.size() + 8, 'z');
            ASSERT_TRUE(source->Read(w, r0, r1, c0, c1, reinterpret_cast<std::byte*>(got.data())).ok());
            ASSERT_EQ(got, expected + "zzzzzzzz") << w << ": " << r0 << " " << r1 << " " << c0 << " " << c1;
          }
        }
  std::byte out[4];
  EXPECT_EQ(source->Read(0, 0, 71, 0, 1, out).message(),
            "rows [0, 71) and columns [0, 1) of weight a, which has 70 and 131");
  EXPECT_EQ(source->Read(0, -1, 1, 0, 1, out).code(), Code::kInternal);
  EXPECT_EQ(source->Read(0, 2, 1, 0, 1, out).code(), Code::kInternal);
  EXPECT_EQ(source->Read(0, 0, 1, 0, 132, out).code(), Code::kInternal);
  EXPECT_EQ(source->Read(3, 0, 1, 0, 1, out).message(), "there is no weight 3 to read");
}

TEST_F(WeightSourceTest, OtherRanks) {
  Add(MakeWeight("v", {6}), DType::kF32, As(DType::kF32, Made(6)));
  Add(MakeWeight("t", {2, 3, 2}), DType::kBF16, As(DType::kBF16, Made(12)));
  Add(MakeWeight("s", {}), DType::kF32, As(DType::kF32, {2.5f}));
  const Result<WeightSource> source = WeightSource::Open(schedule_, "");
  ASSERT_TRUE(source.ok()) << source.status().message();
  EXPECT_EQ(Whole(*source, 0), As(DType::kF32, Made(6)));
  std::vector<float> narrow = Made(12);
  const std::string there = As(DType::kBF16, narrow);
  Convert(Number::kBF16, reinterpret_cast<const std::byte*>(there.data()), 12, DType::kF32,
          reinterpret_cast<std::byte*>(narrow.data()));
  EXPECT_EQ(Whole(*source, 1), As(DType::kF32, narrow));
  EXPECT_EQ(Whole(*source, 2), As(DType::kF32, {2.5f}));
}

TEST_F(WeightSourceTest, TooLargeForTheStorageDtype) {
  Add(MakeWeight("w", {2}, DType::kF16), DType::kF32, As(DType::kF32, {1, 1e6f}));
  const Result<WeightSource> source = WeightSource::Open(schedule_, "");
  ASSERT_TRUE(source.ok());
  std::byte out[4];
  EXPECT_EQ(Clean(source->Read(0, 0, 1, 0, 2, out).message()),
            "weight w has values in w.bin that are too large for f16");
  EXPECT_EQ(Clean(source->Digest(2).status().message()), "weight w has values in w.bin that are too large for f16");
}

TEST_F(WeightSourceTest, PlacesThatDoNotFit) {
  const std::string four = As(DType::kF32, Made(4));
  const auto error = [&](auto change) {
    schedule_.weights.clear();
    Add(MakeWeight("w", {2, 2}), DType::kF32, four);
    change(schedule_.weights[0]);
    return Error();
  };
  const std::string impossible = "weight w of the plan has an impossible shape or dtype";
  EXPECT_EQ(error([](PlanWeight& w) { w.shape = {int64_t{1} << 32, int64_t{1} << 32}; }), impossible);
  EXPECT_EQ(error([](PlanWeight& w) { w.shape = {-2, -2}; }), impossible);
  EXPECT_EQ(error([](PlanWeight& w) { w.shape = {0, 4}; }), impossible);
  EXPECT_EQ(error([](PlanWeight& w) { w.components[0].storage = DType::kI32; }), impossible);
  EXPECT_EQ(error([](PlanWeight& w) { w.places[0].dtype = DType::kI32; }), impossible);
  EXPECT_EQ(error([](PlanWeight& w) { w.components.clear(); }),
            "weight w of the plan has 0 components; one can be loaded");
  EXPECT_EQ(error([](PlanWeight& w) { w.places[0].dtype = DType::kF64; }),
            "weight w needs 32 bytes of f64, but the plan gives it 16 of w.bin");
  EXPECT_EQ(error([](PlanWeight& w) { w.places[0].range.offset = 5; }),
            "weight w: w.bin has 20 bytes, but bytes [5, 5+16) are wanted: the file is truncated or belongs to another "
            "model");
  EXPECT_EQ(
      error([](PlanWeight& w) { w.places[0].range.offset = ~uint64_t{0} - 7; }),
      "weight w: w.bin has 20 bytes, but bytes [18446744073709551608, 18446744073709551608+16) are wanted: the file is "
      "truncated or belongs to another model");
  EXPECT_EQ(error([](PlanWeight& w) {
              w.shape = {4};
              w.places[0].transposed = true;
            }),
            "weight w of the plan is transposed but has 1 axes");
}

TEST_F(WeightSourceTest, WeightsThatAreNowhere) {
  for (const char* name : {"a", "b", "c", "d", "e"}) Add(MakeWeight(name, {2}), DType::kF32, As(DType::kF32, Made(2)));
  for (size_t w : {0, 1, 3, 4}) schedule_.weights[w].places[0].range.file = w < 2 ? "gone.bin" : "lost.bin";
  EXPECT_EQ(Error(),
            "the values of 4 of 5 weights are nowhere (a, b, d and 1 more): there is no gone.bin, lost.bin; name "
            "safetensors files that hold them with --weights");
  schedule_.weights[3].places.clear();
  schedule_.weights.resize(4);
  schedule_.weights.erase(schedule_.weights.begin(), schedule_.weights.begin() + 3);
  EXPECT_EQ(Error(),
            "the values of 1 of 1 weights are nowhere (d); name safetensors files that hold them with --weights");
  // A file that is named absolutely, and one that was absent when the plan was made.
  schedule_.weights.clear();
  Add(MakeWeight("w", {2}), DType::kF32, As(DType::kF32, Made(2)));
  schedule_.weights[0].places[0].present = false;
  schedule_.weights[0].places[0].range.file = folder_ / "w.bin";
  schedule_.model_dir = "/nowhere";
  EXPECT_EQ(First(), As(DType::kF32, Made(2)));
}

// ---- files that go before the places ----

TEST_F(WeightSourceTest, NamesThatATensorMayHave) {
  const std::vector<float> own = Made(6, 1), other = Made(6, 2);
  const auto bytes = [&](const std::vector<float>& v) { return As(DType::kF32, v); };
  PlanWeight weight = MakeWeight("model.decoder.fc.weight", {2, 3});
  weight.aliases = {"lm_head.weight"};
  weight.places = {Place{"onnx::MatMul_7", {"none.bin", 0, 24}, DType::kF32, true, false}};
  Add(weight, DType::kF32, bytes(own));
  const std::string file = folder_ / "w.safetensors";
  const Shape as_is = {2, 3}, flipped = {3, 2};
  struct Case {
    const char* name;
    bool turned;
  };
  for (const Case& c : {Case{"model.decoder.fc.weight", false},
                        {"lm_head.weight", false},
                        {"onnx::MatMul_7", true},
                        {"decoder.fc.weight", false},
                        {"fc.weight", true},
                        {"lm_head.weight", true}}) {
    WriteTensors(file,
                 {{c.name, DType::kF32, c.turned ? flipped : as_is, bytes(c.turned ? Turned(other, 2, 3) : other)}});
    EXPECT_EQ(First(file), bytes(other)) << c.name;
    EXPECT_TRUE(notes_.empty());
    EXPECT_EQ(First(folder_.path()), bytes(other)) << c.name;  // the folder of the file
  }
  // Names that say less than a path, or belong to nothing, do not count.
  WriteTensors(file, {{"weight", DType::kF32, as_is, bytes(other)}, {"x", DType::kF32, as_is, bytes(other)}});
  EXPECT_EQ(Error(file),
            "w.safetensors has 2 tensors, but none is named like a weight of the plan (model.decoder.fc.weight)");
  EXPECT_EQ(First(), bytes(own));
}

TEST_F(WeightSourceTest, SquareTensorsAreTurnedByThePlaceName) {
  const std::vector<float> values = Made(9);
  PlanWeight weight = MakeWeight("fc.weight", {3, 3});
  weight.places = {Place{"val_3", {"none.bin", 0, 36}, DType::kF32, true, false}};
  schedule_.weights = {weight};
  const std::string file = folder_ / "w.safetensors";
  WriteTensors(file, {{"val_3", DType::kF32, {3, 3}, As(DType::kF32, values)}});
  EXPECT_EQ(First(file), As(DType::kF32, Turned(values, 3, 3)));
  WriteTensors(file, {{"fc.weight", DType::kF32, {3, 3}, As(DType::kF32, values)}});
  EXPECT_EQ(First(file), As(DType::kF32, values));
}

TEST_F(WeightSourceTest, APlaceNameThatIsAnotherWeights) {
  // Two norms that one initializer holds: its name is the first one's.
  PlanWeight first = MakeWeight("ln1.weight", {2}), second = MakeWeight("ln2.weight", {2});
  const Place place{"ln1.weight", {"shared.bin", 0, 8}, DType::kF32, false, true};
  first.places = second.places = {place};
  schedule_.weights = {first, second};
  ASSERT_TRUE(WriteFile(folder_ / "shared.bin", As(DType::kF32, {1, 1})).ok());
  const std::string file = folder_ / "w.safetensors";
  WriteTensors(file, {{"ln1.weight", DType::kF32, {2}, As(DType::kF32, {5, 6})}});
  const Result<WeightSource> source = WeightSource::Open(schedule_, file);
  ASSERT_TRUE(source.ok()) << source.status().message();
  EXPECT_EQ(Whole(*source, 0), As(DType::kF32, {5, 6}));
  EXPECT_EQ(Whole(*source, 1), As(DType::kF32, {1, 1}));
}

TEST_F(WeightSourceTest, NotesSayWhatIsNotThere) {
  for (const char* name : {"a.w", "b.w", "c.w", "d.w", "e.w"})
    Add(MakeWeight(name, {2}), DType::kF32, As(DType::kF32, Made(2)));
  const std::string file = folder_ / "w.safetensors";
  WriteTensors(file, {{"e.w", DType::kBF16, {2}, As(DType::kBF16, {3, 4})},
                      {"x", DType::kF32, {1}, "abcd"},
                      {"rotary.inv_freq", DType::kI64, {1}, "abcdefgh"}});
  const Result<WeightSource> source = WeightSource::Open(schedule_, file);
  ASSERT_TRUE(source.ok()) << source.status().message();
  EXPECT_EQ(Whole(*source, 0), As(DType::kF32, Made(2)));
  EXPECT_EQ(Whole(*source, 4), As(DType::kF32, {3, 4}));
  ASSERT_EQ(source->notes().size(), 2u);
  EXPECT_EQ(Clean(source->notes()[0]),
            "4 of 5 weights are not in w.safetensors and come from the plan's own files: a.w, b.w, c.w, ...");
  EXPECT_EQ(Clean(source->notes()[1]), "2 tensors of w.safetensors are no weights of the plan: x, rotary.inv_freq");
}

TEST_F(WeightSourceTest, TensorsThatDoNotFit) {
  PlanWeight weight = MakeWeight("embed.weight", {2, 3});
  weight.aliases = {"lm_head.weight"};
  Add(weight, DType::kF32, As(DType::kF32, Made(6)));
  const std::string file = folder_ / "w.safetensors";
  WriteTensors(file, {{"embed.weight", DType::kF32, {3, 3}, As(DType::kF32, Made(9))}});
  EXPECT_EQ(Error(file),
            "w.safetensors: tensor embed.weight is f32[3,3], but weight embed.weight of the plan is [2,3]");
  WriteTensors(file, {{"lm_head.weight", DType::kI8, {2, 3}, "abcdef"}});
  EXPECT_EQ(Error(file),
            "w.safetensors: tensor lm_head.weight is i8[2,3], but weight embed.weight of the plan is [2,3]");
  WriteTensors(file, {{"embed.weight", DType::kF32, {2, 3}, As(DType::kF32, Made(6))},
                      {"lm_head.weight", DType::kF32, {2, 3}, As(DType::kF32, Made(6, 1))}});
  EXPECT_EQ(Error(file),
            "tensors embed.weight and lm_head.weight of w.safetensors differ, but the plan ties them as "
            "embed.weight: keep one of them");
  WriteTensors(file, {{"embed.weight", DType::kF32, {2, 3}, As(DType::kF32, Made(6))},
                      {"lm_head.weight", DType::kF32, {2, 3}, As(DType::kF32, Made(6))}});
  EXPECT_EQ(First(file), As(DType::kF32, Made(6)));
  EXPECT_TRUE(notes_.empty());
  EXPECT_EQ(Error(folder_ / "none.safetensors"), "there is no file or folder none.safetensors");
}

// ---- digests ----

TEST_F(WeightSourceTest, DigestIsOfTheValuesNotOfTheFiles) {
  const std::vector<float> a = Made(70 * 131), b = Made(3000000, 2);  // b: several pieces
  const auto digest = [&](int threads) {
    const Result<WeightSource> source = WeightSource::Open(schedule_, "");
    EXPECT_TRUE(source.ok()) << source.status().message();
    const Result<std::string> text = source->Digest(threads);
    EXPECT_TRUE(text.ok());
    return text.ok() ? *text : "";
  };
  Add(MakeWeight("a", {70, 131}), DType::kF32, As(DType::kF32, a));
  Add(MakeWeight("b", {3000, 1000}), DType::kF32, As(DType::kF32, b));
  const std::string whole = digest(1);
  EXPECT_EQ(whole.size(), 64u);
  EXPECT_EQ(digest(2), whole);
  EXPECT_EQ(digest(7), whole);
  schedule_.weights.clear();
  Add(MakeWeight("a", {70, 131}), DType::kF64, As(DType::kF64, Turned(a, 70, 131)), true);
  Add(MakeWeight("b", {3000, 1000}), DType::kF32, As(DType::kF32, Turned(b, 3000, 1000)), true);
  EXPECT_EQ(digest(2), whole);
  std::set<std::string> all = {whole};
  schedule_.weights[0].name = "c";
  all.insert(digest(2));
  schedule_.weights[0].components[0].storage = DType::kBF16;
  all.insert(digest(2));
  std::swap(schedule_.weights[0], schedule_.weights[1]);
  all.insert(digest(2));
  schedule_.weights.clear();
  std::vector<float> changed = b;
  changed.back() += 1;
  Add(MakeWeight("a", {70, 131}), DType::kF32, As(DType::kF32, a));
  Add(MakeWeight("b", {3000, 1000}), DType::kF32, As(DType::kF32, changed));
  all.insert(digest(2));
  Add(MakeWeight("b", {1000, 3000}), DType::kF32, As(DType::kF32, changed));
  schedule_.weights.erase(schedule_.weights.begin() + 1);
  all.insert(digest(2));
  EXPECT_EQ(all.size(), 6u);
}

// ---- masters ----

TEST_F(WeightSourceTest, LoadMastersFillsEveryTile) {
  for (const tiny::Named& named : tiny::Corpus()) {
    const Schedule schedule = tiny::MakeSchedule(named.options);
    std::vector<TestTensor> tensors;
    for (size_t w = 0; w < schedule.weights.size(); ++w) {
      const PlanWeight& weight = schedule.weights[w];
      std::vector<float> values = Made(NumElements(weight.shape), static_cast<int>(w));
      // Matrices as their transposes, where the shape can say so.
      const bool turned = weight.shape.size() == 2 && weight.shape[0] != weight.shape[1];
      if (turned) values = Turned(values, weight.rows(), weight.cols());
      const Shape shape = turned ? Shape{weight.shape[1], weight.shape[0]} : weight.shape;
      tensors.push_back({weight.name, DType::kF32, shape, As(DType::kF32, values)});
    }
    const std::string file = folder_ / "w.safetensors";
    WriteTensors(file, tensors);
    const Result<WeightSource> source = WeightSource::Open(schedule, file);
    ASSERT_TRUE(source.ok()) << source.status().message();
    Result<std::unique_ptr<Device>> device = OpenDevice("cpu", {});
    ASSERT_TRUE(device.ok());
    Result<std::unique_ptr<Executor>> executor = Executor::Prepare(schedule, **device, {});
    ASSERT_TRUE(executor.ok()) << executor.status().message();
    const Status status = (*executor)->Initialize(fake::Kernels(), RunParameters{.eps = 1e-3}, 0,
                                                  [&](Executor& e) { return LoadMasters(source->reader(), e); });
    ASSERT_TRUE(status.ok()) << status.message();
    for (const Tile& tile : schedule.tiles)
      for (const Segment& g : tile.segments) {
        std::vector<float> got(static_cast<size_t>(g.elements())), expected;
        ASSERT_TRUE((*executor)->ReadBuffer(tile.master, g.offset, std::as_writable_bytes(std::span(got))).ok());
        const PlanWeight& weight = schedule.weights[static_cast<size_t>(g.weight)];
        const std::vector<float> values = Made(NumElements(weight.shape), g.weight);
        for (int64_t r = g.row_begin; r < g.row_end; ++r)
          for (int64_t c = g.col_begin; c < g.col_end; ++c)
            expected.push_back(values[static_cast<size_t>(r * weight.cols() + c)]);
        ASSERT_EQ(got, expected) << named.name << " " << tile.name;
      }
  }
}

}  // namespace
}  // namespace zo2
