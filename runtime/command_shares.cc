#include <algorithm>
#include <cmath>
#include <cstdio>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>

#include "ir/schedule/schedule_io.h"
#include "ir/schedule/verify.h"
#include "ir/support/file.h"
#include "runtime/commands.h"
#include "runtime/output_paths.h"
#include "runtime/run_state.h"
#include "runtime/shares.h"

namespace zo2 {
namespace {

using Json = nlohmann::ordered_json;

std::string Percent(const Share& share) {
  if (!(share.dd > 0)) return "-";
  char text[48];
  std::snprintf(text, sizeof text, "%.1f +- %.1f %%", 100 * share.value(), 100 * share.error());
  return text;
}

Json ToJson(const Share& share) {
  if (!(share.dd > 0)) return nullptr;
  return {{"share", share.value()}, {"error", share.error()}, {"elements", share.elements}};
}

}  // namespace

Status RunShares(const SharesFlags& flags) {
  if (flags.last < 0) return Invalid("--last is ", flags.last, ": give a number of steps, 0 or more");
  if (flags.elements < 1) return Invalid("--elements is ", flags.elements, ": give at least 1");
  if (!flags.json.empty()) ZO2_TRY(CheckOutputs({{"--json", flags.json}}, {flags.plan, flags.journal}));
  ZO2_ASSIGN(const Schedule schedule, ReadSchedule(flags.plan));
  ZO2_TRY(Verify(schedule));
  ZO2_ASSIGN(const Journal journal, Journal::Read(flags.journal));
  ZO2_ASSIGN(const std::unique_ptr<BaseWeights> base, OpenBase(schedule, flags.weights, /*digest=*/true));
  ZO2_ASSIGN(const int64_t to, journal.StepAt(flags.at));
  const int64_t from = std::max<int64_t>(0, to - flags.last);
  RunState::Options options{.at = from};
  if (flags.threads > 0) options.threads = flags.threads;
  ZO2_ASSIGN(const std::unique_ptr<RunState> state, OpenState(schedule, *base, journal, options));
  for (const std::string& note : base->source.notes()) std::fprintf(stderr, "note: %s\n", note.c_str());
  for (const std::string& note : state->notes()) std::fprintf(stderr, "note: %s\n", note.c_str());

  std::printf("%-20s %-20s %-14s %s\n", "of the perturbation", "of the updates", "kept, computed", "weight");
  Json weights = Json::object();
  WeightShares all;
  for (const int32_t w : TrainableWeights(schedule)) {
    const PlanWeight& weight = schedule.weights[static_cast<size_t>(w)];
    const Component& c = weight.components[0];
    ZO2_ASSIGN(const WeightShares shares,
               MeasureShares(schedule, w, state->reader(), journal.steps, from, to, journal.header.q,
                             journal.header.parameters, flags.elements));
    std::printf(
        "%-20s %-20s %-14s %s\n", Percent(shares.perturbation).c_str(), Percent(shares.update).c_str(),
        (std::string(Name(c.storage)) + ", " + std::string(Name(c.compute))).c_str(), weight.name.c_str());
    weights[weight.name] = {{"storage", Name(c.storage)},
                            {"compute", Name(c.compute)},
                            {"perturbation", ToJson(shares.perturbation)},
                            {"update", ToJson(shares.update)}};
    all.perturbation.Add(shares.perturbation);
    all.update.Add(shares.update);
  }
  std::printf("%-20s %-20s %-14s %s\n", Percent(all.perturbation).c_str(), Percent(all.update).c_str(), "",
              "all of them");
  std::printf(
      "%sthe perturbation of step %ld, about %ld elements of each weight, in whole rows\n",
      from < to ? ("updates of steps " + std::to_string(from) + " to " + std::to_string(to - 1) + ", ").c_str() : "",
      static_cast<long>(to), static_cast<long>(flags.elements));
  if (flags.json.empty()) return Status();
  const Json json = {{"from", from},
                     {"to", to},
                     {"perturbation", ToJson(all.perturbation)},
                     {"update", ToJson(all.update)},
                     {"weights", weights}};
  return WriteFile(flags.json, json.dump(1, ' ', false, Json::error_handler_t::replace) + "\n");
}

}  // namespace zo2
