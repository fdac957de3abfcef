// Plan files: every field survives both forms, and nothing that can happen to a file does more than give an
// error.
#include "ir/schedule/schedule_io.h"

#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iostream>
#include <random>

#include "ir/schedule/verify.h"
#include "ir/support/crc32.h"
#include "tests/tools/tiny_schedules.h"
#include "tests/unit/schedule/any_schedule.h"

#ifdef ZO2_HAVE_PROTOBUF
#include <google/protobuf/descriptor.h>
#endif

namespace zo2 {
namespace {

std::string Folder() {
  const auto folder = std::filesystem::path(testing::TempDir()) / "zo2_schedule_io_test";
  std::filesystem::create_directories(folder);
  return folder.string();
}
Schedule Small() {
  tiny::Options o;
  o.slots = 1;
  o.evaluate = o.flush = o.host_losses = false;
  return tiny::MakeSchedule(o);
}
bool Has(const std::string& text, std::string_view part) { return text.find(part) != std::string::npos; }

// ---- round trips ----

TEST(ScheduleIo, EveryFieldSurvives) {
  size_t fields = 0;
  for (uint64_t seed = 0; seed < 40; ++seed) {
    const Schedule text = AnySchedule(seed, true), bytes = AnySchedule(seed, false);
    auto from_json = ScheduleFromJson(ScheduleToJson(text));
    ASSERT_TRUE(from_json.ok()) << from_json.status().message();
    EXPECT_EQ(Flat(*from_json), Flat(text)) << "JSON, seed " << seed;
    auto from_bytes = ScheduleFromBytes(ScheduleToBytes(bytes));
    ASSERT_TRUE(from_bytes.ok()) << from_bytes.status().message();
    EXPECT_EQ(Flat(*from_bytes), Flat(bytes)) << "protobuf, seed " << seed;
    EXPECT_EQ(ScheduleToBytes(*from_bytes), ScheduleToBytes(bytes));
    EXPECT_EQ(ScheduleToJson(*from_json), ScheduleToJson(text));
    fields = std::max(fields, Flat(bytes).size());
  }
  EXPECT_GT(fields, 200u) << "the schedules are nearly empty";
}

TEST(ScheduleIo, DefaultsSurvive) {
  const Schedule empty;
  for (const auto& text : {ScheduleToJson(empty), ScheduleToBytes(empty)}) {
    auto read = ScheduleFromBytes(text);
    ASSERT_TRUE(read.ok()) << read.status().message();
    EXPECT_EQ(Flat(*read), Flat(empty));
  }
  EXPECT_TRUE(ScheduleFromJson("{\"version\": 2}").ok());
}

TEST(ScheduleIo, RealSchedulesSurviveFiles) {
  for (const tiny::Named& named : tiny::WholeCorpus()) {
    const Schedule schedule = tiny::MakeSchedule(named.options);
    for (const char* file : {"/a.plan", "/a.json"}) {
      ASSERT_TRUE(WriteSchedule(schedule, Folder() + file).ok());
      auto read = ReadSchedule(Folder() + file);
      ASSERT_TRUE(read.ok()) << read.status().message();
      EXPECT_EQ(Flat(*read), Flat(schedule)) << named.name << file;
      EXPECT_TRUE(Verify(*read).ok());
    }
  }
}

// Field k of a struct is field k of its message (schedule_proto.cc relies on it): same names, same order.
#ifdef ZO2_HAVE_PROTOBUF
struct FieldNames {
  std::vector<std::string> names;
  template <typename T>
  void operator()(const char* name, T&, const T&) {
    names.push_back(name);
  }
};
template <typename T>
void ExpectSameFields(const char* message) {
  FieldNames archive;
  T value{};
  internal::Fields(archive, value, T{});
  const auto* descriptor = google::protobuf::DescriptorPool::generated_pool()->FindMessageTypeByName(
      std::string("zo2.pb.") + message);
  ASSERT_NE(descriptor, nullptr) << message;
  ASSERT_EQ(static_cast<size_t>(descriptor->field_count()), archive.names.size()) << message;
  for (int k = 0; k < descriptor->field_count(); ++k) {
    EXPECT_EQ(descriptor->field(k)->name(), archive.names[static_cast<size_t>(k)]) << message;
    EXPECT_EQ(descriptor->field(k)->number(), k + 1) << message << "." << descriptor->field(k)->name();
  }
}
TEST(ScheduleIo, ProtoHasTheFieldsOfTheStructs) {
  ExpectSameFields<Arena>("Arena");
  ExpectSameFields<Buffer>("Buffer");
  ExpectSameFields<Component>("Component");
  ExpectSameFields<Place>("Place");
  ExpectSameFields<PlanWeight>("PlanWeight");
  ExpectSameFields<Segment>("Segment");
  ExpectSameFields<Tile>("Tile");
  ExpectSameFields<PlanValue>("PlanValue");
  ExpectSameFields<PlanNode>("PlanNode");
  ExpectSameFields<BranchTerm>("BranchTerm");
  ExpectSameFields<Branch>("Branch");
  ExpectSameFields<Operand>("Operand");
  ExpectSameFields<Instruction>("Instruction");
  ExpectSameFields<Lane>("Lane");
  ExpectSameFields<Edge>("Edge");
  ExpectSameFields<ProgramInput>("ProgramInput");
  ExpectSameFields<ProgramOutput>("ProgramOutput");
  ExpectSameFields<Program>("Program");
  ExpectSameFields<LossInfo>("LossInfo");
  ExpectSameFields<Schedule>("Schedule");
}
#endif

// ---- damage ----

// A clear error, or a schedule that the verifier judges: never a crash. Returns whether it was read.
bool ReadsOrComplains(const std::string& bytes) {
  auto read = ScheduleFromBytes(bytes);
  if (!read.ok()) {
    EXPECT_EQ(read.status().code(), Code::kInvalid);
    EXPECT_TRUE(Has(read.status().message(), "plan: ")) << read.status().message();
    EXPECT_GT(read.status().message().size(), 15u) << read.status().message();
    return false;
  }
  auto verified = Verify(*read);
  EXPECT_TRUE(verified.ok() || verified.status().code() == Code::kRejected) << verified.status().message();
  return true;
}

TEST(ScheduleIo, CutOffAnywhere) {
  const std::string bytes = ScheduleToBytes(Small()), json = ScheduleToJson(Small());
  for (size_t n = 0; n < bytes.size(); ++n) ASSERT_FALSE(ReadsOrComplains(bytes.substr(0, n))) << n;
  size_t end = json.find_last_of('}');
  for (size_t n = 0; n <= end; ++n) ASSERT_FALSE(ReadsOrComplains(json.substr(0, n))) << n;
  EXPECT_TRUE(ReadsOrComplains(bytes) && ReadsOrComplains(json));
  EXPECT_FALSE(ReadsOrComplains(bytes + "x")) << "too long";
  std::cout << bytes.size() << " bytes of protobuf, " << json.size() << " of JSON, cut off at every length\n";
}

TEST(ScheduleIo, EveryFlippedByteIsNoticed) {
  const std::string bytes = ScheduleToBytes(Small());
  std::mt19937 random(1);
  for (size_t n = 0; n < bytes.size(); ++n) {
    for (const uint32_t flip : {1u, 0x80u, static_cast<uint32_t>(1 + random() % 255)}) {
      std::string bad = bytes;
      bad[n] = static_cast<char>(bad[n] ^ static_cast<char>(flip));
      ASSERT_FALSE(ReadsOrComplains(bad)) << n;
    }
  }
}

// Damage with the checksum made right again, as an enemy would: it reaches the parser, and the verifier.
TEST(ScheduleIo, DamageBehindTheChecksum) {
  if (ScheduleToBytes(Small())[0] == '{') GTEST_SKIP() << "a build without protobuf";
  constexpr size_t kHead = 24;
  int read = 0, tried = 0;
  for (const tiny::Named& named : tiny::WholeCorpus()) {
    const std::string bytes = ScheduleToBytes(tiny::MakeSchedule(named.options));
    std::mt19937_64 random(7);
    for (int n = 0; n < 400; ++n, ++tried) {
      std::string bad = bytes;
      for (uint64_t k = 1 + random() % 3; k > 0; --k) {
        const size_t at = kHead + random() % (bad.size() - kHead);
        switch (random() % 4) {
          case 0:
            bad[at] = static_cast<char>(random());
            break;
          case 1:
            bad.erase(at, 1 + random() % 4);
            break;
          case 2:
            bad.insert(at, std::string(1 + random() % 9, static_cast<char>(0xFF)));  // long varints
            break;
          default:
            bad[at] = static_cast<char>(bad[at] ^ (1 << random() % 8));
        }
        if (bad.size() <= kHead) bad.resize(kHead + 1);
      }
      const uint32_t crc = Crc32(std::string_view(bad).substr(kHead));
      const uint64_t length = bad.size() - kHead;
      for (size_t i = 0; i < 4; ++i) bad[12 + i] = static_cast<char>(crc >> (8 * i));
      for (size_t i = 0; i < 8; ++i) bad[16 + i] = static_cast<char>(length >> (8 * i));
      read += ReadsOrComplains(bad);
    }
  }
  std::cout << tried << " damaged bodies, " << read << " of them still a schedule\n";
  EXPECT_GT(read, tried / 20);
  EXPECT_LT(read, tried);
}

TEST(ScheduleIo, DamagedJson) {
  int read = 0, tried = 0;
  for (const tiny::Named& named : tiny::WholeCorpus()) {
    const std::string json = ScheduleToJson(tiny::MakeSchedule(named.options));
    std::mt19937_64 random(11);
    const char* const pieces[] = {
        "-1", "9223372036854775807", "18446744073709551615", "1e999", "null", "[", "\"", "{}", "0", "[[]]"};
    for (int n = 0; n < 150; ++n, ++tried) {
      std::string bad = json;
      // Somewhere at a digit, so that numbers change.
      size_t at = random() % bad.size();
      while (at < bad.size() && !std::isdigit(static_cast<unsigned char>(bad[at]))) ++at;
      bad.replace(std::min(at, bad.size()), 1, pieces[random() % std::size(pieces)]);
      read += ReadsOrComplains(bad);
    }
  }
  std::cout << tried << " damaged JSON plans, " << read << " of them still a schedule\n";
  EXPECT_GT(read, tried / 20);
}

// ---- messages ----

TEST(ScheduleIo, SaysWhatIsWrong) {
  const std::string bytes = ScheduleToBytes(Small());
  struct Case {
    std::string file;
    std::vector<std::string_view> says;
  };
  std::string other_version = bytes, damaged = bytes;
  other_version[8] = 9;
  damaged[bytes.size() / 2] ^= 1;
  std::vector<Case> cases = {
      {"", {"no plan of zo2-plan"}},
      {"\x7f"
       "ELF...",
       {"no plan of zo2-plan"}},
      {"{", {"not well-formed JSON"}},
      {"  {}", {"lacks its version"}},
      {"[1]", {"no plan of zo2-plan"}},
      {"{\"version\": 3}", {"has version 3", "reads version 2", "make it again"}},
      {"{\"version\": 2, \"speed\": 3}", {"plan has a field this version does not know"}},
      {"{\"version\": 2, \"arenas\": [{\"bytes\": -5}]}", {"plan.arenas[0].bytes", "integer in range"}},
      {"{\"version\": 2, \"arenas\": [{\"bytes\": 1.5}]}", {"plan.arenas[0].bytes", "integer in range"}},
      {"{\"version\": 2, \"arenas\": [{\"tier\": \"tape\"}]}", {"plan.arenas[0].tier", "not a name"}},
      {"{\"version\": 2, \"arenas\": 3}", {"plan.arenas must be a list"}},
      {"{\"version\": 2, \"loss\": []}", {"plan.loss must be an object"}},
      {"{\"version\": 2, \"values\": [{\"data\": \"@\"}]}", {"plan.values[0].data", "base64"}},
      {"{\"version\": 2, \"rademacher\": 1}", {"plan.rademacher must be true or false"}},
      {"{\"version\": 2, \"machine\": 1}", {"plan.machine must be a string"}},
      {"{\"version\": 2, \"programs\": [{\"predicted_period\": \"soon\"}]}",
       {"predicted_period must be a number"}},
      {"{\"version\": 2, \"nodes\": [{\"attrs\": {\"axis\": true}}]}", {"plan.nodes[0].attrs"}},
      {std::string(1 << 20, '[').insert(0, "{\"version\":"), {"not well-formed JSON"}},
  };
  if (bytes[0] != '{') {
    cases.push_back({bytes.substr(0, 20), {"cut off after 20 bytes"}});
    cases.push_back({bytes.substr(0, bytes.size() - 3), {"bytes after its head", "cut off"}});
    cases.push_back({other_version, {"has version 9", "reads version 2", "make it again"}});
    cases.push_back({damaged, {"checksum", "damaged"}});
  }
  for (const Case& c : cases) {
    std::ofstream(Folder() + "/bad.plan", std::ios::binary) << c.file;
    auto read = ReadSchedule(Folder() + "/bad.plan");
    ASSERT_FALSE(read.ok()) << c.file.substr(0, 80);
    EXPECT_EQ(read.status().code(), Code::kInvalid);
    EXPECT_TRUE(Has(read.status().message(), "bad.plan")) << read.status().message();
    for (const std::string_view part : c.says)
      EXPECT_TRUE(Has(read.status().message(), part)) << read.status().message();
  }
}

TEST(ScheduleIo, FilesThatCannotBe) {
  const std::string folder = Folder();
  auto missing = ReadSchedule(folder + "/no-such.plan");
  ASSERT_FALSE(missing.ok());
  EXPECT_TRUE(Has(missing.status().message(), "no-such.plan"));
  EXPECT_FALSE(ReadSchedule(folder).ok()) << "a folder";
  const auto nowhere = WriteSchedule(Small(), folder + "/no/such/folder/a.plan");
  ASSERT_FALSE(nowhere.ok());
  EXPECT_TRUE(Has(nowhere.status().message(), "no/such/folder")) << nowhere.status().message();
}

// A plan that cannot be written leaves the one that was there.
TEST(ScheduleIo, TooLongIsRefusedBothWays) {
  const std::string path = Folder() + "/kept.plan";
  ASSERT_TRUE(WriteSchedule(Small(), path).ok());
  Schedule big = Small();
  Lane& lane = big.programs[0].lanes[0];
  lane.instructions.assign(kMaxInstructions + 1, Instruction());
  const auto written = WriteSchedule(big, path);
  ASSERT_FALSE(written.ok());
  EXPECT_TRUE(Has(written.status().message(), "500000")) << written.status().message();
  EXPECT_TRUE(Has(written.status().message(), "larger tiles"));
  auto kept = ReadSchedule(path);
  ASSERT_TRUE(kept.ok());
  EXPECT_EQ(Flat(*kept), Flat(Small()));
  auto read = ScheduleFromBytes(ScheduleToBytes(big));
  ASSERT_FALSE(read.ok());
  EXPECT_TRUE(Has(read.status().message(), "larger tiles")) << read.status().message();
}

}  // namespace
}  // namespace zo2
