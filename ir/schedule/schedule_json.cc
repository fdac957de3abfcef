// A schedule as JSON. Fields with their default value are left out; enums are written by name; bytes that are not text
// are base64; numbers that JSON lacks are "inf", "-inf", "nan".
#include <charconv>
#include <cmath>
#include <limits>
#include <type_traits>
#include <utility>

#include <nlohmann/json.hpp>

#include "ir/schedule/schedule_codec.h"
#include "ir/schedule/schedule_fields.h"

namespace zo2::internal {
namespace {

using Json = nlohmann::json;

constexpr char kBase64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

std::string EncodeBase64(std::string_view bytes) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (size_t i = 0; i < bytes.size(); i += 3) {
    uint32_t group = 0;
    for (size_t k = 0; k < 3; ++k)
      group = group << 8 | (i + k < bytes.size() ? static_cast<uint8_t>(bytes[i + k]) : 0);
    for (size_t k = 0; k < 4; ++k)
      out += i + k <= bytes.size() ? kBase64[group >> (18 - 6 * k) & 63] : '=';
  }
  return out;
}

bool DecodeBase64(std::string_view text, std::string* out) {
  if (text.size() % 4 != 0) return false;
  out->clear();
  for (size_t i = 0; i < text.size(); i += 4) {
    uint32_t group = 0;
    size_t pad = 0;
    for (size_t k = 0; k < 4; ++k) {
      const char c = text[i + k];
      const size_t digit = std::string_view(kBase64, 64).find(c);
      if (c == '=' && i + 4 == text.size() && k >= 2) {
        ++pad;
        group <<= 6;
      } else if (digit == std::string_view::npos || pad > 0) {
        return false;
      } else {
        group = group << 6 | static_cast<uint32_t>(digit);
      }
    }
    for (size_t k = 0; k + pad < 3; ++k) *out += static_cast<char>(group >> (16 - 8 * k) & 255);
  }
  return true;
}

std::string Quoted(const std::string& text) {
  return Json(text).dump(-1, ' ', false, Json::error_handler_t::replace);
}

class Writer {
 public:
  explicit Writer(int depth = 0) : depth_(depth) {}

  template <typename T>
  void operator()(const char* name, T& value, const T& fallback) {
    if (IsDefault(value, fallback)) return;
    out_ += out_.empty() ? "{" : ", ";
    if (depth_ == 0) out_ += "\n ";
    (out_ += '"') += name;
    out_ += "\": ";
    Write(value);
  }
  std::string Take() {
    if (out_.empty()) return "{}";
    out_ += depth_ == 0 ? "\n}\n" : "}";
    return std::move(out_);
  }

 private:
  template <typename T>
  static bool IsDefault(const T& value, const T& fallback) {
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> || std::is_same_v<T, std::string>) {
      return value == fallback;
    } else if constexpr (requires { value.empty(); }) {
      return value.empty();  // no list is anything else by default
    } else if constexpr (std::is_same_v<T, Blob>) {
      return value.bytes->empty();
    } else {
      return false;
    }
  }

  void Write(bool value) { out_ += value ? "true" : "false"; }
  void Write(double value) {
    if (std::isfinite(value)) {
      char text[40];
      auto end = std::to_chars(text, text + sizeof(text), value).ptr;
      const std::string_view digits(text, static_cast<size_t>(end - text));
      out_ += digits;
      if (digits.find_first_of(".e") == std::string_view::npos) out_ += ".0";
    } else {
      out_ += std::isnan(value) ? "\"nan\"" : value > 0 ? "\"inf\"" : "\"-inf\"";
    }
  }
  void Write(const std::string& text) { out_ += Quoted(text); }
  void Write(const Blob& blob) { ((out_ += '"') += EncodeBase64(*blob.bytes)) += '"'; }
  void Write(const AttrValue& value) {
    if (const double* d = std::get_if<double>(&value); d != nullptr && !std::isfinite(*d)) {
      out_ += "{\"double\": ";
      Write(*d);
      out_ += "}";
    } else {
      std::visit([this](const auto& v) { Write(v); }, value);
    }
  }
  void Write(const Attrs& attrs) {
    const char* separator = "{";
    for (const auto& [name, value] : attrs) {
      (out_ += std::exchange(separator, ", ")) += Quoted(name);
      out_ += ": ";
      Write(value);
    }
    out_ += "}";
  }
  template <typename T>
  void Write(const T& value) {
    if constexpr (std::is_enum_v<T>) {
      ((out_ += '"') += EnumInfo<T>::NameOf(value)) += '"';
    } else if constexpr (std::is_integral_v<T>) {
      out_ += std::to_string(value);
    } else {
      static const T kDefault{};
      Writer inner(depth_ + 1);
      Fields(inner, const_cast<T&>(value), kDefault);  // a writer changes nothing
      out_ += inner.Take();
    }
  }
  template <typename T>
  void Write(const std::vector<T>& values) {
    // Down to the instructions of a lane, one element a line.
    const bool lines = std::is_class_v<T> && depth_ <= 2;
    const std::string indent = lines ? "\n" + std::string(static_cast<size_t>(depth_) * 2 + 2, ' ') : "";
    out_ += "[";
    for (size_t i = 0; i < values.size(); ++i) {
      if (i > 0) out_ += lines ? "," : ", ";
      out_ += indent;
      Write(values[i]);
    }
    out_ += "]";
  }

  int depth_;
  std::string out_;
};

class Reader {
 public:
  Reader(const Json& json, std::string path) : json_(json), path_(std::move(path)) {
    if (!json.is_object()) Fail(path_, "must be an object");
  }

  template <typename T>
  void operator()(const char* name, T& value, const T&) {
    if (!status_.ok()) return;
    auto it = json_.find(name);
    if (it == json_.end()) return;
    ++known_;
    Read(*it, path_ + "." + name, value);
  }
  Status Take() {
    if (status_.ok() && known_ != json_.size()) Fail(path_, "has a field this version does not know");
    return status_;
  }

 private:
  void Fail(const std::string& path, std::string_view what) {
    if (status_.ok()) status_ = Invalid("plan: ", path, " ", what);
  }
  void Read(const Json& json, const std::string& path, bool& value) {
    if (!json.is_boolean()) return Fail(path, "must be true or false");
    value = json.get<bool>();
  }
  void Read(const Json& json, const std::string& path, double& value) {
    if (json.is_number()) {
      value = json.get<double>();
    } else if (json == "inf" || json == "-inf") {
      value = (json == "inf" ? 1 : -1) * std::numeric_limits<double>::infinity();
    } else if (json == "nan") {
      value = std::numeric_limits<double>::quiet_NaN();
    } else {
      Fail(path, "must be a number");
    }
  }
  void Read(const Json& json, const std::string& path, std::string& value) {
    if (!json.is_string()) return Fail(path, "must be a string");
    value = json.get_ref<const std::string&>();
  }
  void Read(const Json& json, const std::string& path, Blob& value) {
    if (!json.is_string() || !DecodeBase64(json.get_ref<const std::string&>(), value.bytes))
      Fail(path, "must be base64");
  }
  void Read(const Json& json, const std::string& path, Attrs& attrs) {
    if (!json.is_object()) return Fail(path, "must be an object");
    for (const auto& [name, item] : json.items()) {
      AttrValue& value = attrs[name];
      if (item.is_number_integer()) {
        Read(item, path, value.emplace<int64_t>());
      } else if (item.is_number()) {
        value = item.get<double>();
      } else if (item.is_string()) {
        value = item.get_ref<const std::string&>();
      } else if (item.is_array()) {
        Read(item, path, value.emplace<std::vector<int64_t>>());
      } else if (item.is_object() && item.size() == 1 && item.contains("double")) {
        Read(item.at("double"), path, value.emplace<double>());
      } else {
        return Fail(path, "must be an integer, a number, a string or a list of integers");
      }
    }
  }
  template <typename T>
  void Read(const Json& json, const std::string& path, T& value) {
    if constexpr (std::is_enum_v<T>) {
      for (int i = 0; json.is_string() && i < EnumInfo<T>::kValues; ++i) {
        if (json.get_ref<const std::string&>() != EnumInfo<T>::NameOf(static_cast<T>(i))) continue;
        value = static_cast<T>(i);
        return;
      }
      Fail(path, "is not a name this version knows");
    } else if constexpr (std::is_integral_v<T>) {
      // Positive numbers parse as unsigned, negative ones as signed.
      if (json.is_number_unsigned() && std::in_range<T>(json.get<uint64_t>())) {
        value = static_cast<T>(json.get<uint64_t>());
      } else if (json.is_number_integer() && !json.is_number_unsigned() && std::in_range<T>(json.get<int64_t>())) {
        value = static_cast<T>(json.get<int64_t>());
      } else {
        Fail(path, "must be an integer in range");
      }
    } else {
      Reader inner(json, path);
      if (inner.status_.ok()) Fields(inner, value, T{});
      if (Status status = inner.Take(); status_.ok() && !status.ok()) status_ = status;
    }
  }
  template <typename T>
  void Read(const Json& json, const std::string& path, std::vector<T>& values) {
    if (!json.is_array()) return Fail(path, "must be a list");
    values.resize(json.size());
    for (size_t i = 0; i < values.size() && status_.ok(); ++i)
      Read(json[i], path + "[" + std::to_string(i) + "]", values[i]);
  }

  const Json& json_;
  std::string path_;
  size_t known_ = 0;
  Status status_;
};

}  // namespace

}  // namespace zo2::internal

namespace zo2 {

std::string ScheduleToJson(const Schedule& schedule) {
  static const Schedule kDefault = [] {
    Schedule d;
    d.version = 0;  // always written
    return d;
  }();
  internal::Writer writer;
  internal::Fields(writer, const_cast<Schedule&>(schedule), kDefault);
  return writer.Take();
}

Result<Schedule> ScheduleFromJson(const std::string& text) {
  const auto json = nlohmann::json::parse(text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return Invalid("plan: not well-formed JSON; make it again with zo2-plan");
  if (!json.is_object()) return Invalid("plan: JSON without an object is no plan");
  const auto version = json.find("version");
  if (version == json.end() || !version->is_number_integer())
    return Invalid("plan: lacks its version; is this a plan of zo2-plan?");
  if (*version != kScheduleVersion)
    return Invalid("plan: has version ", version->dump(), " but this build reads version ", kScheduleVersion,
                   "; make it again with this build's zo2-plan");
  Schedule schedule;
  internal::Reader reader(json, "plan");
  internal::Fields(reader, schedule, Schedule());
  ZO2_TRY(reader.Take());
  ZO2_TRY(internal::CheckLimits(schedule));
  return schedule;
}

}  // namespace zo2
