// Machine files: the JSON form of a machine (machine.h).
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>
#include <set>

#include "planner/machine.h"
#include "planner/options.h"

namespace zo2 {
namespace {

using Json = nlohmann::json;

constexpr double kMostSeconds = 1e9, kMostBytes = 0x1p62, kMostSpread = 1e3;

struct NumberField {
  const char* key;
  double Machine::*field;
  double least, most;
};
constexpr NumberField kNumbers[] = {
    {"attention_flops", &Machine::attention_flops, kLeastRate, kMostRate},
    {"elementwise_ops", &Machine::elementwise_ops, kLeastRate, kMostRate},
    {"memory_bytes_per_s", &Machine::memory_bytes_per_s, kLeastRate, kMostRate},
    {"noise_normals_per_s", &Machine::noise_normals_per_s, kLeastRate, kMostRate},
    {"link_up_bytes_per_s", &Machine::link_up_bytes_per_s, kLeastRate, kMostRate},
    {"link_down_bytes_per_s", &Machine::link_down_bytes_per_s, kLeastRate, kMostRate},
    {"link_duplex", &Machine::link_duplex, 0.05, 1},
    {"copy_latency_s", &Machine::copy_latency_s, 0, kMostSeconds},
    {"call_overhead_s", &Machine::call_overhead_s, 0, kMostSeconds},
    {"disk_read_bytes_per_s", &Machine::disk_read_bytes_per_s, kLeastRate, kMostRate},
    {"disk_write_bytes_per_s", &Machine::disk_write_bytes_per_s, kLeastRate, kMostRate},
    {"disk_latency_s", &Machine::disk_latency_s, 0, kMostSeconds},
    {"compute_share_while_uploading", &Machine::compute_share_while_uploading, 0.05, 1},
    {"compute_share_while_downloading", &Machine::compute_share_while_downloading, 0.05, 1},
    {"host_update_params_per_s", &Machine::host_update_params_per_s, kLeastRate, kMostRate},
    {"encode_bytes_per_s", &Machine::encode_bytes_per_s, kLeastRate, kMostRate},
};
struct CountField {
  const char* key;
  int Machine::*field;
};
constexpr CountField kCounts[] = {{"compute_threads", &Machine::compute_threads},
                                  {"host_threads", &Machine::host_threads}};
struct SizeField {
  const char* key;
  uint64_t Machine::*field;
};
constexpr SizeField kSizes[] = {{"device_bytes", &Machine::device_bytes},
                                {"host_bytes", &Machine::host_bytes},
                                {"disk_bytes", &Machine::disk_bytes}};
struct RatesField {
  const char* key;
  std::map<DType, double> Machine::*field;
};
constexpr RatesField kRates[] = {{"gemm_flops", &Machine::gemm_flops},
                                 {"prepare_params_per_s", &Machine::prepare_params_per_s}};

// The dtypes that rates are of.
std::optional<DType> RateDType(const std::string& name) {
  const auto dtype = ParseDType(name);
  return dtype && (*dtype == DType::kF32 || *dtype == DType::kBF16 || *dtype == DType::kF16) ? dtype : std::nullopt;
}

// Reads one file; each error is one sentence that begins with where the text is from.
class Reader {
 public:
  Reader(const Json& json, const std::string& origin) : json_(json), origin_(origin) {}

  Result<Machine> Read() {
    ZO2_TRY(CheckKeys());
    ZO2_ASSIGN(std::string kind, Text("kind", "cpu"));
    if (kind != "cpu" && kind != "cuda") return Bad("kind", "must be \"cpu\" or \"cuda\", not \"", kind, "\"");
    Machine m = BuiltinMachines()[kind == "cpu" ? 0 : 1];
    m.source = {{"defaults", "what the file leaves out is taken from " + m.name}};
    m.spread.clear();  // of the file's own figures
    ZO2_ASSIGN(m.name, Text("name", origin_));
    ZO2_TRY(ReadSource(&m.source));
    for (const CountField& f : kCounts) {
      double count = m.*f.field;
      ZO2_TRY(Number(json_, f.key, 1, 4096, true, &count));
      m.*f.field = static_cast<int>(count);
    }
    for (const SizeField& f : kSizes) {
      auto bytes = static_cast<double>(m.*f.field);
      ZO2_TRY(Number(json_, f.key, 0, kMostBytes, true, &bytes));
      m.*f.field = static_cast<uint64_t>(bytes);
    }
    for (const NumberField& f : kNumbers) ZO2_TRY(Number(json_, f.key, f.least, f.most, false, &(m.*f.field)));
    for (const RatesField& f : kRates) ZO2_TRY(ReadRates(f.key, &(m.*f.field)));
    ZO2_TRY(ReadTable(&m.gemm_table));
    ZO2_TRY(ReadCalls(&m.calls));
    ZO2_TRY(ReadSpread(&m.spread));
    ZO2_TRY(ReadMeasuredOn(&m.measured_on));
    return m;
  }

 private:
  template <typename... Args>
  Status Bad(const std::string& key, const Args&... what) const {
    return Invalid(origin_, ": \"", key, "\" ", what...);
  }

  // A misspelt figure would silently be the built-in's.
  Result<void> CheckKeys() const {
    std::set<std::string> known = {"name", "kind", "source", "gemm_table", "calls", "spread", "measured_on"};
    for (const CountField& f : kCounts) known.insert(f.key);
    for (const NumberField& f : kNumbers) known.insert(f.key);
    for (const SizeField& f : kSizes) known.insert(f.key);
    for (const RatesField& f : kRates) known.insert(f.key);
    for (const auto& [key, value] : json_.items()) {
      if (known.count(key)) continue;
      std::string list;
      for (const std::string& k : known) list += (list.empty() ? "" : ", ") + k;
      return Bad(key, "is no field of a machine; they are ", list);
    }
    return {};
  }

  Result<std::string> Text(const char* key, const std::string& absent) const {
    if (!json_.contains(key)) return absent;
    if (!json_[key].is_string()) return Bad(key, "must be a string");
    return json_[key].get<std::string>();
  }

  Result<void> Number(const Json& json, const char* key, double least, double most, bool whole, double* out) const {
    if (!json.contains(key)) return {};
    const double x = json[key].is_number() ? json[key].get<double>() : NAN;
    if (!(x >= least) || !(x <= most) || (whole && x != std::floor(x)))
      return Bad(key, "must be a ", whole ? "whole number" : "number", " from ", least, " to ", most, ", not ",
                 json[key].dump(-1, ' ', true, Json::error_handler_t::replace).substr(0, 40));
    *out = x;
    return {};
  }

  Result<void> ReadSource(std::map<std::string, std::string>* source) const {
    if (!json_.contains("source")) return {};
    const Json& value = json_["source"];
    if (value.is_string()) {
      (*source)["all"] = value.get<std::string>();
      return {};
    }
    if (!value.is_object()) return Bad("source", "must be a string, or an object of strings by figure");
    for (const auto& [figure, text] : value.items()) {
      if (!text.is_string()) return Bad("source", "has no string for \"", figure, "\"");
      (*source)[figure] = text.get<std::string>();
    }
    return {};
  }

  // One rate for all dtypes, or an object by dtype.
  Result<void> ReadRates(const char* key, std::map<DType, double>* out) const {
    if (!json_.contains(key)) return {};
    const Json& value = json_[key];
    if (value.is_number()) {
      double rate = 0;
      ZO2_TRY(Number(json_, key, kLeastRate, kMostRate, false, &rate));
      for (DType t : {DType::kF32, DType::kBF16, DType::kF16}) (*out)[t] = rate;
      return {};
    }
    if (!value.is_object()) return Bad(key, "must be a number or an object by dtype");
    for (const auto& [name, rate] : value.items()) {
      const auto dtype = RateDType(name);
      const double x = rate.is_number() ? rate.get<double>() : NAN;
      if (!dtype || !(x >= kLeastRate) || !(x <= kMostRate))
        return Bad(key, "has a bad entry \"", name, "\"; it maps f32, bf16, f16 to rates from ", kLeastRate, " to ",
                   kMostRate);
      (*out)[*dtype] = x;
    }
    return {};
  }

  Result<void> ReadTable(std::vector<GemmPoint>* table) const {
    if (!json_.contains("gemm_table")) return {};
    if (!json_["gemm_table"].is_array()) return Bad("gemm_table", "must be an array of objects");
    for (const Json& row : json_["gemm_table"]) {
      if (!row.is_object()) return Bad("gemm_table", "must be an array of objects");
      for (const auto& [key, value] : row.items())
        if (key != "dtype" && key != "m" && key != "n" && key != "k" && key != "flops")
          return Bad("gemm_table", "has a row with \"", key, "\"; rows have dtype, m, n, k and flops");
      for (const char* key : {"m", "n", "k", "flops"})
        if (!row.contains(key))
          return Bad("gemm_table", "has a row without \"", key, "\"; each needs m, n, k and flops");
      GemmPoint p;
      const auto dtype = !row.contains("dtype")     ? std::optional(DType::kF32)
                         : row["dtype"].is_string() ? RateDType(row["dtype"].get<std::string>())
                                                    : std::nullopt;
      if (!dtype) return Bad("gemm_table", "has a row whose dtype is none of f32, bf16, f16");
      p.dtype = *dtype;
      ZO2_TRY(Number(row, "m", 1, kMostBytes, false, &p.m));
      ZO2_TRY(Number(row, "n", 1, kMostBytes, false, &p.n));
      ZO2_TRY(Number(row, "k", 1, kMostBytes, false, &p.k));
      ZO2_TRY(Number(row, "flops", kLeastRate, kMostRate, false, &p.flops));
      table->push_back(p);
    }
    return {};
  }

  Result<void> ReadCalls(std::map<std::string, double>* calls) const {
    if (!json_.contains("calls")) return {};
    if (!json_["calls"].is_object()) return Bad("calls", "must be an object from signatures to seconds");
    for (const auto& [signature, value] : json_["calls"].items()) {
      const double x = value.is_number() ? value.get<double>() : NAN;
      if (!(x >= 0) || !(x <= kMostSeconds))
        return Bad("calls", "maps signatures to seconds from 0 to ", kMostSeconds, "; \"", signature, "\" has none");
      (*calls)[signature] = x;
    }
    return {};
  }

  Result<void> ReadSpread(std::map<std::string, double>* spread) const {
    if (!json_.contains("spread")) return {};
    const Json& value = json_["spread"];
    if (value.is_object()) {
      for (const auto& [figure, number] : value.items())
        ZO2_TRY(Number(value, figure.c_str(), 0, kMostSpread, false, &(*spread)[figure]));
      return {};
    }
    return Number(json_, "spread", 0, kMostSpread, false, &(*spread)["all"]);
  }

  Result<void> ReadMeasuredOn(std::map<std::string, std::string>* where) const {
    if (!json_.contains("measured_on")) return {};
    const Json& value = json_["measured_on"];
    if (!value.is_object()) return Bad("measured_on", "must be an object of strings");
    for (const auto& [what, text] : value.items()) {
      if (!text.is_string()) return Bad("measured_on", "has no string for \"", what, "\"");
      (*where)[what] = text.get<std::string>();
    }
    return {};
  }

  const Json& json_;
  const std::string origin_;
};

}  // namespace

Result<Machine> MachineFromJson(const std::string& text, const std::string& origin) {
  const Json json = Json::parse(text, nullptr, false);
  if (json.is_discarded() || !json.is_object()) return Invalid(origin, " is no JSON object; a machine file is one");
  return Reader(json, origin).Read();
}

std::string MachineToJson(const Machine& m) {
  Json json = {{"name", m.name},
               {"kind", m.cuda ? "cuda" : "cpu"},
               {"source", m.source},
               {"calls", m.calls},
               {"spread", m.spread},
               {"measured_on", m.measured_on}};
  for (const CountField& f : kCounts) json[f.key] = m.*f.field;
  for (const SizeField& f : kSizes) json[f.key] = m.*f.field;
  for (const NumberField& f : kNumbers) json[f.key] = m.*f.field;
  for (const RatesField& f : kRates)
    for (const auto& [dtype, rate] : m.*f.field) json[f.key][std::string(Name(dtype))] = rate;
  json["gemm_table"] = Json::array();
  for (const GemmPoint& p : m.gemm_table)
    json["gemm_table"].push_back(
        {{"dtype", std::string(Name(p.dtype))}, {"m", p.m}, {"n", p.n}, {"k", p.k}, {"flops", p.flops}});
  return json.dump(1, ' ', false, Json::error_handler_t::replace);  // names are whatever a file has
}

}  // namespace zo2
