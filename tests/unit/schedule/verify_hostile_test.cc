// A schedule from an enemy: any field at any value, and the verifier accepts it or says what is wrong. It
// never crashes, overflows or runs away (run this under the sanitizers).
#include <iostream>
#include <limits>
#include <random>

#include "ir/schedule/schedule_fields.h"
#include "tests/unit/schedule/reject.h"

namespace zo2 {
namespace internal {

// Visits every number, enum and list of a schedule; changes number `target` of them in way `way`.
class Poison {
 public:
  Poison(int64_t target, uint64_t way) : target_(target), way_(way) {}
  int64_t seen() const { return seen_; }
  const std::string& what() const { return what_; }

  template <typename T>
  void operator()(const char* name, T& value, const T&) {
    Visit(name, value);
  }

 private:
  bool Now(const char* name) {
    if (seen_++ != target_) return false;
    what_ = name;
    return true;
  }
  void Visit(const char*, std::string&) {}
  void Visit(const char* name, Blob& value) {
    if (Now(name)) value.bytes->resize(way_ % 2 == 0 ? 0 : 1 << 20);
  }
  void Visit(const char* name, bool& value) {
    if (Now(name)) value = !value;
  }
  void Visit(const char* name, double& value) {
    const double values[] = {std::numeric_limits<double>::quiet_NaN(),
                             std::numeric_limits<double>::infinity(), -1e300, 0};
    if (Now(name)) value = values[way_ % 4];
  }
  void Visit(const char* name, Attrs& value) {
    if (!Now(name)) return;
    const char* const names[] = {"trans_w", "shape", "axis", "scale"};
    const AttrValue values[] = {int64_t{std::numeric_limits<int64_t>::min()},
                                std::vector<int64_t>{1ll << 62, 1ll << 62, 4}, "x", 0.0};
    value[names[way_ % 4]] = values[way_ / 4 % 4];
  }
  template <typename T>
  void Visit(const char* name, std::vector<T>& values) {
    if (Now(name)) {
      if (way_ % 3 == 0) values.clear();
      if (way_ % 3 == 1) values.resize(values.size() + 1);
      if (way_ % 3 == 2 && !values.empty()) values.insert(values.end(), 70, T(values[0]));
      return;
    }
    for (T& value : values) Visit(name, value);
  }
  template <typename T>
  void Visit(const char* name, T& value) {
    if constexpr (std::is_enum_v<T>) {
      if (Now(name)) value = static_cast<T>(way_ % 2 == 0 ? 255 : EnumInfo<T>::kValues);
    } else if constexpr (std::is_integral_v<T>) {
      const auto u = static_cast<uint64_t>(value);  // which may wrap
      const T values[] = {std::numeric_limits<T>::min(),
                          std::numeric_limits<T>::max(),
                          static_cast<T>(-1),
                          0,
                          1,
                          static_cast<T>(u + 1),
                          static_cast<T>(u - 1),
                          static_cast<T>(1ull << 30),
                          static_cast<T>(1ull << 46),
                          static_cast<T>(u * 4 + 64),
                          static_cast<T>(~0ull << 6),
                          63};
      if (Now(name)) value = values[way_ % std::size(values)];
    } else {
      Fields(*this, value, T{});
    }
  }

  int64_t target_;
  uint64_t way_;
  int64_t seen_ = 0;
  std::string what_;
};

}  // namespace internal

namespace {

int64_t CountFields(Schedule s) {
  internal::Poison count(-1, 0);
  internal::Fields(count, s, Schedule());
  return count.seen();
}
std::string Change(Schedule* s, int64_t target, uint64_t way) {
  internal::Poison poison(target, way);
  internal::Fields(poison, *s, Schedule());
  return poison.what();
}
bool Judged(const Schedule& s, const std::string& what) {
  const auto verified = Verify(s);
  if (verified.ok()) return true;
  EXPECT_EQ(verified.status().code(), Code::kRejected) << what;
  EXPECT_GT(verified.status().message().size(), 20u) << what << ": " << verified.status().message();
  return false;
}

tiny::Options Everything() {
  tiny::Options o;
  o.slots = 1;
  o.bias = o.cut = o.constant = o.lm_head = true;
  o.samples = 1;
  return o;
}

tiny::Options Coded() {
  tiny::Options o;
  o.freeze_first = o.bias = true;
  o.first = tiny::Keep::kFrozenCodes, o.second = tiny::Keep::kHostUpdate;
  o.wire = WireFormat::kI4;
  return o;
}
tiny::Options Refreshed() {
  tiny::Options o;
  o.first = o.second = tiny::Keep::kRefresh;
  o.period = 2;
  o.host_losses = false;
  return o;
}

TEST(VerifyHostile, EveryFieldAtEveryExtreme) {
  int64_t tried = 0, accepted = 0;
  for (const tiny::Options& options : {tiny::Options(), Everything(), Coded(), Refreshed()}) {
    const Schedule valid = Valid(options);
    const int64_t fields = CountFields(valid);
    EXPECT_GT(fields, 1000);
    for (int64_t target = 0; target < fields; ++target) {
      for (uint64_t way = 0; way < 12; ++way, ++tried) {
        Schedule s = valid;
        const std::string what = Change(&s, target, way);
        accepted += Judged(s, what + " in way " + std::to_string(way));
      }
    }
  }
  std::cout << tried << " changed fields, " << accepted << " of them still a valid schedule\n";
  EXPECT_LT(accepted, tried / 2);
}

TEST(VerifyHostile, SeveralFieldsAtOnce) {
  std::mt19937_64 random(3);
  size_t accepted = 0;
  constexpr size_t kTried = 23000;
  const std::vector<tiny::Named> corpus = tiny::WholeCorpus();
  for (const tiny::Named& named : corpus) {
    const Schedule valid = tiny::MakeSchedule(named.options);
    for (size_t n = 0; n < kTried / corpus.size(); ++n) {
      Schedule s = valid;
      std::string what = named.name;
      for (uint64_t k = 1 + random() % 4; k > 0; --k) {
        const int64_t fields = CountFields(s);
        what += " " + Change(&s, static_cast<int64_t>(random() % static_cast<uint64_t>(fields)), random());
      }
      accepted += Judged(s, what);
    }
  }
  EXPECT_LT(accepted, kTried / 2);
}

// Nothing at all, or next to nothing.
TEST(VerifyHostile, EmptySchedules) {
  EXPECT_TRUE(Judged(Schedule(), "empty"));
  for (const Purpose purpose : {Purpose::kTrain, Purpose::kEvaluate, Purpose::kFlush}) {
    Schedule s;
    s.programs.resize(1);
    s.programs[0].purpose = purpose;
    (void)Judged(s, "no lanes");
    s.programs[0].branches.resize(1);
    s.programs[0].lanes.resize(3);
    (void)Judged(s, "no instructions");
    s.programs[0].lanes[0].instructions.resize(2);
    s.programs[0].edges.resize(2);
    (void)Judged(s, "default instructions");
    for (int kind = 0; kind < 12; ++kind) {
      s.programs[0].lanes[0].instructions = {Instruction()};
      s.programs[0].edges.clear();
      s.programs[0].lanes[0].instructions[0].kind = static_cast<InstrKind>(kind);
      EXPECT_FALSE(Judged(s, "an instruction of kind " + std::to_string(kind)));
    }
  }
}

}  // namespace
}  // namespace zo2
