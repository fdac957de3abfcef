// What a GPU does, one JSON object per call on standard output:
//
//   bench_gpu facts                   what it says of itself
//   bench_gpu rates [--small]         links one way and both ways, memory, prepare in every storage and wire format
//   bench_gpu plan PLAN [--steps N] [--no-graphs]
//                                     a plan's training step on random weights: period beside the plan's prediction and
//                                     bound, planned and real peak
//
// Times are the device's own (events) for rates, and for periods the host's clock from the end of one step to the end
// of a later one. Inputs are ones, weights normal with standard deviation 0.02 (constant ones would need less power than a
// model's). --small is for a driver that is played by the host.
#include <algorithm>
#include <chrono>
#include <cmath>
#include <cstdio>
#include <cstring>
#include <memory>
#include <random>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "ir/schedule/schedule_io.h"
#include "runtime/executor.h"
#include "runtime/kernels/codec.h"
#include "runtime/masters.h"
#include "runtime/plan_run.h"
#include "runtime/run_setup.h"
#include "runtime/run_state.h"
#include "tests/gpu/gpu.h"
#include "tests/gpu/tile_on_gpu.h"

namespace zo2::cuda {
namespace {

using Json = nlohmann::ordered_json;

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

double Quantile(std::vector<double> x, double q) {
  std::sort(x.begin(), x.end());
  return x[static_cast<size_t>(q * static_cast<double>(x.size() - 1) + 0.5)];
}

// ---- rates ----

// Seconds of the stream between two events around `work`.
template <typename Work>
Result<double> Timed(StreamHandle stream, const Work& work) {
  Driver& driver = Gpu::Get().driver();
  ZO2_ASSIGN(const EventHandle begin, driver.CreateEvent(true));
  ZO2_ASSIGN(const EventHandle end, driver.CreateEvent(true));
  ZO2_TRY(driver.Record(begin, stream));
  ZO2_TRY(work());
  ZO2_TRY(driver.Record(end, stream));
  ZO2_TRY(driver.SynchronizeEvent(end));
  const Result<double> seconds = driver.Seconds(begin, end);
  driver.DestroyEvent(begin);
  driver.DestroyEvent(end);
  return seconds;
}

// Median bytes per second of copies of `bytes`.
Result<double> CopyRate(void* to, const void* from, uint64_t bytes, StreamHandle stream) {
  std::vector<double> rates;
  for (int n = 0; n < 6; ++n) {
    ZO2_ASSIGN(const double seconds,
               Timed(stream, [&] { return Gpu::Get().driver().Copy(to, from, bytes, stream); }));
    if (n > 0) rates.push_back(static_cast<double>(bytes) / seconds);  // the first one touches the memory
  }
  return Quantile(rates, 0.5);
}

Status Links(uint64_t bytes, Json* json) {
  Gpu& gpu = Gpu::Get();
  Driver& driver = gpu.driver();
  gpu.Reset();
  std::byte *device_up = gpu.Take(bytes), *device_down = gpu.Take(bytes);
  auto* host = static_cast<std::byte*>(std::aligned_alloc(4096, 2 * bytes));
  std::memset(host, 1, 2 * bytes);
  ZO2_TRY(driver.Register(host, 2 * bytes));
  ZO2_ASSIGN(const StreamHandle up, driver.CreateStream());
  ZO2_ASSIGN(const StreamHandle down, driver.CreateStream());
  ZO2_ASSIGN((*json)["link_up_bytes_per_s"], CopyRate(device_up, host, bytes, up));
  ZO2_ASSIGN((*json)["link_down_bytes_per_s"], CopyRate(host + bytes, device_down, bytes, down));
  // Both at once: each direction's copies one after the other, from one event before both to one after each.
  constexpr int kCopies = 6;
  ZO2_ASSIGN(const EventHandle begin, driver.CreateEvent(true));
  ZO2_ASSIGN(const EventHandle up_done, driver.CreateEvent(true));
  ZO2_ASSIGN(const EventHandle down_done, driver.CreateEvent(true));
  ZO2_TRY(driver.Record(begin, up));
  ZO2_TRY(driver.Wait(down, begin));
  for (int n = 0; n < kCopies; ++n) {
    ZO2_TRY(driver.Copy(device_up, host, bytes, up));
    ZO2_TRY(driver.Copy(host + bytes, device_down, bytes, down));
  }
  ZO2_TRY(driver.Record(up_done, up));
  ZO2_TRY(driver.Record(down_done, down));
  ZO2_TRY(driver.SynchronizeStream(up));
  ZO2_TRY(driver.SynchronizeStream(down));
  ZO2_ASSIGN(const double up_seconds, driver.Seconds(begin, up_done));
  ZO2_ASSIGN(const double down_seconds, driver.Seconds(begin, down_done));
  const double moved = kCopies * static_cast<double>(bytes);
  (*json)["both_up_bytes_per_s"] = moved / up_seconds;
  (*json)["both_down_bytes_per_s"] = moved / down_seconds;
  ZO2_ASSIGN(const double inside, CopyRate(device_up, device_down, bytes, gpu.stream()));
  (*json)["memory_bytes_per_s"] = 2 * inside;  // read and written
  for (const EventHandle event : {begin, up_done, down_done}) driver.DestroyEvent(event);
  driver.DestroyStream(up);
  driver.DestroyStream(down);
  driver.Unregister(host);
  std::free(host);
  return Status();
}

// One matrix, one pending update, two branches; the master written where there is one.
Result<Json> PrepareRate(int64_t rows, int64_t cols, DType storage, WireFormat wire, bool coded) {
  TileCase c;
  c.coded = coded;
  PlanWeight weight;
  weight.name = "w";
  weight.shape = {rows, cols};
  weight.components.push_back({"w", 5, storage, wire, storage, weight.shape});
  c.schedule.weights.push_back(weight);
  c.schedule.programs.emplace_back();
  c.train().branches = {{{{0, 1.0}}}, {{{0, -1.0}}}};
  c.parameters = {1, 1e-3, 0, 0};
  const uint64_t bytes = static_cast<uint64_t>(rows * cols * SizeOf(storage));
  c.tile.segments.push_back({0, 0, 0, rows, 0, cols, 0, 0, 0});
  c.tile.bytes = c.tile.branch_bytes = bytes;
  c.tile.wire_bytes = WireBytes(wire, rows, cols);
  c.planes.emplace_back(coded ? c.tile.wire_bytes : bytes);  // zeros: the kernel's work does not depend on values
  c.planes.emplace_back(bytes);
  c.planes.emplace_back(bytes);
  c.outputs = {1, 2};
  c.lead = {0, 0, 0};
  if (!coded) c.master = 0;
  c.ring = {nullptr, StepRecordBytes(1), 1};
  c.records.assign(c.ring.stride, std::byte{0});
  *reinterpret_cast<StepRecord*>(c.records.data()) = {0, 1e-6, 1, 0};
  reinterpret_cast<StepRecord*>(c.records.data())->g()[0] = 0.5;
  c.version = 0;
  c.step = 1;
  Gpu& gpu = Gpu::Get();
  gpu.Reset();
  TileOnGpu tile(c);
  ZO2_ASSIGN(const std::vector<PrepareLaunch> launches, tile.Make(kDefaultBlocks));
  std::vector<double> seconds;
  for (int n = 0; n < 11; ++n) {
    ZO2_ASSIGN(const double time, Timed(gpu.stream(), [&]() -> Status {
      for (const PrepareLaunch& launch : launches) ZO2_TRY(gpu.driver().Prepare(gpu.stream(), launch));
      return Status();
    }));
    if (n > 0) seconds.push_back(time);
  }
  const double time = Quantile(seconds, 0.5);
  const double moved = static_cast<double>((coded ? c.tile.wire_bytes : 2 * bytes) + 2 * bytes);
  const char* const kNames[] = {"f32", "bf16", "f16", "e4m3", "int8", "int4"};
  return Json{{"source", coded ? kNames[static_cast<int>(wire)] : std::string(Name(storage))},
              {"compute", Name(storage)},
              {"weights", rows * cols},
              {"seconds", time},
              {"weights_per_s", static_cast<double>(rows * cols) / time},
              {"bytes_per_s", moved / time}};
}

Result<Json> Rates(bool small) {
  const int64_t rows = small ? 256 : 8192, cols = small ? 512 : 8192;
  ZO2_TRY(Gpu::Open(static_cast<uint64_t>(rows * cols) * 12 + (1 << 20)));
  Json json;
  ZO2_TRY(Links(static_cast<uint64_t>(rows * cols) * 4, &json));
  json["prepare"] = Json::array();
  struct Form {
    DType storage;
    WireFormat wire;
    bool coded;
  };
  for (const Form& f : {Form{DType::kF32, WireFormat::kF32, false}, Form{DType::kBF16, WireFormat::kF32, false},
                        Form{DType::kF16, WireFormat::kF32, false}, Form{DType::kF32, WireFormat::kBF16, true},
                        Form{DType::kF16, WireFormat::kE4M3, true}, Form{DType::kF16, WireFormat::kI8, true},
                        Form{DType::kF16, WireFormat::kI4, true}}) {
    ZO2_ASSIGN(Json row, PrepareRate(rows, cols, f.storage, f.wire, f.coded));
    row["share_of_memory_rate"] = row["bytes_per_s"].get<double>() / json["memory_bytes_per_s"].get<double>();
    json["prepare"].push_back(std::move(row));
  }
  Gpu::Close();
  return json;
}

// ---- a plan ----

// Normal, standard deviation 0.02: from a table, each block of rows from a place of its own.
WeightReader RandomWeights(const Schedule& schedule) {
  constexpr size_t kTable = 1 << 20;
  auto f32 = std::make_shared<std::vector<float>>(kTable);
  std::mt19937_64 random(1);
  std::normal_distribution<float> normal(0, 0.02f);
  for (float& x : *f32) x = normal(random);
  auto narrow = std::make_shared<std::vector<uint16_t>>(2 * kTable);  // bf16, then f16; cut, which is near enough
  for (size_t i = 0; i < kTable; ++i) {
    uint32_t bits;
    std::memcpy(&bits, &(*f32)[i], 4);
    (*narrow)[i] = static_cast<uint16_t>(bits >> 16);
    const int exponent = static_cast<int>(bits >> 23 & 0xFF) - 127 + 15;
    (*narrow)[kTable + i] = static_cast<uint16_t>(
        (bits >> 16 & 0x8000) | (exponent <= 0 ? 0 : static_cast<uint32_t>(exponent) << 10 | (bits >> 13 & 0x3FF)));
  }
  return [&schedule, f32, narrow](int32_t w, int64_t row_begin, int64_t row_end, int64_t col_begin, int64_t col_end,
                                  std::byte* out) {
    const DType dtype = schedule.weights[static_cast<size_t>(w)].components[0].storage;
    const auto size = static_cast<size_t>(SizeOf(dtype));
    const std::byte* const table = dtype == DType::kF32 ? reinterpret_cast<const std::byte*>(f32->data())
                                                        : reinterpret_cast<const std::byte*>(
                                                              narrow->data() + (dtype == DType::kF16 ? kTable : 0));
    auto left = static_cast<size_t>((row_end - row_begin) * (col_end - col_begin));
    size_t at = (static_cast<size_t>(w) * 7919 + static_cast<size_t>(row_begin) * 104729) % kTable;
    while (left > 0) {
      const size_t n = std::min(left, kTable - at);
      std::memcpy(out, table + at * size, n * size);
      out += n * size;
      left -= n;
      at = 0;
    }
    return Status();
  };
}

// Ends of iterations by the host's clock; the first two are not counted.
Result<std::vector<double>> Periods(Executor& executor, int64_t steps) {
  const Program& train = *executor.schedule().Find(Purpose::kTrain);
  ZO2_TRY(executor.Start(Purpose::kTrain));
  const int64_t first = executor.first(), last = first + steps + 3;
  std::vector<double> ends;
  int64_t done = first;
  const auto wait = [&]() -> Status {
    ZO2_TRY(executor.Wait(done++));
    ends.push_back(Seconds());
    return Status();
  };
  for (int64_t step = first; step < last; ++step) {
    if (step - done >= executor.depth()) ZO2_TRY(wait());
    FillInputs(executor, train, step);
    const StepControl control{static_cast<uint64_t>(step), 1e-9};
    std::memcpy(executor.Host(train.control_staging, step), &control, sizeof control);
    executor.Submit();
  }
  while (done < last) ZO2_TRY(wait());
  ZO2_TRY(executor.Drain());
  return std::vector<double>(ends.begin() + 2, ends.end());
}

Result<Json> RunPlan(const std::string& path, int64_t steps, bool graphs) {
  Json json;
  const double begin = Seconds();
  ZO2_ASSIGN(std::unique_ptr<Device> device, OpenDevice("cuda"));
  ZO2_ASSIGN(Schedule schedule, ReadSchedule(path));
  const Program* const train = schedule.Find(Purpose::kTrain);
  if (train == nullptr) return Invalid(path, " has no program to train");
  const Json report = Json::parse(schedule.report, nullptr, false);
  json["model"] = schedule.model_name;
  json["machine"] = schedule.machine;
  json["fingerprint"] = schedule.fingerprint;
  json["graphs"] = graphs;
  if (report.is_object()) {
    json["predicted_s"] = report["time"].value("period", 0.0);
    json["bound_s"] = report["bound"].value("seconds", 0.0);
    json["binding"] = report["bound"].value("binding", "");
  }
  const int64_t tokens = TokensPerStep(schedule, *train);
  const double read = Seconds();
  ExecutorOptions options;
  options.graphs = graphs;
  ZO2_ASSIGN(std::unique_ptr<Executor> executor, Executor::Prepare(std::move(schedule), *device, options));
  const double opened = Seconds();
  RunParameters parameters;
  parameters.seed = 1;
  parameters.eps = 1e-3;
  const WeightReader weights = RandomWeights(executor->schedule());
  ZO2_TRY(executor->Initialize(*device->kernels(), parameters, 0,
                               [&](Executor& e) { return LoadMasters(weights, e, HostThreads()); }));
  const double loaded = Seconds();
  // Every graph is captured, and every page touched, in the first steps of the first start.
  ZO2_TRY(Periods(*executor, 2).status());
  const double warm = Seconds();
  ZO2_ASSIGN(const std::vector<double> ends, Periods(*executor, steps));
  std::vector<double> periods;
  for (size_t i = 1; i < ends.size(); ++i) periods.push_back(ends[i] - ends[i - 1]);
  const double period = (ends.back() - ends.front()) / static_cast<double>(ends.size() - 1);
  json["steps"] = periods.size();
  json["period_s"] = period;
  json["period_p10_s"] = Quantile(periods, 0.1);
  json["period_p90_s"] = Quantile(periods, 0.9);
  json["tokens_per_s"] = static_cast<double>(tokens) / period;
  const Schedule& plan = executor->schedule();
  for (size_t a = 0; a < plan.arenas.size(); ++a) {
    const std::string tier(Name(plan.arenas[a].tier));
    json[tier + "_planned_bytes"] = executor->planned_peak()[a];
    json[tier + "_measured_bytes"] = executor->measured_peak()[a];
  }
  json["memory_text"] = device->MemoryText();
  json["seconds"] = {
      {"read", read - begin}, {"open", opened - read}, {"load", loaded - opened}, {"warm", warm - loaded}};
  return json;
}

Result<Json> Run(int argc, char** argv) {
  const std::string what = argc > 1 ? argv[1] : "";
  std::string plan;
  bool small = false, graphs = true;
  int64_t steps = 10;
  for (int i = 2; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag == "--small") {
      small = true;
    } else if (flag == "--no-graphs") {
      graphs = false;
    } else if (flag == "--steps" && i + 1 < argc) {
      steps = std::max(2LL, std::atoll(argv[++i]));
    } else {
      plan = flag;
    }
  }
  if (what == "rates" && plan.empty()) return Rates(small);
  if (what == "plan" && !plan.empty()) return RunPlan(plan, steps, graphs);
  if (what != "facts" || !plan.empty())
    return Invalid("usage: bench_gpu facts | rates [--small] | plan PLAN [--steps N] [--no-graphs]");
  ZO2_ASSIGN(std::unique_ptr<Device> device, OpenDevice("cuda"));
  return Json{{"facts", device->facts()}, {"kernels", device->kernels()->library}, {"memory", device->MemoryText()}};
}

}  // namespace
}  // namespace zo2::cuda

int main(int argc, char** argv) {
  const auto json = zo2::cuda::Run(argc, argv);
  if (!json.ok()) {
    std::fprintf(stderr, "bench_gpu: %s\n", json.status().message().c_str());
    return static_cast<int>(json.status().code());
  }
  std::printf("%s\n", json->dump().c_str());
  return 0;
}
