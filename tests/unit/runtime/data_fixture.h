// A schedule as far as a data set reads it, and files for it.
#ifndef ZO2_TESTS_UNIT_RUNTIME_DATA_FIXTURE_H_
#define ZO2_TESTS_UNIT_RUNTIME_DATA_FIXTURE_H_

#include <gtest/gtest.h>
#include <stdlib.h>

#include <cstring>
#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "ir/support/safetensors.h"
#include "runtime/dataset.h"

namespace zo2 {

// A folder that goes with the object.
class Folder {
 public:
  Folder() {
    std::string name = testing::TempDir() + "zo2.XXXXXX";
    path_ = ::mkdtemp(name.data());
  }
  Folder(const Folder&) = delete;
  ~Folder() { std::filesystem::remove_all(path_); }
  std::string operator/(const std::string& name) const { return path_ + "/" + name; }
  const std::string& path() const { return path_; }

 private:
  std::string path_;
};

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

// A tensor and its bytes.
struct TestTensor {
  std::string name;
  DType dtype;
  Shape shape;
  std::string bytes;
};
inline void WriteTensors(const std::string& path, const std::vector<TestTensor>& tensors) {
  std::vector<SafetensorsWriter::Tensor> heads;
  for (const TestTensor& t : tensors) heads.push_back({t.name, t.dtype, t.shape});
  Result<SafetensorsWriter> writer = SafetensorsWriter::Create(path, heads);
  ASSERT_TRUE(writer.ok()) << writer.status().message();
  for (const TestTensor& t : tensors)
    ASSERT_TRUE(writer->Append(std::as_bytes(std::span(t.bytes.data(), t.bytes.size()))).ok());
  ASSERT_TRUE(writer->Finish().ok());
}

// Version `major`.0, the header padded as NumPy pads it.
inline std::string Npy(const std::string& dict, const std::string& data, int major = 1) {
  std::string head = dict;
  const size_t start = major == 1 ? 10 : 12;
  while ((start + head.size() + 1) % 64 != 0) head += ' ';
  head += '\n';
  std::string text = "\x93NUMPY" + std::string{static_cast<char>(major), '\0'};
  const uint32_t length = static_cast<uint32_t>(head.size());
  text.append(reinterpret_cast<const char*>(&length), start - 8);
  return text + head + data;
}

// Inputs, what they look up and a loss.
struct TestModel {
  Schedule schedule;
  Program program;

  explicit TestModel(int64_t batch = 2, int32_t micro_batches = 1) {
    Buffer loss;
    loss.bytes = static_cast<uint64_t>(batch * micro_batches) * 8;
    schedule.buffers.push_back(loss);
    program.name = "train";
    program.loss_sum = {0};
    program.micro_batches = micro_batches;
  }
  int32_t Value(const std::string& name, ValueKind kind, TensorType type) {
    schedule.values.push_back({name, kind, std::move(type)});
    return static_cast<int32_t>(schedule.values.size()) - 1;
  }
  int32_t Input(const std::string& name, TensorType type) {
    const int32_t value = Value(name, ValueKind::kInput, std::move(type));
    program.inputs.push_back({value, -1, -1});
    return value;
  }
  int32_t Node(Op op, std::vector<int32_t> inputs, Attrs attrs = {}) {
    const int32_t out = Value("out", ValueKind::kActivation, {});
    schedule.nodes.push_back({op, "node", std::move(attrs), std::move(inputs), {out}});
    return out;
  }
  void Embedding(int32_t ids, int64_t rows) {
    Node(Op::kEmbedding, {ids, Value("table", ValueKind::kWeight, {DType::kF32, {rows, 4}})});
  }
  void CausalLoss(int32_t labels, int64_t vocabulary) {
    schedule.loss = {"causal-lm", "test", 0, labels};
    const int32_t hidden = Value("hidden", ValueKind::kActivation, {DType::kF32, {2, 4, 4}});
    Node(Op::kCausalLmLoss, {hidden, labels, Value("head", ValueKind::kWeight, {DType::kF32, {vocabulary, 4}})});
  }
  void ClassifyLoss(int32_t labels, int64_t classes) {
    schedule.loss = {"classify", "test", 0, labels};
    Node(Op::kClassifyLoss, {Value("logits", ValueKind::kActivation, {DType::kF32, {2, classes}}), labels});
  }
  // Batch 2, four tokens, 10 ids.
  static TestModel CausalLm(bool mask = true) {
    TestModel model;
    const int32_t ids = model.Input("input_ids", {DType::kI64, {2, 4}});
    if (mask) model.Input("attention_mask", {DType::kI64, {2, 4}});
    const int32_t labels = model.Input("labels", {DType::kI64, {2, 4}});
    model.Embedding(ids, 10);
    model.CausalLoss(labels, 10);
    return model;
  }

  Result<std::unique_ptr<Dataset>> Open(const std::string& path, bool truncate = false) const {
    Dataset::Options options;
    options.truncate = truncate;
    return Dataset::Open(path, schedule, program, options);
  }
  // The message of the error.
  std::string Error(const std::string& path) const {
    const Result<std::unique_ptr<Dataset>> data = Open(path);
    if (data.ok()) return "no error";
    EXPECT_EQ(data.status().code(), Code::kInvalid);
    return data.status().message();
  }
  const TensorType& TypeOf(size_t input) const {
    return schedule.values[static_cast<size_t>(program.inputs[input].value)].type;
  }

  // An example's row of every input, of memory that was full of 0x55 before, as doubles. Nothing else is written.
  std::vector<std::vector<double>> Rows(const Dataset& data, int64_t example, int64_t row = 1) const {
    std::vector<std::string> memory;
    std::vector<std::byte*> addresses;
    for (size_t i = 0; i < program.inputs.size(); ++i)
      memory.emplace_back(static_cast<size_t>(TypeOf(i).bytes() * program.micro_batches), '\x55');
    for (std::string& m : memory) addresses.push_back(reinterpret_cast<std::byte*>(m.data()));
    data.Fill(example, row, addresses);
    std::vector<std::vector<double>> rows;
    for (size_t i = 0; i < memory.size(); ++i) {
      const size_t row_bytes = static_cast<size_t>(TypeOf(i).bytes() / TypeOf(i).shape[0]),
                   at = static_cast<size_t>(row) * row_bytes;
      std::string around = memory[i];
      around.erase(at, row_bytes);
      EXPECT_EQ(around, std::string(around.size(), '\x55')) << "input " << i;
      std::vector<double> values;
      const char* data_at = memory[i].data() + at;
      for (size_t n = 0; n < row_bytes / static_cast<size_t>(SizeOf(TypeOf(i).dtype)); ++n) {
        switch (TypeOf(i).dtype) {
          case DType::kI64: values.push_back(static_cast<double>(reinterpret_cast<const int64_t*>(data_at)[n])); break;
          case DType::kI32: values.push_back(reinterpret_cast<const int32_t*>(data_at)[n]); break;
          case DType::kF32: values.push_back(reinterpret_cast<const float*>(data_at)[n]); break;
          default: values.push_back(data_at[n]); break;
        }
      }
      rows.push_back(values);
    }
    return rows;
  }
};

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_RUNTIME_DATA_FIXTURE_H_
