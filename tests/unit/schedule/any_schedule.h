// Schedules with every field set, and a flat list of fields to compare them by. Both walk schedule_fields.h,
// so a new field is tested as soon as it has a name there.
#ifndef ZO2_TESTS_UNIT_SCHEDULE_ANY_SCHEDULE_H_
#define ZO2_TESTS_UNIT_SCHEDULE_ANY_SCHEDULE_H_

#include <bit>
#include <cstdint>
#include <limits>
#include <map>
#include <random>
#include <string>
#include <type_traits>
#include <vector>

#include "ir/schedule/schedule_fields.h"

namespace zo2::internal {

// Gives every field a random value that is not its default.
class Filler {
 public:
  // `text`: names are text that JSON can hold; otherwise any bytes.
  Filler(uint64_t seed, bool text) : random_(seed), text_(text) {}

  template <typename T>
  void operator()(const char* name, T& value, const T& fallback) {
    Fill(value);
    if constexpr (std::is_arithmetic_v<T> || std::is_enum_v<T> || std::is_same_v<T, std::string>)
      while (value == fallback) Fill(value);
  }

 private:
  uint64_t Below(uint64_t n) { return random_() % n; }
  void Fill(bool& v) { v = Below(2) == 1; }
  void Fill(double& v) {
    const double some[] = {0.1,
                           -0.0,
                           1e300,
                           5e-324,
                           3,
                           -2.5,
                           std::numeric_limits<double>::infinity(),
                           -std::numeric_limits<double>::infinity(),
                           std::numeric_limits<double>::quiet_NaN()};
    v = Below(2) == 0 ? some[Below(std::size(some))]
                      : std::ldexp(static_cast<double>(random_()), static_cast<int>(Below(200)) - 100);
  }
  void Fill(std::string& v) {
    v.clear();
    const char* const texts[] = {"W.0/weight", "\"quoted\\\"", "line\nbreak\t", "\u00fc\u4e2d", "a"};
    if (text_) {
      v = texts[Below(5)];
    } else {
      for (uint64_t n = 1 + Below(6); n > 0; --n) v += static_cast<char>(random_());
    }
  }
  void Fill(Blob& v) {
    v.bytes->clear();
    for (uint64_t n = 1 + Below(7); n > 0; --n) *v.bytes += static_cast<char>(random_());
  }
  void Fill(Attrs& v) {
    v.clear();
    int64_t i;
    double d;
    std::string s;
    std::vector<int64_t> list;
    Fill(i), Fill(d), Fill(s), Fill(list);
    v = {{"i", i}, {"d", d}, {"whole", 2.0}, {"s", s}, {"list", list}, {"none", std::vector<int64_t>()}};
  }
  template <typename T>
  void Fill(T& v) {
    if constexpr (std::is_enum_v<T>) {
      v = static_cast<T>(Below(static_cast<uint64_t>(EnumInfo<T>::kValues)));
    } else if constexpr (std::is_integral_v<T>) {
      const T some[] = {std::numeric_limits<T>::min(), std::numeric_limits<T>::max(), 0, 1};
      v = Below(3) == 0 ? some[Below(4)] : static_cast<T>(random_());
    } else {
      Fields(*this, v, T{});
    }
  }
  template <typename T>
  void Fill(std::vector<T>& v) {
    v.assign(1 + Below(2), T{});
    for (T& item : v) Fill(item);
  }

  std::mt19937_64 random_;
  bool text_;
};

// "programs[0].lanes[1].threads" -> its value, to the bit.
class Flattener {
 public:
  std::map<std::string, std::string> fields;

  template <typename T>
  void operator()(const char* name, T& value, const T&) {
    const std::string outer = path_;
    path_ += path_.empty() ? name : std::string(".") + name;
    Put(value);
    path_ = outer;
  }

 private:
  void Put(std::string& v) { fields[path_] = v; }
  void Put(Blob& v) { fields[path_] = *v.bytes; }
  void Put(double& v) { fields[path_] = v != v ? "nan" : std::to_string(std::bit_cast<uint64_t>(v)); }
  void Put(Attrs& v) {
    const std::string outer = path_;
    for (auto& [name, value] : v) {
      path_ = outer + "{" + name + "," + std::to_string(value.index()) + "}";
      std::visit([this](auto& x) { Put(x); }, value);
    }
    path_ = outer;
  }
  template <typename T>
  void Put(std::vector<T>& v) {
    const std::string outer = path_;
    fields[path_ + ".size"] = std::to_string(v.size());
    for (size_t i = 0; i < v.size(); ++i) {
      path_ = outer + "[" + std::to_string(i) + "]";
      Put(v[i]);
    }
    path_ = outer;
  }
  template <typename T>
  void Put(T& v) {
    if constexpr (std::is_enum_v<T>) {
      fields[path_] = std::to_string(static_cast<int>(v));
    } else if constexpr (std::is_arithmetic_v<T>) {
      fields[path_] = std::to_string(v);
    } else {
      Fields(*this, v, T{});
    }
  }
  std::string path_;
};

}  // namespace zo2::internal

namespace zo2 {

inline Schedule AnySchedule(uint64_t seed, bool text) {
  Schedule s;
  internal::Filler filler(seed, text);
  internal::Fields(filler, s, Schedule());
  s.version = kScheduleVersion;
  return s;
}
inline std::map<std::string, std::string> Flat(Schedule s) {
  internal::Flattener flattener;
  internal::Fields(flattener, s, Schedule());
  return flattener.fields;
}

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_SCHEDULE_ANY_SCHEDULE_H_
