#include <algorithm>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "ir/support/file.h"
#include "runtime/commands.h"
#include "runtime/dataset.h"
#include "runtime/evaluate.h"
#include "runtime/kernels/codec.h"
#include "runtime/masters.h"
#include "runtime/number.h"
#include "runtime/output_paths.h"
#include "runtime/run_setup.h"
#include "runtime/run_state.h"
#include "runtime/wire_error.h"

namespace zo2 {
namespace {

using Json = nlohmann::ordered_json;

constexpr WireFormat kFormats[] = {WireFormat::kBF16, WireFormat::kF16, WireFormat::kE4M3, WireFormat::kI8,
                                   WireFormat::kI4};

// The formats that would make a weight narrower; none for weights with one axis, which cross the link as
// stored.
std::vector<WireFormat> Narrower(const PlanWeight& weight) {
  std::vector<WireFormat> formats;
  for (const WireFormat f : kFormats)
    if (weight.shape.size() >= 2 && BitsOf(f) < 8 * SizeOf(weight.components[0].storage))
      formats.push_back(f);
  return formats;
}

// What arrives of the weights in `chosen` when they cross the link in a format, rounded to their storage
// dtype.
WeightReader Arrived(const Schedule& schedule, WeightReader read, WireFormat format,
                     std::set<int32_t> chosen) {
  return [&schedule, read = std::move(read), format, chosen = std::move(chosen)](
             int32_t w, int64_t r0, int64_t r1, int64_t c0, int64_t c1, std::byte* out) -> Status {
    ZO2_TRY(read(w, r0, r1, c0, c1, out));
    if (!chosen.contains(w)) return Status();
    const int64_t rows = r1 - r0, cols = c1 - c0;
    const DType storage = schedule.weights[static_cast<size_t>(w)].components[0].storage;
    struct alignas(64) Line {
      std::byte bytes[64];
    };
    std::vector<Line> coded(WireBytes(format, rows, cols) / sizeof(Line) + 1);
    std::vector<float> values(static_cast<size_t>(rows * cols));
    if (kernels::Encode({format, rows, cols, 0, rows, storage, out, cols, coded.data()}) != 0)
      return Invalid("weight ", schedule.weights[static_cast<size_t>(w)].name,
                     " has values that are not finite");
    kernels::Decode({format, rows, cols, 0, rows, coded.data(), values.data(), cols});
    Convert(NumberOf(DType::kF32), reinterpret_cast<const std::byte*>(values.data()), rows * cols, storage,
            out);
    return Status();
  };
}

class WeightsProfile {
 public:
  WeightsProfile(const WeightsFlags& flags, const KernelTable& kernels) : flags_(flags), kernels_(kernels) {}

  Status Run() {
    ZO2_ASSIGN(std::unique_ptr<Device> device, OpenRunDevice(flags_.run));
    ZO2_TRY(CheckFlags());
    ZO2_ASSIGN(setup_, SetUp(flags_.run, std::move(device)));
    for (const Tile& tile : schedule().tiles)
      if (tile.codes >= 0)
        return Invalid("tile ", tile.name, " of ", flags_.run.plan,
                       " is coded, so exact weights cannot be compared with: give a plan that was compiled "
                       "without --wire");
    ZO2_TRY(OpenData());
    ZO2_ASSIGN(base_, OpenBase(schedule(), flags_.run.weights, /*digest=*/false));
    for (const std::string& note : base_->source.notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
    ZO2_TRY(MeasureErrors());
    Json json = {{"format", "zo2 weight errors"},
                 {"version", 1},
                 {"model", schedule().model_name},
                 {"model_digest", schedule().model_digest},
                 {"elements", flags_.elements}};
    if (data_) {
      ZO2_TRY(MeasureLosses(&json));
    }
    json["weights"] = weights_;
    ZO2_TRY(WriteFile(flags_.output, json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n"));
    if (!flags_.run.quiet)
      std::printf(
          "wrote %s; zo2-plan compile ... --wire auto --max-wire-error E --weight-errors %s goes by it\n",
          flags_.output.c_str(), flags_.output.c_str());
    return Status();
  }

 private:
  const Schedule& schedule() const { return setup_.executor->schedule(); }

  Status CheckFlags() const {
    if (flags_.run.plan.empty())
      return Invalid("profile --weights needs --plan: whose weights are to be measured");
    if (flags_.elements < 1) return Invalid("--elements is ", flags_.elements, ": give at least 1");
    if (flags_.batches < 1) return Invalid("--batches is ", flags_.batches, ": give at least 1");
    if (flags_.each_weight && flags_.data.empty())
      return Invalid("--each-weight needs --data: it is about the loss");
    return CheckOutputs({{"--output", flags_.output}}, {flags_.run.plan, flags_.data});
  }

  Status OpenData() {
    if (flags_.data.empty()) return Status();
    program_ = schedule().Find(Purpose::kEvaluate);
    if (program_ == nullptr || program_->loss_sum.empty())
      return Invalid(flags_.run.plan, " evaluates no loss: compile the model with one, or leave out --data");
    ZO2_ASSIGN(data_, Dataset::Open(flags_.data, schedule(), *program_, {flags_.truncate}));
    for (const std::string& note : data_->notes())
      std::fprintf(stderr, "note: %s: %s\n", flags_.data.c_str(), note.c_str());
    return Status();
  }

  // The relative error of each weight in each format that would make it narrower.
  Status MeasureErrors() {
    if (!flags_.run.quiet)
      std::printf("%8s %8s %8s %8s %8s  weight\n", "bf16", "f16", "e4m3", "int8", "int4");
    for (size_t w = 0; w < schedule().weights.size(); ++w) {
      const PlanWeight& weight = schedule().weights[w];
      const std::vector<WireFormat> formats = Narrower(weight);
      if (formats.empty()) continue;
      ZO2_ASSIGN(const std::vector<WireError> errors,
                 MeasureWireErrors(schedule(), static_cast<int32_t>(w), base_->source.reader(), formats,
                                   flags_.elements, HostThreads()));
      Json row = {{"name", weight.name},
                  {"shape", weight.shape},
                  {"storage", Name(weight.components[0].storage)},
                  {"not_finite", errors[0].not_finite},
                  {"errors", Json::object()},
                  {"largest", Json::object()},
                  {"lost", Json::object()}};
      std::string line;
      for (const WireFormat f : kFormats) {
        const auto error =
            std::find_if(errors.begin(), errors.end(), [f](const WireError& e) { return e.format == f; });
        char text[24] = "       -";
        if (error != errors.end() && error->not_finite == 0) {
          const std::string name(Name(f));
          row["errors"][name] = error->rms();
          row["largest"][name] = error->largest();
          row["lost"][name] = error->lost_share();
          std::snprintf(text, sizeof text, "%8.2g", error->rms());
          codable_.insert(static_cast<int32_t>(w));
        }
        line += std::string(text) + " ";
      }
      if (!flags_.run.quiet) std::printf("%s %s\n", line.c_str(), weight.name.c_str());
      rows_.push_back(static_cast<int32_t>(w));
      weights_.push_back(std::move(row));
    }
    if (rows_.empty())
      return Invalid("no weight of ", flags_.run.plan,
                     " has two axes; the others cross the link as they are stored");
    return Status();
  }

  // The loss on the first examples with these weights in a format.
  Result<double> Loss(WireFormat format, const std::set<int32_t>& chosen) {
    const int64_t rows = BatchRows(schedule(), *program_);
    const WeightReader read = Arrived(schedule(), base_->source.reader(), format, chosen);
    ZO2_TRY(setup_.executor->Initialize(kernels_, {}, 0,
                                        [&](Executor& e) { return LoadMasters(read, e, HostThreads()); }));
    ZO2_ASSIGN(const Evaluation evaluation,
               Evaluate(*setup_.executor, std::min(flags_.batches, BatchesOf(*data_, rows)),
                        FillInOrder(*data_, rows)));
    examples_ = evaluation.examples;
    return evaluation.loss;
  }

  Status MeasureLosses(Json* json) {
    ZO2_ASSIGN(const double exact, Loss(WireFormat::kF32, {}));
    if (!flags_.run.quiet) std::printf("loss %.6f on %ld examples\n", exact, static_cast<long>(examples_));
    Json all = Json::object();
    for (const WireFormat f : kFormats) {
      std::set<int32_t> chosen;
      for (const int32_t w : codable_)
        if (const auto formats = Narrower(schedule().weights[static_cast<size_t>(w)]);
            std::find(formats.begin(), formats.end(), f) != formats.end())
          chosen.insert(w);
      if (chosen.empty()) continue;
      ZO2_ASSIGN(const double loss, Loss(f, chosen));
      all[std::string(Name(f))] = loss;
      if (!flags_.run.quiet)
        std::printf("loss %.6f (%+.6f) with %zu weights in %s\n", loss, loss - exact, chosen.size(),
                    std::string(Name(f)).c_str());
    }
    (*json)["loss"] = {{"examples", examples_}, {"exact", exact}, {"all", all}};
    for (size_t i = 0; flags_.each_weight && i < rows_.size(); ++i) {
      const int32_t w = rows_[i];
      if (!codable_.contains(w)) continue;
      Json losses = Json::object();
      for (const WireFormat f : Narrower(schedule().weights[static_cast<size_t>(w)])) {
        ZO2_ASSIGN(losses[std::string(Name(f))], Loss(f, {w}));
      }
      weights_[i]["loss"] = std::move(losses);
    }
    return Status();
  }

  const WeightsFlags& flags_;
  const KernelTable& kernels_;
  RunSetup setup_;
  const Program* program_ = nullptr;
  std::unique_ptr<Dataset> data_;
  std::unique_ptr<BaseWeights> base_;
  Json weights_ = Json::array();
  std::vector<int32_t> rows_;  // which weight each of weights_ is
  std::set<int32_t> codable_;  // those without values that are not finite
  int64_t examples_ = 0;
};

}  // namespace

Status RunProfileWeights(const WeightsFlags& flags, const KernelTable& kernels) {
  return WeightsProfile(flags, kernels).Run();
}

}  // namespace zo2
