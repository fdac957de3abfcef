#include "runtime/json_lines.h"

#include <algorithm>
#include <cmath>
#include <limits>
#include <nlohmann/json.hpp>
#include <set>
#include <string_view>

namespace zo2 {
namespace {

using Json = nlohmann::json;

class Lines {
 public:
  Lines(const DataRequest& request, DataFile* file) : request_(request), file_(*file) {}

  Status Read() {
    const std::span<const std::byte> bytes = file_.file.bytes();
    std::string_view rest(reinterpret_cast<const char*>(bytes.data()), bytes.size());
    while (!rest.empty()) {
      ++line_;
      const size_t end = std::min(rest.find('\n'), rest.size());
      const std::string_view text = rest.substr(0, end);
      rest.remove_prefix(std::min(end + 1, rest.size()));
      if (text.find_first_not_of(" \t\r") == std::string_view::npos) continue;
      ZO2_TRY(Line(text));
    }
    if (!others_.empty()) {
      std::string names;
      for (const std::string& name : others_) names += (names.empty() ? "" : ", ") + name;
      file_.notes.push_back("the model has no input for: " + names + (more_ ? ", ..." : ""));
    }
    return Status();
  }

 private:
  template <typename... Args>
  Status Bad(const Args&... args) const {
    return Invalid(file_.file.path(), ": line ", line_, args...);
  }

  Status Line(std::string_view text) {
    const Json json = Json::parse(text.begin(), text.end(), nullptr, /*allow_exceptions=*/false);
    if (json.is_discarded()) return Bad(" is not JSON");
    size_t found = 0;
    if (json.is_array()) {
      if (request_.ids.empty())
        return Bad(" is a list, but the model has no input of ids: name the inputs in an object");
      ZO2_TRY(Add(request_.ids, json));
      found = 1;
    } else if (json.is_object()) {
      for (const auto& [key, value] : json.items()) {
        const DataRequest::Input* input = Find(key);
        if (input == nullptr) {
          if (others_.size() < kMostOthers) {
            others_.insert(key);
          } else if (others_.count(key) == 0) {
            more_ = true;
          }
          continue;
        }
        ZO2_TRY(Add(input->name, value));
        ++found;
      }
    } else {
      return Bad(" is neither a list of ids nor an object of inputs");
    }
    if (found != file_.fields.size() || found == 0) return Differs();
    file_.lines.push_back(line_);
    ++file_.examples;
    return Status();
  }

  // The input of a key; "input_ids" is the ids, however the model calls them.
  const DataRequest::Input* Find(const std::string& key) const {
    const DataRequest::Input* ids = nullptr;
    for (const DataRequest::Input& input : request_.inputs) {
      if (input.name == key) return &input;
      if (input.name == request_.ids && !request_.ids.empty()) ids = &input;
    }
    return key == "input_ids" ? ids : nullptr;
  }

  Status Differs() const {
    if (file_.fields.empty()) return Bad(" has no input of the model");
    for (const Field& field : file_.fields)
      if (static_cast<int64_t>(field.integers.size() + field.reals.size()) == file_.examples)
        return Bad(" has no ", field.name, ", which line ", file_.lines[0], " has");
    return Bad(" names an input twice");
  }

  Status Add(const std::string& name, const Json& value) {
    const DataRequest::Input* input = Find(name);
    Field* field = nullptr;
    for (Field& known : file_.fields)
      if (known.name == name) field = &known;
    if (field == nullptr) {
      if (file_.examples > 0) return Bad(" has ", name, ", which line ", file_.lines[0], " has not");
      file_.fields.emplace_back();
      field = &file_.fields.back();
      field->name = name;
      field->type = input->is_float ? Number::kF32 : Number::kI32;
    }
    if (static_cast<int64_t>(field->integers.size() + field->reals.size()) != file_.examples)
      return Bad(" names ", name, " twice");
    if (input->is_float) return Numbers(name, value, 0, &field->reals.emplace_back());
    return Numbers(name, value, 0, &field->integers.emplace_back());
  }

  template <typename T>
  Status Numbers(const std::string& name, const Json& value, int depth, std::vector<T>* out) {
    if (!value.is_array()) {
      T number = 0;
      ZO2_TRY(One(name, value, &number));
      out->push_back(number);
      return Status();
    }
    if (depth == kMaxDepth) return Bad(": ", name, " has lists in lists, more than ", kMaxDepth, " deep");
    if (depth == 0) out->reserve(value.size());
    for (const Json& element : value) ZO2_TRY(Numbers(name, element, depth + 1, out));
    if (depth == 0) out->shrink_to_fit();
    return Status();
  }

  Status One(const std::string& name, const Json& value, int32_t* out) const {
    if (value.is_boolean()) {
      *out = value.get<bool>();
      return Status();
    }
    if (!value.is_number_integer()) return Bad(": ", name, " has ", Kind(value), " where a whole number is wanted");
    // Unsigned numbers past int64 are never in range either.
    const bool large = value.is_number_unsigned() && value.get<uint64_t>() > uint64_t{1} << 31;
    const int64_t number = large ? int64_t{1} << 31 : value.get<int64_t>();
    if (number < std::numeric_limits<int32_t>::min() || number > std::numeric_limits<int32_t>::max())
      return Bad(": ", name, " has ", value.dump(), ", which is not a 32-bit number");
    *out = static_cast<int32_t>(number);
    return Status();
  }
  Status One(const std::string& name, const Json& value, float* out) const {
    if (!value.is_number()) return Bad(": ", name, " has ", Kind(value), " where a number is wanted");
    *out = static_cast<float>(value.get<double>());
    if (!std::isfinite(*out)) return Bad(": ", name, " has ", value.dump(), ", which is too large for f32");
    return Status();
  }
  static std::string Kind(const Json& value) {
    return value.is_number() ? value.dump() : "a " + std::string(value.type_name());
  }

  static constexpr int kMaxDepth = 8;
  static constexpr size_t kMostOthers = 8;
  const DataRequest& request_;
  DataFile& file_;
  int64_t line_ = 0;
  std::set<std::string> others_;  // keys that no input has, the first few
  bool more_ = false;             // there are more of them
};

}  // namespace

Status ReadJsonLines(const DataRequest& request, DataFile* file) { return Lines(request, file).Read(); }

}  // namespace zo2
