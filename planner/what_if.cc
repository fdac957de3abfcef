#include "planner/what_if.h"

#include <algorithm>
#include <cmath>
#include <cstdlib>
#include <nlohmann/json.hpp>

#include "planner/compare.h"

namespace zo2 {
namespace {

constexpr const char* kKeys = "link, link-up, link-down, budget, host-budget, compute or noise";
constexpr double kMostFactor = 1e6;

bool IsSize(const std::string& key) { return key == "budget" || key == "host-budget"; }
bool IsKey(const std::string& key) {
  for (const char* known : {"link", "link-up", "link-down", "budget", "host-budget", "compute", "noise"})
    if (key == known) return true;
  return false;
}

Status Bad(const WhatIfChange& c) {
  const char* absolute = IsSize(c.key)        ? ", +4GiB or 24GiB"
                         : c.key == "compute" ? ""
                         : c.key == "noise"   ? " or 2G"
                                              : ", +1GB/s or 8GB/s";
  return Invalid("--what-if ", c.key, "=", c.value, " is not understood; write it like ", c.key, "=2x, ",
                 c.key, "=-10%", absolute);
}

// A number with nothing behind it.
bool Number(const std::string& text, double* number) {
  char* end = nullptr;
  if (text.empty() || std::isspace(static_cast<unsigned char>(text[0]))) return false;
  *number = std::strtod(text.c_str(), &end);
  return end == text.c_str() + text.size() && std::isfinite(*number);
}

bool IsPrepare(const std::string& signature) { return signature.rfind("prepare(", 0) == 0; }

// What `before` becomes, whether it makes sense or not.
Result<double> Understood(const WhatIfChange& c, double before) {
  const std::string& v = c.value;
  if (v.empty()) return Bad(c);
  const bool sign = v[0] == '+' || v[0] == '-';
  double number = 0, after = 0;
  if (v.back() == 'x' && !sign) {
    if (!Number(v.substr(0, v.size() - 1), &number) || number <= 0 || number > kMostFactor) return Bad(c);
    after = before * number;
  } else if (v.back() == '%') {
    if (!sign || !Number(v.substr(0, v.size() - 1), &number) || number <= -100 || number > 100 * kMostFactor)
      return Bad(c);
    after = before * (1 + number / 100);
  } else {
    if (c.key == "compute") return Bad(c);
    const std::string amount = sign ? v.substr(1) : v;
    if (amount.empty() || !std::isdigit(static_cast<unsigned char>(amount[0]))) return Bad(c);
    if (IsSize(c.key) || c.key == "noise") {
      auto size = ParseSize(amount);
      if (!size.ok()) return Bad(c);
      number = static_cast<double>(*size);
    } else {
      auto rate = ParseRate(amount);
      if (!rate.ok()) return Bad(c);
      number = *rate;
    }
    after = v[0] == '+' ? before + number : v[0] == '-' ? before - number : number;
  }
  return after;
}

// What `before` becomes.
Result<double> Changed(const WhatIfChange& c, double before) {
  ZO2_ASSIGN(const double after, Understood(c, before));
  const double least = IsSize(c.key) ? 1 : kLeastRate, most = IsSize(c.key) ? 9.2e18 : kMostRate;
  if (!(after >= least && after <= most))
    return Invalid("--what-if ", c.key, "=", c.value, " leaves ", after <= 0 ? "nothing" : "no sensible figure",
                   c.key == "compute"   ? std::string()
                   : IsSize(c.key)      ? " of " + FormatSize(before)
                                        : " of " + FormatSize(before) + "/s");
  return after;
}

// Every kernel `factor` times as fast; prepares go with the noise.
void ScaleKernels(double factor, Machine* m) {
  for (auto& [dtype, rate] : m->gemm_flops) rate *= factor;
  for (GemmPoint& p : m->gemm_table) p.flops *= factor;
  m->attention_flops *= factor;
  m->elementwise_ops *= factor;
  m->memory_bytes_per_s *= factor;
  for (auto& [signature, seconds] : m->calls)
    if (!IsPrepare(signature)) seconds /= factor;
}

}  // namespace

Result<std::vector<WhatIfChange>> ParseWhatIf(const std::string& text) {
  std::vector<WhatIfChange> changes;
  for (size_t begin = 0; begin <= text.size();) {
    const size_t end = std::min(text.find(',', begin), text.size()), equal = text.find('=', begin);
    const std::string key = text.substr(begin, std::min(equal, end) - begin);
    if (!IsKey(key))
      return Invalid("--what-if knows no '", key, "'; it changes ", kKeys, ", like link=2x,budget=+4GiB");
    WhatIfChange c{key, equal < end ? text.substr(equal + 1, end - equal - 1) : ""};
    ZO2_TRY(Understood(c, 1));
    changes.push_back(c);
    begin = end + 1;
  }
  return changes;
}

Result<void> ApplyWhatIf(const std::vector<WhatIfChange>& changes, Machine* m, PlanOptions* o) {
  if (o->budget == 0) o->budget = m->device_bytes;
  if (o->host_budget == 0) o->host_budget = m->host_bytes;
  for (const WhatIfChange& c : changes) {
    if (IsSize(c.key)) {
      uint64_t& budget = c.key == "budget" ? o->budget : o->host_budget;
      ZO2_ASSIGN(const double after, Changed(c, static_cast<double>(budget)));
      budget = static_cast<uint64_t>(after);
    }
    if (c.key == "link" || c.key == "link-up") {
      ZO2_ASSIGN(m->link_up_bytes_per_s, Changed(c, m->link_up_bytes_per_s));
      m->source["link up"] = "--what-if";
    }
    if (c.key == "link" || c.key == "link-down") {
      ZO2_ASSIGN(m->link_down_bytes_per_s, Changed(c, m->link_down_bytes_per_s));
      m->source["link down"] = "--what-if";
    }
    if (c.key == "compute") {
      ZO2_ASSIGN(const double factor, Changed(c, 1));
      ScaleKernels(factor, m);
    }
    if (c.key == "noise") {
      ZO2_ASSIGN(const double after, Changed(c, m->noise_normals_per_s));
      const double factor = after / m->noise_normals_per_s;
      for (auto& [dtype, rate] : m->prepare_params_per_s) rate *= factor;
      for (auto& [signature, seconds] : m->calls)
        if (IsPrepare(signature)) seconds /= factor;
      m->noise_normals_per_s = after;
    }
  }
  return {};
}

Result<WhatIfAnswer> WhatIf(const Graph& graph, const Machine& machine, const PlanOptions& options,
                            const Plan& base, const std::string& spec) {
  ZO2_ASSIGN(const auto changes, ParseWhatIf(spec));
  Machine m = machine;
  PlanOptions o = options;
  ZO2_TRY(ApplyWhatIf(changes, &m, &o));
  nlohmann::ordered_json json = {{"what_if", spec}};
  WhatIfAnswer answer;
  answer.text = "what if " + spec + "\n";
  auto changed = CompilePlan(graph, m, o);
  json["feasible"] = changed.ok();
  if (changed.ok()) {
    const PlanNames names = {"base", "changed", "the base plan", "the changed plan"};
    ZO2_ASSIGN(const std::string text, CompareText(base.schedule, changed->schedule, names));
    ZO2_ASSIGN(const std::string comparison, CompareJson(base.schedule, changed->schedule, names));
    answer.text += text;
    answer.out_of_time = changed->out_of_time;
    if (answer.out_of_time) answer.text += "the time limit (--time-limit) ended the search of the changed plan\n";
    json["comparison"] = nlohmann::ordered_json::parse(comparison);
  } else if (changed.status().code() == Code::kInfeasible) {
    answer.text += "infeasible: " + changed.status().message() + "\n";
    json["why"] = changed.status().message();
  } else {
    return changed.status();
  }
  answer.json = json.dump(1, ' ', false, nlohmann::ordered_json::error_handler_t::replace);
  return answer;
}

}  // namespace zo2
