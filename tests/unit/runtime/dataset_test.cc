#include "runtime/dataset.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "ir/support/file.h"
#include "ir/support/hash.h"
#include "tests/unit/runtime/data_fixture.h"

namespace zo2 {
namespace {

using Rows = std::vector<std::vector<double>>;
using Ids = std::vector<int64_t>;

std::string Dict(const std::string& descr, const std::string& shape) {
  return "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }";
}

class DatasetTest : public testing::Test {
 protected:
  std::string Write(const std::string& name, const std::string& text) {
    const std::string path = folder_ / name;
    EXPECT_TRUE(WriteFile(path, text).ok());
    return path;
  }
  // Without the folder, which differs from run to run.
  std::string Error(const TestModel& model, const std::string& path) {
    std::string message = model.Error(path);
    for (size_t at; (at = message.find(folder_.path() + "/")) != std::string::npos;)
      message.erase(at, folder_.path().size() + 1);
    return message;
  }
  std::string ErrorOf(const TestModel& model, const std::string& name, const std::string& text) {
    return Error(model, Write(name, text));
  }
  std::unique_ptr<Dataset> Open(const TestModel& model, const std::string& path, bool truncate = false) {
    Result<std::unique_ptr<Dataset>> data = model.Open(path, truncate);
    EXPECT_TRUE(data.ok()) << data.status().message();
    return data.ok() ? std::move(*data) : nullptr;
  }
  Folder folder_;
};

// ---- .npy ----

template <typename T>
std::string Narrow(const std::string& descr) {
  return Npy(Dict(descr, "(2, 4)"), BytesOf<T>({1, 2, 3, 4, 5, 6, 7, 8}));
}

TEST_F(DatasetTest, NpyOfEveryDtypeAndVersion) {
  const TestModel model = TestModel::CausalLm();
  const std::pair<const char*, std::string> files[] = {
      {"u1", Narrow<uint8_t>("|u1")},
      {"u2", Narrow<uint16_t>("<u2")},
      {"u4", Narrow<uint32_t>("<u4")},
      {"i2", Narrow<int16_t>("<i2")},
      {"i4", Narrow<int32_t>("<i4")},
      {"i8", Narrow<int64_t>("<i8")},
      {"v2", Npy(Dict("<i8", "(2, 4)"), BytesOf<int64_t>({1, 2, 3, 4, 5, 6, 7, 8}), 2)},
      {"v3", Npy("{\"shape\": (2,4), \"descr\":\"<i4\",\"fortran_order\":False}",
                 BytesOf<int32_t>({1, 2, 3, 4, 5, 6, 7, 8}), 3)}};
  for (const auto& [name, text] : files) {
    const std::unique_ptr<Dataset> data = Open(model, Write(std::string(name) + ".npy", text));
    ASSERT_NE(data, nullptr) << name;
    EXPECT_EQ(data->examples(), 2);
    EXPECT_EQ(model.Rows(*data, 0), (Rows{{1, 2, 3, 4}, {1, 1, 1, 1}, {1, 2, 3, 4}})) << name;
    EXPECT_EQ(model.Rows(*data, 1, 0), (Rows{{5, 6, 7, 8}, {1, 1, 1, 1}, {5, 6, 7, 8}})) << name;
    EXPECT_EQ(data->notes(),
              (std::vector<std::string>{"attention_mask is not in the file: 1 for its tokens, 0 for what is filled up",
                                        "labels are not in the file: the model learns its ids"}));
    EXPECT_EQ(data->digest(), Sha256Hex(text));
  }
}

TEST_F(DatasetTest, NpyShorterRowsAreFilledUp) {
  const TestModel model = TestModel::CausalLm();
  const auto data =
      Open(model, Write("a.npy", Npy(Dict("<u2", "(3, 3)"), BytesOf<uint16_t>({1, 2, 3, 4, 5, 6, 7, 8, 9}))));
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(data->examples(), 3);
  EXPECT_EQ(model.Rows(*data, 2), (Rows{{7, 8, 9, 0}, {1, 1, 1, 0}, {7, 8, 9, -100}}));
  EXPECT_EQ(data->notes().back(), "3 of 3 examples have fewer than 4 tokens and are filled up");
}

TEST_F(DatasetTest, NpyLongerRowsAreAnErrorOrCut) {
  const TestModel model = TestModel::CausalLm();
  const std::string path =
      Write("a.npy", Npy(Dict("|u1", "(2, 5)"), BytesOf<uint8_t>({1, 2, 3, 4, 250, 5, 6, 7, 8, 251})));
  EXPECT_EQ(
      Error(model, path),
      "a.npy: 2 of 2 examples are longer than the plan's 4 in input_ids, the first is example 0 with 5: cut them with "
      "--truncate, or plan with a larger seq");
  const auto data = Open(model, path, true);  // what is cut is not looked at
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(model.Rows(*data, 1), (Rows{{5, 6, 7, 8}, {1, 1, 1, 1}, {5, 6, 7, 8}}));
  EXPECT_EQ(data->notes().back(), "2 of 2 examples are longer than the plan takes and are cut");
}

TEST_F(DatasetTest, DamagedNpyFiles) {
  const TestModel model = TestModel::CausalLm();
  const std::string data = BytesOf<int64_t>({1, 2, 3, 4, 5, 6, 7, 8});
  const auto error = [&](const std::string& text) { return ErrorOf(model, "a.npy", text); };
  EXPECT_EQ(error(""), "a.npy is not a .npy file");
  EXPECT_EQ(error("PK\3\4 an .npz file is a zip"), "a.npy is not a .npy file");
  EXPECT_EQ(error(Npy(Dict("<i8", "(2, 4)"), data, 4)),
            "a.npy is of .npy version 4.0; versions 1.0, 2.0 and 3.0 are known");
  EXPECT_EQ(error(std::string("\x93NUMPY\1\0\xFF\xFF{}", 12)),
            "a.npy is not a whole .npy file: its header claims 65535 bytes of 12");
  EXPECT_EQ(error(std::string("\x93NUMPY\2\0\xFF\xFF\xFF\xFF{}", 14)),
            "a.npy is not a whole .npy file: its header claims 4294967295 bytes of 14");
  const std::string bad_header = "a.npy has a .npy header that is not a dict of descr, fortran_order and shape";
  for (const char* dict : {"", "{}", "{'descr': '<i8', 'fortran_order': False}", "{'descr': '<i8', 'shape': (2, 4)}",
                           "{'descr': '<i8'", "{'descr': [('a', '<i8')], 'fortran_order': False, 'shape': (2, 4)}",
                           "{'descr': '<i8', 'fortran_order': 0, 'shape': (2, 4)}",
                           "{'descr': '<i8', 'fortran_order': False, 'shape': (2, -4)}",
                           "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 4), 'more': 1}",
                           "{'descr': '<i8', 'descr': '<i8', 'fortran_order': False, 'shape': (2, 4)}",
                           "{'descr': '<i8', 'fortran_order': False, 'shape': (2 4)}",
                           "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 4)} x",
                           "{'descr': '<i8', 'fortran_order': False, 'shape': (2, 99999999999999999999)}"})
    EXPECT_EQ(error(Npy(dict, data)), bad_header) << dict;
  for (const char* descr : {">i8", "<f4", "|b1", "<u8", "|O"})
    EXPECT_EQ(error(Npy(Dict(descr, "(2, 4)"), data)),
              "a.npy has dtype " + std::string(descr) + "; ids are |u1, <u2, <u4, <i2, <i4 or <i8");
  EXPECT_EQ(error(Npy("{'descr': '<i8', 'fortran_order': True, 'shape': (2, 4)}", data)),
            "a.npy is in Fortran order: save it with numpy.ascontiguousarray");
  EXPECT_EQ(error(Npy(Dict("<i8", "(2, 5)"), data)),
            "a.npy has 64 bytes of data where its shape needs 80: the file is truncated or damaged");
  EXPECT_EQ(error(Npy(Dict("<i8", "(2, 3)"), data)),
            "a.npy has 64 bytes of data where its shape needs 48: the file is truncated or damaged");
  // 2^61 * 8 and 2^33 * 2^33 * 8 wrap around.
  EXPECT_EQ(error(Npy(Dict("<i8", "(2305843009213693952, 1)"), data)), "a.npy claims a shape that no memory holds");
  EXPECT_EQ(error(Npy(Dict("<i8", "(8589934592, 8589934592)"), data)), "a.npy claims a shape that no memory holds");
  EXPECT_EQ(error(Npy(Dict("<i8", "(8,)"), data)), "a.npy has 1 axes; ids have two: examples and tokens");
  EXPECT_EQ(error(Npy(Dict("<i8", "()"), BytesOf<int64_t>({1}))),
            "a.npy has 0 axes; ids have two: examples and tokens");
  EXPECT_EQ(error(Npy(Dict("<i8", "(0, 4)"), "")), "a.npy has no examples");
  EXPECT_EQ(error(Npy(Dict("<i8", "(4, 0)"), "")), "a.npy has no examples");
}

// ---- raw ----

TEST_F(DatasetTest, RawFilesAreOneStream) {
  const TestModel model = TestModel::CausalLm(false);
  for (const char* name : {"a.u16", "a.bin"}) {
    const auto data = Open(model, Write(name, BytesOf<uint16_t>({1, 2, 3, 4, 5, 6, 7, 8, 9, 1})));
    ASSERT_NE(data, nullptr);
    EXPECT_EQ(data->examples(), 2);
    EXPECT_EQ(model.Rows(*data, 1), (Rows{{5, 6, 7, 8}, {5, 6, 7, 8}}));
    EXPECT_EQ(data->notes()[0], "the last 2 of 10 ids fill no example of 4 and are left out");
  }
  const auto data = Open(model, Write("a.u32", BytesOf<uint32_t>({1, 2, 3, 4})));
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(model.Rows(*data, 0, 0), (Rows{{1, 2, 3, 4}, {1, 2, 3, 4}}));
  EXPECT_EQ(ErrorOf(model, "b.u16", "abc"), "b.u16 has 3 bytes, which is not a whole number of 2-byte ids");
  EXPECT_EQ(ErrorOf(model, "b.u32", "abcdef"), "b.u32 has 6 bytes, which is not a whole number of 4-byte ids");
  EXPECT_EQ(ErrorOf(model, "b.u16", BytesOf<uint16_t>({1, 2, 3})), "b.u16 has 3 ids, fewer than one example of 4");
  EXPECT_EQ(ErrorOf(model, "b.u16", ""), "b.u16 has no examples");
  EXPECT_EQ(ErrorOf(model, "b.u32", BytesOf<uint32_t>({1, 2, 3, 4, 5, 6, 7, 4000000000})),
            "b.u32: example 1, position 3 of input_ids is 4000000000, outside [0, 9] (rows of the embedding)");
}

TEST_F(DatasetTest, IdsNeedAnInput) {
  TestModel floats;
  floats.Input("x", {DType::kF32, {2, 4}});
  floats.ClassifyLoss(floats.Input("labels", {DType::kI64, {2}}), 3);
  const std::string message =
      " holds token ids, but the model has no input of ids: use a .safetensors or .jsonl file of its inputs";
  EXPECT_EQ(ErrorOf(floats, "a.u16", "abcd"), "a.u16" + message);
  EXPECT_EQ(ErrorOf(floats, "a.npy", Npy(Dict("|u1", "(1, 4)"), "abcd")), "a.npy" + message);
  EXPECT_EQ(ErrorOf(floats, "a.jsonl", "[1,2,3,4]"),
            "a.jsonl: line 1 is a list, but the model has no input of ids: name the inputs in an object");
}

TEST_F(DatasetTest, IdsByAnotherName) {
  TestModel model;
  const int32_t ids = model.Input("tokens", {DType::kI32, {2, 2}});
  model.Input("attention_mask", {DType::kBool, {2, 2}});
  model.Embedding(ids, 10);
  model.ClassifyLoss(model.Input("labels", {DType::kI64, {2}}), 3);
  const auto lines = Open(model, Write("a.jsonl", "{\"input_ids\": [4], \"labels\": 2}"));
  ASSERT_NE(lines, nullptr);
  EXPECT_EQ(model.Rows(*lines, 0), (Rows{{4, 0}, {1, 0}, {2}}));
  WriteTensors(folder_ / "a.safetensors", {{"input_ids", DType::kI32, {1, 2}, BytesOf<int32_t>({4, 5})},
                                           {"labels", DType::kI32, {1}, BytesOf<int32_t>({1})}});
  const auto tensors = Open(model, folder_ / "a.safetensors");
  ASSERT_NE(tensors, nullptr);
  EXPECT_EQ(model.Rows(*tensors, 0), (Rows{{4, 5}, {1, 1}, {1}}));
}

// ---- .jsonl ----

TEST_F(DatasetTest, JsonLinesOfListsAndObjects) {
  const TestModel model = TestModel::CausalLm();
  const auto lists = Open(model, Write("a.jsonl", "[1, 2, 3]\r\n\n[4]\n  \n[5,6,7,8]"));
  ASSERT_NE(lists, nullptr);
  EXPECT_EQ(lists->examples(), 3);
  EXPECT_EQ(model.Rows(*lists, 0), (Rows{{1, 2, 3, 0}, {1, 1, 1, 0}, {1, 2, 3, -100}}));
  EXPECT_EQ(model.Rows(*lists, 1), (Rows{{4, 0, 0, 0}, {1, 0, 0, 0}, {4, -100, -100, -100}}));
  EXPECT_EQ(lists->notes()[2], "2 of 3 examples have fewer than 4 tokens and are filled up");
  EXPECT_EQ(lists->notes()[3], "1 of 3 examples have no label to learn");  // one token has no next one
  const auto objects = Open(
      model,
      Write("b.jsonl",
            "{\"input_ids\": [1,2,3], \"attention_mask\": [true, true, false], \"labels\": [-100,2,-100], \"text\": "
            "\"a\"}\n"
            "{\"labels\": [4,5], \"input_ids\": [4,5], \"attention_mask\": [1, 1], \"source\": {\"url\": [1]}}\n"));
  ASSERT_NE(objects, nullptr);
  EXPECT_EQ(model.Rows(*objects, 0), (Rows{{1, 2, 3, 0}, {1, 1, 0, 0}, {-100, 2, -100, -100}}));
  EXPECT_EQ(model.Rows(*objects, 1), (Rows{{4, 5, 0, 0}, {1, 1, 0, 0}, {4, 5, -100, -100}}));
  EXPECT_EQ(objects->notes()[0], "the model has no input for: source, text");
}

TEST_F(DatasetTest, IdsThatAreMaskedAreNotLearned) {
  const TestModel model = TestModel::CausalLm();
  const auto data = Open(model, Write("a.jsonl", "{\"input_ids\": [1,2,0], \"attention_mask\": [1,1,0]}"));
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(model.Rows(*data, 0), (Rows{{1, 2, 0, 0}, {1, 1, 0, 0}, {1, 2, -100, -100}}));
  EXPECT_EQ(data->notes()[0], "labels are not in the file: the model learns its ids where attention_mask is not 0");
}

TEST_F(DatasetTest, JsonLinesOfFloatsAndNestedLists) {
  TestModel model;
  model.Input("image", {DType::kF32, {2, 2, 3}});
  model.schedule.loss = {"mse", "test", 0, model.Input("labels", {DType::kF32, {2, 1}})};
  const auto data = Open(model, Write("a.jsonl",
                                      "{\"image\": [[1,2.5,-3],[4,5,1e-3]], \"labels\": 7}\n"
                                      "{\"image\": [[1,2,3]], \"labels\": [0.5]}"));
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(model.Rows(*data, 0), (Rows{{1, 2.5, -3, 4, 5, 1e-3f}, {7}}));
  EXPECT_EQ(model.Rows(*data, 1), (Rows{{1, 2, 3, 0, 0, 0}, {0.5}}));
  const auto error = [&](const std::string& text) { return ErrorOf(model, "b.jsonl", text); };
  EXPECT_EQ(error("{\"image\": [1,2,3,4], \"labels\": 7}"),
            "b.jsonl: line 1 has 4 numbers in image, but the model takes a multiple of 3");
  EXPECT_EQ(error("{\"image\": [1,2,3], \"labels\": [7,8]}"),
            "b.jsonl: line 1 has 2 numbers in labels, but the model takes 1");
  EXPECT_EQ(error("{\"image\": [1,2,1e39], \"labels\": 7}"),
            "b.jsonl: line 1: image has 1e+39, which is too large for f32");
  EXPECT_EQ(error("{\"image\": [1,2,true], \"labels\": 7}"),
            "b.jsonl: line 1: image has a boolean where a number is wanted");
  EXPECT_EQ(error("{\"image\": [1,2,NaN], \"labels\": 7}"), "b.jsonl: line 1 is not JSON");
  EXPECT_EQ(error("{\"image\": [[[[[[[[[[1]]]]]]]]]], \"labels\": 7}"),
            "b.jsonl: line 1: image has lists in lists, more than 8 deep");
}

TEST_F(DatasetTest, ExamplesWithoutALabel) {
  const TestModel causal = TestModel::CausalLm(false);
  const auto data = Open(causal,
                         Write("a.jsonl",
                               "{\"input_ids\": [1,2,3,4,5], \"labels\": [-100,-100,-100,-100,5]}\n"
                               "{\"input_ids\": [1,2], \"labels\": [1,-100]}\n"
                               "{\"input_ids\": [1,2], \"labels\": [-100,2]}"),
                         true);
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(data->notes().back(), "2 of 3 examples have no label to learn");
  EXPECT_EQ(ErrorOf(causal, "b.jsonl", "{\"input_ids\": [1,2], \"labels\": [1,-100]}"),
            "b.jsonl has no example with a label to learn");
  EXPECT_EQ(ErrorOf(causal, "c.jsonl", "[1]\n[2]"), "c.jsonl has no example with a label to learn");
  TestModel classifier;
  classifier.Input("input_ids", {DType::kI64, {2, 2}});
  classifier.ClassifyLoss(classifier.Input("labels", {DType::kI64, {2}}), 3);
  const auto classes = Open(classifier, Write("d.jsonl",
                                              "{\"input_ids\": [1,2], \"labels\": -100}\n"
                                              "{\"input_ids\": [1,2], \"labels\": 2}"));
  ASSERT_NE(classes, nullptr);
  EXPECT_EQ(classes->notes().back(), "1 of 2 examples have no label to learn");
}

TEST_F(DatasetTest, BadJsonLines) {
  const TestModel model = TestModel::CausalLm();
  const auto error = [&](const std::string& text) { return ErrorOf(model, "a.jsonl", text); };
  EXPECT_EQ(error("\n \n"), "a.jsonl has no examples");
  EXPECT_EQ(error("[1]\n[2,\n[3]"), "a.jsonl: line 2 is not JSON");
  EXPECT_EQ(error("[1]\n\n7"), "a.jsonl: line 3 is neither a list of ids nor an object of inputs");
  EXPECT_EQ(error("[1]\n[]"), "a.jsonl: line 2 has nothing in input_ids");
  EXPECT_EQ(error("[1]\n[1, 2.5]"), "a.jsonl: line 2: input_ids has 2.5 where a whole number is wanted");
  EXPECT_EQ(error("[1]\n[1, \"a\"]"), "a.jsonl: line 2: input_ids has a string where a whole number is wanted");
  EXPECT_EQ(error("[1]\n[1, null]"), "a.jsonl: line 2: input_ids has a null where a whole number is wanted");
  EXPECT_EQ(error("[2147483648]"), "a.jsonl: line 1: input_ids has 2147483648, which is not a 32-bit number");
  EXPECT_EQ(error("[18446744073709551615]"),
            "a.jsonl: line 1: input_ids has 18446744073709551615, which is not a 32-bit number");
  EXPECT_EQ(error("[-2147483649]"), "a.jsonl: line 1: input_ids has -2147483649, which is not a 32-bit number");
  EXPECT_EQ(error("{\"text\": \"a\"}"), "a.jsonl: line 1 has no input of the model");
  EXPECT_EQ(error("{}"), "a.jsonl: line 1 has no input of the model");
  EXPECT_EQ(error("{\"input_ids\": [1], \"labels\": [1]}\n\n[2]"), "a.jsonl: line 3 has no labels, which line 1 has");
  EXPECT_EQ(error("[2]\n{\"input_ids\": [1], \"labels\": [1]}"), "a.jsonl: line 2 has labels, which line 1 has not");
  EXPECT_EQ(
      error("[1]\n\n[1,2,3,4,5]\n[6]\n[1,2,3,4,5,6]"),
      "a.jsonl: 2 of 4 examples are longer than the plan's 4 in input_ids, the first is line 3 with 5: cut them with "
      "--truncate, or plan with a larger seq");
  EXPECT_EQ(error("{\"input_ids\": [1,2], \"labels\": [1]}"),
            "a.jsonl: line 1 has 2 numbers in input_ids but 1 in labels");
  EXPECT_EQ(error("[1,2]\n\n[1,10]"),
            "a.jsonl: line 3, position 1 of input_ids is 10, outside [0, 9] (rows of the embedding)");
  EXPECT_EQ(error("[1,2]\n[-1]"),
            "a.jsonl: line 2, position 0 of input_ids is -1, outside [0, 9] (rows of the embedding)");
  EXPECT_EQ(error("{\"input_ids\": [1,2], \"labels\": [-100, 12]}"),
            "a.jsonl: line 1, position 1 of labels is 12, outside [0, 9] and not -100 (the vocabulary)");
  EXPECT_EQ(error("{\"input_ids\": [1,2], \"labels\": [-1, 2]}"),
            "a.jsonl: line 1, position 0 of labels is -1, outside [0, 9] and not -100 (the vocabulary)");
}

TEST_F(DatasetTest, JsonLinesAreCutWhereAsked) {
  const TestModel model = TestModel::CausalLm();
  const auto data = Open(model,
                         Write("a.jsonl",
                               "{\"input_ids\": [1,2,3,4,99], \"labels\": [1,2,3,4,99]}\n"
                               "{\"input_ids\": [1], \"labels\": [2]}"),
                         true);
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(model.Rows(*data, 0), (Rows{{1, 2, 3, 4}, {1, 1, 1, 1}, {1, 2, 3, 4}}));
  EXPECT_EQ(model.Rows(*data, 1), (Rows{{1, 0, 0, 0}, {1, 0, 0, 0}, {2, -100, -100, -100}}));
  EXPECT_EQ(data->notes()[2], "1 of 2 examples are longer than the plan takes and are cut");
  EXPECT_EQ(data->notes()[1], "1 of 2 examples have fewer than 4 tokens and are filled up");
}

// ---- .safetensors ----

TEST_F(DatasetTest, TensorsOfAClassifier) {
  TestModel model(2, 3);  // three micro-batches: rows 0 to 5
  const int32_t ids = model.Input("input_ids", {DType::kI64, {2, 2}});
  model.Input("attention_mask", {DType::kBool, {2, 2}});
  model.Input("token_type_ids", {DType::kI64, {2, 2}});
  model.Input("position_ids", {DType::kI32, {2, 2}});
  model.Embedding(ids, 10);
  model.ClassifyLoss(model.Input("labels", {DType::kI64, {2}}), 3);
  for (const Shape& labels : {Shape{3}, Shape{3, 1}}) {
    WriteTensors(folder_ / "a.safetensors",
                 {{"labels", DType::kU8, labels, BytesOf<uint8_t>({2, 0, 1})},
                  {"input_ids", DType::kI16, {3, 2}, BytesOf<int16_t>({1, 2, 3, 4, 5, 6})},
                  {"attention_mask", DType::kI64, {3, 2}, BytesOf<int64_t>({1, 1, 1, 0, 1, 1})},
                  {"weights", DType::kF32, {1}, BytesOf<float>({1})}});
    const auto data = Open(model, folder_ / "a.safetensors");
    ASSERT_NE(data, nullptr);
    EXPECT_EQ(data->examples(), 3);
    for (int64_t row : {0, 1, 3, 5}) {
      EXPECT_EQ(model.Rows(*data, 1, row), (Rows{{3, 4}, {1, 0}, {0, 0}, {0, 1}, {0}}));
      EXPECT_EQ(model.Rows(*data, 2, row), (Rows{{5, 6}, {1, 1}, {0, 0}, {0, 1}, {1}}));
    }
    EXPECT_EQ(data->notes(),
              (std::vector<std::string>{"the model has no input for: weights", "token_type_ids are not in the file: 0",
                                        "position_ids are not in the file: 0, 1, 2, ..."}));
  }
}

TEST_F(DatasetTest, TensorsThatDoNotFit) {
  TestModel model;
  const int32_t ids = model.Input("input_ids", {DType::kI64, {2, 2}});
  const int32_t types = model.Input("token_type_ids", {DType::kI32, {2, 2}});
  model.Input("attention_mask", {DType::kBool, {2, 2}});
  model.Input("pixels", {DType::kF32, {2, 2, 3}});
  model.Embedding(ids, 10);
  model.Embedding(types, 2);
  model.ClassifyLoss(model.Input("labels", {DType::kI64, {2}}), 3);
  const TestTensor good_ids{"input_ids", DType::kI64, {1, 2}, BytesOf<int64_t>({1, 2})};
  const TestTensor good_pixels{"pixels", DType::kF32, {1, 2, 3}, BytesOf<float>({1, 2, 3, 4, 5, 6})};
  const TestTensor good_labels{"labels", DType::kI64, {1}, BytesOf<int64_t>({2})};
  const auto error = [&](const std::vector<TestTensor>& tensors) {
    WriteTensors(folder_ / "a.safetensors", tensors);
    return Error(model, folder_ / "a.safetensors");
  };
  EXPECT_EQ(error({good_ids, good_pixels, good_labels}), "no error");
  EXPECT_EQ(error({good_ids}),
            "a.safetensors lacks what the model takes: pixels (f32[2,3] per example), labels (i64[] per example); it "
            "has input_ids");
  EXPECT_EQ(error({{"x", DType::kI64, {1}, BytesOf<int64_t>({1})}}),
            "a.safetensors has no tensor named like an input of the model; it has x");
  EXPECT_EQ(error({}), "a.safetensors has no tensor named like an input of the model; it has none");
  EXPECT_EQ(error({good_ids, good_pixels, {"labels", DType::kI64, {2}, BytesOf<int64_t>({2, 2})}}),
            "a.safetensors: tensor labels has 2 examples, but input_ids has 1");
  EXPECT_EQ(error({good_ids, good_pixels, {"labels", DType::kI64, {}, BytesOf<int64_t>({2})}}),
            "a.safetensors: tensor labels has no axis of examples");
  EXPECT_EQ(error({{"input_ids", DType::kI64, {0, 2}, ""},
                   {"pixels", DType::kF32, {0, 2, 3}, ""},
                   {"labels", DType::kI64, {0}, ""}}),
            "a.safetensors has no examples");
  EXPECT_EQ(error({{"input_ids", DType::kI64, {1, 0}, ""}, good_pixels, good_labels}),
            "a.safetensors: example 0 has nothing in input_ids");
  EXPECT_EQ(error({{"input_ids", DType::kF32, {1, 2}, BytesOf<float>({1, 2})}, good_pixels, good_labels}),
            "a.safetensors: input_ids is f32, but the model takes i64");
  EXPECT_EQ(error({good_ids, {"pixels", DType::kF32, {1, 2, 2}, BytesOf<float>({1, 2, 3, 4})}, good_labels}),
            "a.safetensors: pixels has f32[2,2] per example, but the model takes f32[2,3]");
  EXPECT_EQ(error({good_ids, good_pixels, {"labels", DType::kI64, {1, 2}, BytesOf<int64_t>({2, 2})}}),
            "a.safetensors: example 0 has 2 numbers in labels, but the model takes 1");
  EXPECT_EQ(error({good_ids, good_pixels, {"labels", DType::kI64, {1}, BytesOf<int64_t>({3})}}),
            "a.safetensors: example 0, position 0 of labels is 3, outside [0, 2] and not -100 (the classes)");
  EXPECT_EQ(
      error({good_ids, good_pixels, good_labels, {"token_type_ids", DType::kI64, {1, 2}, BytesOf<int64_t>({0, 2})}}),
      "a.safetensors: example 0, position 1 of token_type_ids is 2, outside [0, 1] (rows of the embedding)");
  EXPECT_EQ(
      error({good_ids, good_pixels, good_labels, {"attention_mask", DType::kI64, {1, 2}, BytesOf<int64_t>({1, 2})}}),
      "a.safetensors: example 0, position 1 of attention_mask is 2, outside [0, 1] (bool)");
  EXPECT_EQ(error({good_ids, good_pixels, good_labels, {"attention_mask", DType::kI64, {1, 1}, BytesOf<int64_t>({1})}}),
            "a.safetensors: example 0 has 2 numbers in input_ids but 1 in attention_mask");
  EXPECT_EQ(error({good_ids, {"pixels", DType::kF32, {1, 2, 3}, BytesOf<float>({1, 2, NAN, 4, 5, 6})}, good_labels}),
            "a.safetensors: example 0, position 2 of pixels is nan, which is no number that f32 holds");
  EXPECT_EQ(error({good_ids, {"pixels", DType::kF64, {1, 2, 3}, BytesOf<double>({1, 2, 3, 1e300, 5, 6})}, good_labels}),
            "a.safetensors: example 0, position 3 of pixels is 1e+300, which is no number that f32 holds");
  EXPECT_EQ(
      error({good_ids, {"pixels", DType::kI64, {1, 2, 3}, BytesOf<int64_t>({1, 2, 16777217, 4, 5, 6})}, good_labels}),
      "a.safetensors: example 0, position 2 of pixels is 16777217, outside [-16777216, 16777216] (f32)");
}

TEST_F(DatasetTest, NumbersAreConvertedExactly) {
  TestModel model;
  model.Input("x", {DType::kF32, {2, 3}});
  model.Input("y", {DType::kF32, {2, 3}});
  model.Input("z", {DType::kI32, {2, 2}});
  model.Input("m", {DType::kBool, {2, 2}});
  model.schedule.loss = {"mse", "test", 0, model.Input("labels", {DType::kF32, {2}})};
  WriteTensors(folder_ / "a.safetensors", {{"x", DType::kF64, {1, 3}, BytesOf<double>({0.1, -1e-300, 3})},
                                           {"y", DType::kBF16, {1, 3}, BytesOf<uint16_t>({0x3F80, 0xC040, 0x3F00})},
                                           {"z", DType::kI64, {1, 2}, BytesOf<int64_t>({-2147483648, 2147483647})},
                                           {"m", DType::kU8, {1, 2}, BytesOf<uint8_t>({1, 0})},
                                           {"labels", DType::kI64, {1}, BytesOf<int64_t>({-16777216})}});
  const auto data = Open(model, folder_ / "a.safetensors");
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(model.Rows(*data, 0), (Rows{{0.1f, 0, 3}, {1, -3, 0.5}, {-2147483648.0, 2147483647}, {1, 0}, {-16777216}}));
  WriteTensors(folder_ / "b.safetensors", {{"x", DType::kF16, {1, 3}, BytesOf<uint16_t>({0x3C00, 0xC200, 0x3800})},
                                           {"y", DType::kBool, {1, 3}, BytesOf<uint8_t>({1, 0, 1})},
                                           {"z", DType::kI64, {1, 2}, BytesOf<int64_t>({2147483648, 0})},
                                           {"m", DType::kBool, {1, 2}, BytesOf<uint8_t>({1, 0})},
                                           {"labels", DType::kF64, {1}, BytesOf<double>({1.5})}});
  EXPECT_EQ(Error(model, folder_ / "b.safetensors"),
            "b.safetensors: example 0, position 0 of z is 2147483648, outside [-2147483648, 2147483647] (i32)");
}

// ---- models ----

TEST_F(DatasetTest, SuppliedPositionsMustFit) {
  TestModel model = TestModel::CausalLm(false);
  model.Embedding(model.Input("position_ids", {DType::kI64, {2, 4}}), 3);
  EXPECT_EQ(ErrorOf(model, "a.jsonl", "[1]"),
            "a.jsonl has no position_ids, and those from 0 to 3 do not fit [0, 2] (rows of the embedding)");
}

TEST_F(DatasetTest, LookupsThroughReshapesAndGathers) {
  TestModel model;
  const int32_t ids = model.Input("input_ids", {DType::kI64, {2, 2}});
  const int32_t flat = model.Node(Op::kCast, {model.Node(Op::kReshape, {ids})});
  const int32_t table = model.Value("table", ValueKind::kConstant, {DType::kF32, {3, 7}});
  model.Node(Op::kGather, {table, flat}, {{"axis", int64_t{-1}}});
  EXPECT_EQ(ErrorOf(model, "a.jsonl", "[-7, 6]\n[7]"),
            "a.jsonl: line 2, position 0 of input_ids is 7, outside [-7, 6] (the table that it looks up)");
  model.Embedding(flat, 5);  // the narrower range counts
  EXPECT_EQ(ErrorOf(model, "a.jsonl", "[4]\n[5]"),
            "a.jsonl: line 2, position 0 of input_ids is 5, outside [0, 4] (rows of the embedding)");
}

TEST_F(DatasetTest, IdsThatAreLabelsMustFitTheHead) {
  TestModel model;
  const int32_t ids = model.Input("input_ids", {DType::kI64, {2, 4}});
  const int32_t labels = model.Input("labels", {DType::kI64, {2, 4}});
  model.Embedding(ids, 10);
  model.CausalLoss(labels, 8);
  EXPECT_EQ(ErrorOf(model, "a.jsonl", "[7]\n[8]"),
            "a.jsonl: line 2, position 0 of input_ids is 8, outside [0, 7] (the vocabulary)");
  EXPECT_EQ(ErrorOf(model, "b.jsonl", "{\"input_ids\": [9, 9], \"labels\": [7, 7]}"), "no error");
}

TEST_F(DatasetTest, ModelsThatNoFileCanFill) {
  TestModel none;
  EXPECT_EQ(ErrorOf(none, "a.jsonl", "[1]"), "the plan's train program has no inputs");
  TestModel scalar = TestModel::CausalLm();
  scalar.Input("logits_to_keep", {DType::kI64, {}});
  EXPECT_EQ(ErrorOf(scalar, "a.jsonl", "[1]"),
            "input logits_to_keep of the model has no axis of examples, so a data file cannot fill it: export the "
            "model without it");
  TestModel other = TestModel::CausalLm();
  other.Input("cache_position", {DType::kI64, {4}});
  EXPECT_EQ(ErrorOf(other, "a.jsonl", "[1]"),
            "input cache_position of the model has no axis of examples, so a data file cannot fill it: export the "
            "model without it");
}

TEST_F(DatasetTest, FilesThatAreNone) {
  const TestModel model = TestModel::CausalLm();
  EXPECT_EQ(ErrorOf(model, "a.txt", "1 2 3"),
            "data file a.txt ends in none of .npy, .u16, .bin, .u32, .jsonl, .safetensors");
  EXPECT_EQ(Error(model, folder_ / "none.npy"), "cannot open none.npy: No such file or directory");
  std::filesystem::create_directory(folder_ / "folder.npy");
  EXPECT_EQ(Error(model, folder_ / "folder.npy"), "folder.npy is not a regular file");
}

// A model that computes its loss itself: its labels are not a loss op's.
TEST_F(DatasetTest, LabelsOfTheModelItself) {
  TestModel model;
  model.Input("input_ids", {DType::kI64, {2, 3}});
  const int32_t labels = model.Input("labels", {DType::kI64, {2, 3}});
  model.schedule.loss = {"output:loss", "test", 0, -1};
  const auto data = Open(model, Write("a.jsonl", "{\"input_ids\": [1, 2], \"labels\": [3, 4]}"));
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(model.Rows(*data, 0), (Rows{{1, 2, 0}, {3, 4, -100}}));
  EXPECT_EQ(ErrorOf(model, "b.jsonl", "[1, 2]"),
            "b.jsonl lacks what the model takes: labels (i64[3] per example); it has input_ids");
  model.Node(Op::kGather, {model.Value("table", ValueKind::kConstant, {DType::kF32, {7}}), labels});
  EXPECT_EQ(ErrorOf(model, "c.jsonl", "{\"input_ids\": [1, 2], \"labels\": [3, 4]}"),
            "c.jsonl: line 1 has 2 numbers in labels, but the model takes 3");
}

TEST_F(DatasetTest, RecordedTrainingFiles) {
  const std::string path = std::string(ZO2_SHARED_DIR) + "/models/bert-cls-sdpa-legacy/train.safetensors";
  if (!FileExists(path)) GTEST_SKIP() << "no " << path;
  TestModel model;
  const int32_t ids = model.Input("input_ids", {DType::kI64, {2, 16}});
  model.Input("attention_mask", {DType::kI64, {2, 16}});
  model.Input("token_type_ids", {DType::kI64, {2, 16}});
  model.Embedding(ids, 10000);
  model.ClassifyLoss(model.Input("labels", {DType::kI64, {2}}), 100);
  const auto data = Open(model, path);
  ASSERT_NE(data, nullptr);
  EXPECT_EQ(data->examples(), 2);
  EXPECT_TRUE(data->notes().empty());
  Result<SafetensorsFile> file = SafetensorsFile::Open(path);
  ASSERT_TRUE(file.ok());
  const auto tensor = file->Data("input_ids");
  const Ids recorded(reinterpret_cast<const int64_t*>(tensor->data()),
                     reinterpret_cast<const int64_t*>(tensor->data()) + 32);
  const Rows rows = model.Rows(*data, 1);
  for (size_t p = 0; p < 16; ++p) EXPECT_EQ(rows[0][p], static_cast<double>(recorded[16 + p]));
}

}  // namespace
}  // namespace zo2
