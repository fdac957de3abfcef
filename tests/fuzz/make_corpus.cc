// Writes the seeds that the project's own writers can write: fuzz_corpus FOLDER. The models come from make_models.py;
// files named found_* are inputs that once broke something, and stay.
#include <cstdio>
#include <filesystem>

#include "ir/schedule/schedule_io.h"
#include "ir/support/file.h"
#include "planner/machine.h"
#include "runtime/journal.h"
#include "runtime/snapshot.h"
#include "tests/fuzz/readers.h"
#include "tests/tools/tiny_schedules.h"

namespace zo2::fuzz {
namespace {

std::string root;

void Write(const std::string& reader, const std::string& name, const std::string& bytes) {
  std::filesystem::create_directories(root + "/" + reader);
  if (!WriteFile(root + "/" + reader + "/" + name, bytes).ok()) Fail("cannot write " + name);
}

template <typename T>
std::string BytesOf(const std::vector<T>& values) {
  return std::string(reinterpret_cast<const char*>(values.data()), values.size() * sizeof(T));
}

struct Tensor {
  SafetensorsWriter::Tensor head;
  std::string bytes;
};
std::string Tensors(const std::vector<Tensor>& tensors, const std::map<std::string, std::string>& metadata = {}) {
  const std::string path = Folder() + "/seed.safetensors";
  std::vector<SafetensorsWriter::Tensor> heads;
  for (const Tensor& t : tensors) heads.push_back(t.head);
  auto writer = SafetensorsWriter::Create(path, heads, metadata);
  for (const Tensor& t : tensors)
    if (!writer.ok() || !writer->Append(std::as_bytes(std::span(t.bytes.data(), t.bytes.size()))).ok()) Fail(path);
  if (!writer->Finish().ok()) Fail(path);
  return *ReadFile(path);
}

void Safetensors() {
  Write("safetensors", "one", Tensors({{{"w", DType::kF32, {2, 3}}, std::string(24, '\1')}}));
  Write("safetensors", "kinds",
        Tensors({{{"a", DType::kBF16, {4}}, std::string(8, '\2')},
                 {{"b.c", DType::kI64, {1, 2, 1}}, std::string(16, '\3')},
                 {{"empty", DType::kF64, {0, 7}}, ""},
                 {{"scalar", DType::kBool, {}}, "\1"}},
                {{"format", "pt"}}));
  Write("safetensors", "none", Tensors({}));
  Write("safetensors", "index",
        R"({"metadata":{"total_size":29},"weight_map":{"a":"shard.safetensors","b":"shard.safetensors"}})");
}

void Machines() {
  for (const Machine& machine : {BuiltinMachines()[0], BuiltinMachines()[1]})
    Write("machine", machine.name, MachineToJson(machine));
  Machine measured = BuiltinMachines()[0];
  measured.gemm_table = {{DType::kF32, 64, 256, 64, 5e10}, {DType::kBF16, 1, 1, 1, 1e3}};
  measured.calls = {{"linear(f32[4,16,64],f32[256,64],-)", 1.5e-4}, {"add(f32[4],f32[4])", 0}};
  Write("machine", "measured", MachineToJson(measured));
  Write("machine", "short", R"({"kind":"cuda","gemm_flops":1e13,"source":"a guess"})");
}

void Journals() {
  const Schedule schedule = tiny::MakeSchedule({});
  for (const int q : {1, 3}) {
    tiny::Options options;
    options.samples = q;
    const std::string path = Folder() + "/seed" + std::to_string(q) + ".zoj";
    const JournalHeader header =
        MakeJournalHeader(tiny::MakeSchedule(options), RunParameters{.seed = 7, .eps = 1e-3, .weight_decay = 0.1},
                          "of the base weights", {"data.npy", "of the data", "random", 2, false}, "kernels");
    auto writer = JournalWriter::Create(path, header, 0);
    if (!writer.ok()) Fail(writer.status().message());
    std::vector<uint64_t> words(StepRecordBytes(q) / 8);
    StepRecord& record = *reinterpret_cast<StepRecord*>(words.data());
    for (int64_t step = 0; step < 4; ++step) {
      record = {static_cast<uint64_t>(step), 1e-3, static_cast<uint32_t>(q), step == 2};
      for (int i = 0; i < 3 * q; ++i) record.loss_plus()[i] = 0.5 * i;
      if (!writer->Step(record).ok() ||
          (step % 2 == 1 && !writer->Snapshot({step + 1, static_cast<int>(step / 2), std::string(64, 'd')}).ok()))
        Fail(path);
    }
    const std::string bytes = *ReadFile(path);
    Write("journal", "q" + std::to_string(q), bytes);
    if (q == 1) Write("journal", "torn", bytes.substr(0, bytes.size() - 30));
    for (const EvalMetric metric : {EvalMetric::kLoss, EvalMetric::kF1})
      if (!writer->Evaluation({4, metric, 0.25, std::string(64, 'e')}).ok()) Fail(path);
    if (q == 1) Write("journal", "evaluated", *ReadFile(path));
  }
}

void Snapshots() {
  const auto values = [](size_t n) { return std::string(4 * n, '\x3e'); };
  std::string whole = Tensors({{{"W1", DType::kF32, {3, 4}}, values(12)}, {{"b1", DType::kF32, {3}}, values(3)}});
  RepairSnapshot(&whole);
  Write("snapshot", "whole", whole);
  std::string more = Tensors({{{"W0", DType::kF32, {4, 4}}, values(16)},
                              {{"W1", DType::kF32, {3, 4}}, values(12)},
                              {{"b1", DType::kF32, {3}}, values(3)}});
  RepairSnapshot(&more);
  Write("snapshot", "more", more);
}

std::string Npy(const std::string& descr, const std::string& shape, const std::string& data) {
  std::string head = "{'descr': '" + descr + "', 'fortran_order': False, 'shape': " + shape + ", }\n";
  std::string out("\x93NUMPY\x01\x00", 8);
  Put(static_cast<uint16_t>(head.size()), &out);
  return out + head + data;
}

void Datasets() {
  const std::vector<uint16_t> short_ids = {0, 1, 2, 3, 4, 5};
  const std::vector<uint32_t> ids = {5, 4, 3, 2, 1, 0};
  const std::vector<int64_t> wide = {0, 5, 1, 4};
  Write("dataset", "npy_u2", "n0" + Npy("<u2", "(3, 2)", BytesOf(short_ids)));
  Write("dataset", "npy_i8_cut", "n3" + Npy("<i8", "(1, 4)", BytesOf(wide)));
  Write("dataset", "u16", "10" + BytesOf(short_ids));
  Write("dataset", "u32", "20" + BytesOf(ids));
  Write("dataset", "lines", "j0[1, 2]\n[3]\n\n[5, 0]\n");
  Write("dataset", "objects",
        "j0{\"input_ids\": [1, 2], \"labels\": [-100, 2], \"attention_mask\": [1, true]}\n"
        "{\"input_ids\": [3], \"labels\": [3], \"attention_mask\": [1], \"more\": 1}\n");
  Write("dataset", "floats", "j1{\"x\": [0.5, 1, -2e3, 4], \"labels\": 2}\n{\"x\": [[1, 2], [3, 4]], \"labels\": 0}\n");
  Write("dataset", "lists", "j5{\"x\": [[1, 2, 3, 4], [5, 6, 7, 8], [1, 1, 1, 1]], \"labels\": [1, 5]}\n");
  Write("dataset", "tensors",
        "s1" + Tensors({{{"x", DType::kF32, {2, 4}}, std::string(32, '\x3e')},
                        {{"labels", DType::kI64, {2}}, BytesOf(std::vector<int64_t>{2, 0})}}));
  Write("dataset", "tensors_f16",
        "s4" + Tensors({{{"x", DType::kF16, {2, 4}}, std::string(16, '\x3e')},
                        {{"labels", DType::kI32, {2}}, BytesOf(std::vector<int32_t>{-100, 0})}}));
  Write("dataset", "tensors_ids",
        "s0" + Tensors({{{"input_ids", DType::kI16, {3, 2}}, BytesOf(short_ids)},
                        {{"labels", DType::kI64, {3, 2}}, BytesOf(std::vector<int64_t>{1, 2, -100, 3, 4, 5})}}));
}

void Plans() {
  const auto write = [](const std::string& name, const tiny::Options& options, bool json) {
    Schedule schedule = tiny::MakeSchedule(options);
    schedule.notes = {"a note"};
    schedule.weights[0].places = {{"W0", {"model.onnx", 64, 64}, DType::kF32, false, true}};
    Write("plan", name, json ? ScheduleToJson(schedule) : ScheduleToBytes(schedule));
  };
  tiny::Options o;
  o.slots = 0;
  o.evaluate = o.flush = false;
  write("resident", o, false);
  write("resident_json", o, true);
  o.bias = true;
  o.columns = o.constant = true;
  write("resident_bias", o, false);
  o = {};
  o.period = 2;
  o.host_losses = false;
  write("slots2_period2", o, false);
  o = {};
  o.embedding = o.cut = o.lm_head = true;
  o.samples = 2;
  write("embedding_samples2", o, false);
  o = {};
  o.micro_batches = 2;
  o.reshape = true;
  o.evaluate = false;
  write("micro_reshape", o, false);
  o = {};
  o.freeze_first = true;
  o.first = tiny::Keep::kFrozenCodes, o.second = tiny::Keep::kHostUpdate;
  write("codes", o, false);
}

}  // namespace
}  // namespace zo2::fuzz

int main(int argc, char** argv) {
  if (argc != 2) {
    std::fprintf(stderr, "usage: fuzz_corpus FOLDER\n");
    return 2;
  }
  using namespace zo2::fuzz;
  root = argv[1];
  Safetensors();
  Machines();
  Journals();
  Snapshots();
  Datasets();
  Plans();
}
