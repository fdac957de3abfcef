#include "runtime/journal_header.h"

#include <nlohmann/json.hpp>
#include <set>

#include "ir/support/hash.h"
#include "runtime/kernels/noise.h"

namespace zo2 {
namespace {

using Json = nlohmann::json;

Json WeightJson(const PlanWeight& weight) {
  const Component& component = weight.components[0];
  return {{"tensor_id", component.tensor_id},
          {"shape", weight.shape},
          {"storage", Name(component.storage)},
          {"aliases", weight.aliases},
          {"trainable", weight.trainable && component.trainable},
          {"decays", weight.decay},
          {"eps_mul", weight.eps_mul},
          {"lr_mul", weight.lr_mul}};
}

// What is nested deeper than anything here becomes null: a file made to exhaust the stack does not. (A callback of the
// parser could do it too, but makes it quadratic in the elements of a list.)
Json Parse(const std::string& text) {
  constexpr int kDeepest = 16;
  std::string shallow;
  int depth = 0;
  bool quoted = false, escaped = false;
  for (const char c : text) {
    if (!quoted && (c == '[' || c == '{') && ++depth == kDeepest + 1) shallow += "null";
    if (depth <= kDeepest) shallow += c;
    if (!quoted && (c == ']' || c == '}')) --depth;
    if (c == '"' && !escaped) quoted = !quoted;
    escaped = quoted && c == '\\' && !escaped;
  }
  return Json::parse(shallow, nullptr, /*allow_exceptions=*/false);
}

// A value in a sentence.
std::string Short(const Json& value) {
  std::string text =
      value.is_string() ? value.get<std::string>() : value.dump(-1, ' ', false, Json::error_handler_t::replace);
  constexpr size_t kMost = 100;
  if (text.size() > kMost) text = text.substr(0, kMost) + "...";
  return text;
}

std::string Join(const std::string& path, const std::string& key) { return path.empty() ? key : path + "." + key; }

void Compare(const Json& journal, const Json& now, const std::string& path, std::vector<std::string>* out) {
  if (journal == now) return;
  if (journal.is_object() && now.is_object()) {
    for (const auto& [key, value] : journal.items()) {
      if (now.contains(key)) {
        Compare(value, now[key], Join(path, key), out);
      } else {
        out->push_back(Join(path, key) + " is in the journal and absent now");
      }
    }
    for (const auto& [key, value] : now.items())
      if (!journal.contains(key)) out->push_back(Join(path, key) + " is absent in the journal");
    return;
  }
  if (journal.is_array() && now.is_array() && journal.size() == now.size() &&
      (journal[0].is_array() || journal[0].is_object())) {
    for (size_t i = 0; i < journal.size(); ++i) {
      // The planner's tables begin with a name. Of such a row only what differs is said.
      const bool named = journal[i].is_array() && !journal[i].empty() && journal[i][0].is_string();
      const std::string row = path + "[" + (named ? journal[i][0].get<std::string>() : std::to_string(i)) + "]";
      if (!named || !now[i].is_array() || now[i].size() != journal[i].size() || now[i][0] != journal[i][0]) {
        Compare(journal[i], now[i], row, out);
        continue;
      }
      for (size_t j = 1; j < now[i].size(); ++j)
        if (journal[i][j] != now[i][j])
          out->push_back(row + " has " + Short(journal[i][j]) + " in the journal and " + Short(now[i][j]) + " now");
    }
    return;
  }
  if (path == "numerics.wire.trained_tiles_sha256") {
    out->push_back(
        "which trained tiles are streamed as codes differs: compile with the first plan's --budget and --resident");
    return;
  }
  out->push_back(path + " is " + Short(journal) + " in the journal and " + Short(now) + " now");
}

// The keys of a header that a use goes by.
bool Counts(const std::string& key, HeaderUse use) {
  static const std::set<std::string> kOfWeights = {"method", "noise", "rounding", "base", "weights"};
  return use == HeaderUse::kResume ? key != "fingerprint" : kOfWeights.contains(key);
}

}  // namespace

std::string JournalHeader::Id() const { return Sha256Hex(json); }

JournalHeader MakeJournalHeader(const Schedule& schedule, const RunParameters& parameters,
                                const std::string& base_sha256, const DataPins& data, std::string_view library) {
  JournalHeader header;
  header.parameters = parameters;
  const Program* train = schedule.Find(Purpose::kTrain);
  header.q = train == nullptr ? 1 : train->samples;
  header.base_sha256 = base_sha256;
  header.fingerprint = schedule.fingerprint;
  Json weights = Json::object();
  for (const PlanWeight& weight : schedule.weights) weights[weight.name] = WeightJson(weight);
  Json numerics = Parse(schedule.numerics);
  if (numerics.is_discarded()) numerics = schedule.numerics;
  const Json json = {{"method", "zo-sgd"},
                     {"noise", schedule.rademacher ? "zo-noise v1 rademacher" : "zo-noise v1 gaussian"},
                     {"rounding", schedule.rounding == Rounding::kNearest ? "nearest" : "stochastic"},
                     {"q", header.q},
                     {"seed", parameters.seed},
                     {"eps", parameters.eps},
                     {"weight_decay", parameters.weight_decay},
                     {"clip_g", parameters.clip_g},
                     {"base", {{"sha256", base_sha256}}},
                     {"weights", weights},
                     {"data",
                      {{"path", data.path},
                       {"sha256", data.sha256},
                       {"order", data.order},
                       {"batch_rows", data.rows},
                       {"truncate", data.truncate}}},
                     {"kernels", {{"library", library}, {"instruction_set", kernels::Name(kernels::DetectedIsa())}}},
                     {"numerics", numerics},
                     {"fingerprint", schedule.fingerprint}};
  header.json = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  return header;
}

Result<JournalHeader> ParseJournalHeader(const std::string& text) {
  const Json json = Parse(text);
  if (!json.is_object()) return Invalid("its header is no JSON object");
  JournalHeader header;
  header.json = text;
  const auto number = [&](const char* key, double* value) {
    const bool good = json.contains(key) && json[key].is_number();
    if (good) *value = json[key].get<double>();
    return good;
  };
  if (!number("eps", &header.parameters.eps) || !number("weight_decay", &header.parameters.weight_decay) ||
      !number("clip_g", &header.parameters.clip_g) || !json.contains("seed") || !json["seed"].is_number_unsigned() ||
      !json.contains("q") || !json["q"].is_number_unsigned() || json["q"].get<uint64_t>() < 1 ||
      json["q"].get<uint64_t>() > 1u << 20)
    return Invalid("its header lacks eps, weight_decay, clip_g, seed or q");
  header.parameters.seed = json["seed"].get<uint64_t>();
  header.q = json["q"].get<int>();
  if (!json.contains("base") || !json["base"].is_object() || !json["base"].contains("sha256") ||
      !json["base"]["sha256"].is_string())
    return Invalid("its header lacks the digest of the base weights");
  header.base_sha256 = json["base"]["sha256"].get<std::string>();
  if (json.contains("fingerprint") && json["fingerprint"].is_string())
    header.fingerprint = json["fingerprint"].get<std::string>();
  return header;
}

std::vector<std::string> HeaderDifferences(const JournalHeader& journal, const JournalHeader& now, HeaderUse use) {
  std::vector<std::string> differences;
  Json a = Parse(journal.json), b = Parse(now.json);
  for (Json* json : {&a, &b}) {
    if (json->contains("data") && (*json)["data"].is_object()) (*json)["data"].erase("path");
    // Without numerics in the plan their digest has to do.
    if (!json->contains("numerics") || !(*json)["numerics"].is_object()) (*json)["numerics"] = (*json)["fingerprint"];
    for (auto it = json->begin(); it != json->end();) it = Counts(it.key(), use) ? std::next(it) : json->erase(it);
  }
  // Keys in the order in which a person looks for a cause; what is left is alphabetical.
  for (const char* key : {"seed", "eps", "q", "weight_decay", "clip_g", "data", "base", "weights"}) {
    if (!a.contains(key) || !b.contains(key)) continue;
    Compare(a[key], b[key], key, &differences);
    a.erase(key);
    b.erase(key);
  }
  Compare(a, b, "", &differences);
  return differences;
}

}  // namespace zo2
