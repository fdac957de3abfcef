#include "runtime/journal.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>

#include <cmath>
#include <cstring>

#include "ir/support/crc32.h"
#include "tests/unit/runtime/tiny_journal.h"

namespace zo2 {
namespace {

constexpr int kQ = 2;
const EvaluationRecord kEvaluation{4, EvalMetric::kF1, 1.0 / 3, std::string(64, 'e')};

// Made-up, with numbers that text would not keep.
std::vector<uint64_t> Record(uint64_t step) {
  std::vector<uint64_t> words(StepRecordBytes(kQ) / 8);
  StepRecord& record = *reinterpret_cast<StepRecord*>(words.data());
  record = {step, 1e-6 / 3 * static_cast<double>(step + 1), kQ, step == 2 ? 1u : 0u};
  for (int i = 0; i < kQ; ++i) {
    record.loss_plus()[i] = step == 2 ? NAN : 5.0 / (3 + static_cast<double>(step) + i);
    record.loss_minus()[i] = step == 2 ? INFINITY : 5.1 / (3 + static_cast<double>(step) + i);
    record.g()[i] = -1e-300 * static_cast<double>(step);
  }
  return words;
}
const StepRecord& AsRecord(const std::vector<uint64_t>& words) {
  return *reinterpret_cast<const StepRecord*>(words.data());
}
std::string Bits(const StepRecord& record) { return {reinterpret_cast<const char*>(&record), StepRecordBytes(kQ)}; }

struct Written {
  std::string folder = FreshFolder(), path = folder + "/run.zoj";
  TinyTraining run{{.samples = kQ}};
  std::string bytes;
  std::vector<size_t> ends;  // of records; [0]: of the head

  // Steps 0 .. 5 with an evaluation and a snapshot record after 3.
  Written() {
    auto writer = JournalWriter::Create(path, run.Header(), 1);
    EXPECT_TRUE(writer.ok()) << writer.status().message();
    ends.push_back(writer->bytes());
    for (uint64_t step = 0; step < 6; ++step) Continue(*writer, step);
    bytes = ReadBytes(path);
    EXPECT_EQ(ends.back(), bytes.size());
  }
  void Continue(JournalWriter& writer, uint64_t step) {
    EXPECT_TRUE(writer.Step(AsRecord(Record(step))).ok());
    ends.push_back(writer.bytes());
    if (step == 3) Edge(writer, 0);
  }
  // The records between steps 3 and 4, without the first `done` of them.
  void Edge(JournalWriter& writer, size_t done) {
    if (done < 1) {
      EXPECT_TRUE(writer.Evaluation(kEvaluation).ok());
      ends.push_back(writer.bytes());
    }
    if (done < 2) {
      EXPECT_TRUE(writer.Snapshot({4, 1, std::string(64, 'c')}).ok());
      ends.push_back(writer.bytes());
    }
  }
  // Records that are whole in the first `size` bytes.
  size_t WholeRecords(size_t size) const {
    size_t n = 0;
    while (n + 1 < ends.size() && ends[n + 1] <= size) ++n;
    return n;
  }
  static size_t RecordsOf(const Journal& journal) {
    return static_cast<size_t>(journal.steps.steps()) + journal.snapshots.size() + journal.evaluations.size();
  }
  static void ExpectRight(const Journal& journal) {
    for (int64_t step = 0; step < journal.steps.steps(); ++step)
      EXPECT_EQ(Bits(journal.steps.at(step)), Bits(AsRecord(Record(static_cast<uint64_t>(step)))));
    for (const SnapshotRecord& s : journal.snapshots) {
      EXPECT_EQ(s.step, 4);
      EXPECT_EQ(s.generation, 1);
      EXPECT_EQ(s.digest, std::string(64, 'c'));
    }
    for (const EvaluationRecord& e : journal.evaluations) {
      EXPECT_EQ(e.step, 4);
      EXPECT_EQ(e.metric, EvalMetric::kF1);
      EXPECT_EQ(e.value, 1.0 / 3);
      EXPECT_EQ(e.data, std::string(64, 'e'));
    }
  }
};

TEST(Journal, RoundTrip) {
  Written w;
  const auto journal = Journal::Read(w.path);
  ASSERT_TRUE(journal.ok()) << journal.status().message();
  EXPECT_EQ(journal->steps.steps(), 6);
  EXPECT_EQ(journal->snapshots.size(), 1u);
  EXPECT_EQ(journal->evaluations.size(), 1u);
  Written::ExpectRight(*journal);
  EXPECT_EQ(journal->note, "");
  EXPECT_EQ(journal->header.json, w.run.Header().json);
  EXPECT_EQ(journal->header.q, kQ);
  EXPECT_EQ(journal->header.parameters.seed, w.run.parameters.seed);
  EXPECT_EQ(journal->header.parameters.eps, w.run.parameters.eps);
  EXPECT_EQ(journal->header.parameters.weight_decay, w.run.parameters.weight_decay);
  EXPECT_EQ(journal->header.base_sha256, "of nothing");
  EXPECT_LT(w.ends[2] - w.ends[1], 150u);  // q = 1 would need 48 bytes less
}

TEST(Journal, ATornTailIsCutBackToTheLastGoodRecord) {
  Written w;
  for (size_t size = 0; size < w.bytes.size(); ++size) {
    WriteBytes(w.path, w.bytes.substr(0, size));
    const auto journal = Journal::Read(w.path);
    ASSERT_EQ(journal.ok(), size >= w.ends[0]) << size;
    if (!journal.ok()) {
      EXPECT_EQ(journal.status().code(), Code::kInvalid);
      continue;
    }
    const size_t whole = w.WholeRecords(size);
    EXPECT_EQ(Written::RecordsOf(*journal), whole) << size;
    Written::ExpectRight(*journal);
    EXPECT_EQ(journal->note.empty(), size == w.ends[whole]) << size;
    EXPECT_EQ(ReadBytes(w.path).size(), size) << "reading changes nothing";
    // Going on gives the file that was never torn.
    {
      auto writer = JournalWriter::Append(*journal, 0);
      ASSERT_TRUE(writer.ok()) << writer.status().message();
      if (journal->steps.steps() == 4) w.Edge(*writer, journal->evaluations.size() + journal->snapshots.size());
      for (int64_t step = journal->steps.steps(); step < 6; ++step) w.Continue(*writer, static_cast<uint64_t>(step));
    }
    w.ends.resize(9);
    ASSERT_EQ(ReadBytes(w.path), w.bytes) << size;
  }
}

TEST(Journal, AFlippedByteEndsTheJournalBeforeItsRecord) {
  Written w;
  for (size_t at = 0; at < w.bytes.size(); ++at)
    for (const int flip : {0x01, 0x80, 0xFF}) {
      std::string damaged = w.bytes;
      damaged[at] = static_cast<char>(damaged[at] ^ flip);
      WriteBytes(w.path, damaged);
      const auto journal = Journal::Read(w.path);
      ASSERT_EQ(journal.ok(), at >= w.ends[0]) << at;
      if (!journal.ok()) continue;
      EXPECT_EQ(Written::RecordsOf(*journal), w.WholeRecords(at)) << at;
      Written::ExpectRight(*journal);
      EXPECT_NE(journal->note.find("torn or damaged"), std::string::npos);
    }
}

TEST(Journal, RecordsOfAnotherJournalDoNotCount) {
  Written w;
  const size_t step0 = w.ends[1] - w.ends[0];
  // A record twice, and two records in the wrong order: each has a CRC of its own that was right where it stood.
  for (const std::string& body : {w.bytes.substr(w.ends[0], step0) + w.bytes.substr(w.ends[0], step0),
                                  w.bytes.substr(w.ends[0], step0) + w.bytes.substr(w.ends[2], step0)}) {
    WriteBytes(w.path, w.bytes.substr(0, w.ends[0]) + body);
    EXPECT_EQ(Journal::Read(w.path)->steps.steps(), 1);
  }
  // The same steps behind another header.
  TinyTraining other({.samples = kQ});
  other.parameters.eps = 2e-2;
  const std::string path = w.folder + "/other.zoj";
  ASSERT_TRUE(JournalWriter::Create(path, other.Header(), 1).ok());
  WriteBytes(path, ReadBytes(path) + w.bytes.substr(w.ends[0]));
  EXPECT_EQ(Journal::Read(path)->steps.steps(), 0);
}

TEST(Journal, WhatThisBuildDoesNotKnowIsAnError) {
  Written w;
  std::string bytes = w.bytes;
  bytes[8] = 2;
  WriteBytes(w.path, bytes);
  auto journal = Journal::Read(w.path);
  ASSERT_FALSE(journal.ok());
  EXPECT_NE(journal.status().message().find("format 2"), std::string::npos) << journal.status().message();
  // A record of kind 9, and an evaluation by another metric, whole.
  const auto read = [&](const std::string& body) {
    std::string record, bytes = w.bytes.substr(0, w.ends[0]);
    uint32_t crc;
    std::memcpy(&crc, bytes.data() + bytes.size() - 4, 4);
    const uint32_t size = static_cast<uint32_t>(body.size());
    record.append(reinterpret_cast<const char*>(&size), 4);
    record += body;
    crc = Crc32(record, crc);
    record.append(reinterpret_cast<const char*>(&crc), 4);
    WriteBytes(w.path, bytes + record);
    return Journal::Read(w.path);
  };
  const auto evaluation = [](const char* metric, char step) {
    std::string body("\3\1\0\0", 4), name(metric);
    name.resize(8);
    return body + std::string(1, step) + std::string(15, '\0') + name + std::string(64, 'e');
  };
  for (const std::string& body : {std::string("\11\1\0\0", 4), evaluation("recall", 0)}) {
    journal = read(body);
    ASSERT_FALSE(journal.ok());
    EXPECT_NE(journal.status().message().find("does not know"), std::string::npos) << journal.status().message();
  }
  EXPECT_EQ(read(evaluation("accuracy", 0))->evaluations.size(), 1u);
  EXPECT_NE(read(evaluation("accuracy", 1))->note, "") << "of a step that is not there";
  WriteBytes(w.path, "PK\3\4 something else");
  EXPECT_NE(Journal::Read(w.path).status().message().find("is no journal"), std::string::npos);
  EXPECT_EQ(Journal::Read(w.folder + "/absent").status().code(), Code::kInvalid);
}

TEST(Journal, StepsAreNamedByNumberBestOrEnd) {
  Written w;
  const Journal journal = *Journal::Read(w.path);
  EXPECT_EQ(*journal.StepAt("end"), 6);
  EXPECT_FALSE(journal.StepAt("-1").ok());
  EXPECT_EQ(*journal.StepAt("0"), 0);
  EXPECT_EQ(*journal.StepAt("6"), 6);
  EXPECT_EQ(*journal.StepAt("best"), 4);
  for (const char* bad : {"", "7", "-2", "first", "3x", "best ", "99999999999999999999"}) {
    const auto step = journal.StepAt(bad);
    ASSERT_FALSE(step.ok()) << bad;
    EXPECT_EQ(step.status().code(), Code::kInvalid);
  }
  Journal none = journal;
  none.evaluations.clear();
  ASSERT_FALSE(none.StepAt("best").ok());
  EXPECT_NE(none.StepAt("best").status().message().find("has no evaluations"), std::string::npos);
  none.evaluations = {{2, EvalMetric::kLoss, NAN, ""}};
  EXPECT_NE(none.StepAt("best").status().message().find("finite loss"), std::string::npos);
  // Only what can be compared with the last evaluation counts.
  none.evaluations = {{1, EvalMetric::kLoss, 0.1, "a"}, {2, EvalMetric::kF1, 0.7, "b"}, {3, EvalMetric::kF1, 0.9, "a"},
                      {4, EvalMetric::kF1, 0.8, "b"},   {5, EvalMetric::kF1, 0.8, "b"}};
  EXPECT_EQ(*none.StepAt("best"), 4);
  EXPECT_EQ(BestText(*none.Best()), "best f1: 0.800000 at step 4");
}

TEST(Journal, ExistingAndBusyJournalsAreRefused) {
  Written w;
  auto again = JournalWriter::Create(w.path, w.run.Header(), 1);
  ASSERT_FALSE(again.ok());
  EXPECT_NE(again.status().message().find("--resume"), std::string::npos) << again.status().message();
  EXPECT_EQ(ReadBytes(w.path), w.bytes);
  const Journal journal = *Journal::Read(w.path);
  auto first = JournalWriter::Append(journal, 1);
  ASSERT_TRUE(first.ok());
  auto second = JournalWriter::Append(journal, 1);
  ASSERT_FALSE(second.ok());
  EXPECT_NE(second.status().message().find("in use"), std::string::npos) << second.status().message();
  ASSERT_TRUE(first->Step(AsRecord(Record(6))).ok());
  *first = JournalWriter();
  auto late = JournalWriter::Append(journal, 1);
  ASSERT_FALSE(late.ok());
  EXPECT_NE(late.status().message().find("another run"), std::string::npos) << late.status().message();
}

TEST(Journal, AFullDiskLeavesWholeRecords) {
  Written w;
  const Journal journal = *Journal::Read(w.path);
  auto writer = JournalWriter::Append(journal, 1);
  ASSERT_TRUE(writer.ok());
  rlimit old;
  ASSERT_EQ(getrlimit(RLIMIT_FSIZE, &old), 0);
  const auto handler = signal(SIGXFSZ, SIG_IGN);
  const rlimit small = {w.bytes.size() + 50, old.rlim_max};
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &small), 0);
  const Status status = writer->Step(AsRecord(Record(6)));
  ASSERT_EQ(setrlimit(RLIMIT_FSIZE, &old), 0);
  signal(SIGXFSZ, handler);
  ASSERT_FALSE(status.ok());
  EXPECT_NE(status.message().find("cannot write the journal"), std::string::npos) << status.message();
  EXPECT_EQ(ReadBytes(w.path), w.bytes);
  EXPECT_FALSE(writer->Step(AsRecord(Record(6))).ok());
}

TEST(Journal, FsyncPolicies) {
  EXPECT_EQ(*ParseFsync("every"), 1);
  EXPECT_EQ(*ParseFsync("never"), 0);
  EXPECT_EQ(*ParseFsync("25"), 25);
  for (const char* bad : {"", "0", "-1", "often", "1.5", "99999999999999999999999"})
    EXPECT_FALSE(ParseFsync(bad).ok()) << bad;
}

TEST(JournalHeader, EveryDifferenceIsNamedWithBothValues) {
  const TinyTraining run({.bias = true});
  const JournalHeader journal = run.Header();
  EXPECT_TRUE(HeaderDifferences(journal, run.Header(), HeaderUse::kResume).empty());
  const DataPins pins{"data.npy", "digest of data", "random", 2, false};
  struct Case {
    const char* text;
    JournalHeader now;
    bool weights;  // counts for kWeights too
  };
  std::vector<Case> cases;
  const auto parameter = [&](const char* text, RunParameters p) {
    cases.push_back({text, MakeJournalHeader(run.schedule, p, "of nothing", pins, "fake 1"), false});
  };
  RunParameters p = run.parameters;
  parameter("eps is 0.01 in the journal and 0.1 now", (p.eps = 0.1, p));
  p = run.parameters;
  parameter("seed is 81985529216486895 in the journal and 8 now", (p.seed = 8, p));
  p = run.parameters;
  parameter("weight_decay is 0.1 in the journal and 0.2 now", (p.weight_decay = 0.2, p));
  p = run.parameters;
  parameter("clip_g is 0.0 in the journal and 3.0 now", (p.clip_g = 3, p));
  const auto data = [&](const char* text, DataPins d) {
    cases.push_back({text, MakeJournalHeader(run.schedule, run.parameters, "of nothing", d, "fake 1"), false});
  };
  data("data.sha256 is digest of data in the journal and other now", {"data.npy", "other", "random", 2, false});
  data("data.order is random in the journal and sequential now",
       {"data.npy", "digest of data", "sequential", 2, false});
  data("data.batch_rows is 2 in the journal and 4 now", {"data.npy", "digest of data", "random", 4, false});
  data("data.truncate is false in the journal and true now", {"data.npy", "digest of data", "random", 2, true});
  cases.push_back({"base.sha256 is of nothing in the journal and other now", run.Header("other"), true});
  cases.push_back({"kernels.library is fake 1 in the journal and fake 2 now",
                   MakeJournalHeader(run.schedule, run.parameters, "of nothing", pins, "fake 2"), false});
  const auto plan = [&](const char* text, bool weights, const std::function<void(Schedule&)>& change) {
    Schedule schedule = run.schedule;
    change(schedule);
    cases.push_back({text, MakeJournalHeader(schedule, run.parameters, "of nothing", pins, "fake 1"), weights});
  };
  plan("q is 1 in the journal and 3 now", false, [](Schedule& s) { s.programs[0].samples = 3; });
  plan("rounding is stochastic in the journal and nearest now", true,
       [](Schedule& s) { s.rounding = Rounding::kNearest; });
  plan("noise is zo-noise v1 gaussian in the journal and zo-noise v1 rademacher now", true,
       [](Schedule& s) { s.rademacher = true; });
  plan("weights.W0.trainable is true in the journal and false now", true,
       [](Schedule& s) { s.weights[0].components[0].trainable = false; });
  plan("weights.b0.decays is false in the journal and true now", true, [](Schedule& s) { s.weights[1].decay = true; });
  plan("weights.W0.storage is f32 in the journal and bf16 now", true,
       [](Schedule& s) { s.weights[0].components[0].storage = DType::kBF16; });
  plan("weights.W0.tensor_id is 17 in the journal and 5 now", true,
       [](Schedule& s) { s.weights[0].components[0].tensor_id = 5; });
  plan("weights.W0.shape is [4,4] in the journal and [4,5] now", true, [](Schedule& s) { s.weights[0].shape[1] = 5; });
  plan("weights.W0.aliases is [] in the journal and [\"tied\"] now", true,
       [](Schedule& s) { s.weights[0].aliases = {"tied"}; });
  plan("weights.b1 is in the journal and absent now", true, [](Schedule& s) { s.weights.pop_back(); });
  plan("numerics.compute_threads is 2 in the journal and 4 now", false,
       [](Schedule& s) { s.numerics = R"({"compute_threads":4,"weights":[["W0","f32"],["W1","f32"]]})"; });
  plan("numerics.weights[W1] has f32 in the journal and bf16 now", false,
       [](Schedule& s) { s.numerics = R"({"compute_threads":2,"weights":[["W0","f32"],["W1","bf16"]]})"; });
  plan("numerics.weights is [[\"W0\",\"f32\"],[\"W1\",\"f32\"]] in the journal and [] now", false,
       [](Schedule& s) { s.numerics = R"({"compute_threads":2,"weights":[]})"; });
  const auto tiles = [&](Schedule& s, const char* digest) {
    s.numerics = R"({"compute_threads":2,"weights":[["W0","f32"],["W1","f32"]],"wire":{"trained_tiles_sha256":")" +
                 std::string(digest) + "\"}}";
  };
  plan("numerics.wire is absent in the journal", false, [&](Schedule& s) { tiles(s, "a"); });
  {
    Schedule a = run.schedule, b = run.schedule;
    tiles(a, "aa"), tiles(b, "bb");
    const auto header = [&](const Schedule& s) {
      return MakeJournalHeader(s, run.parameters, "of nothing", pins, "fake 1");
    };
    const auto differences = HeaderDifferences(header(a), header(b), HeaderUse::kResume);
    ASSERT_EQ(differences.size(), 1u);
    EXPECT_EQ(
        differences[0],
        "which trained tiles are streamed as codes differs: compile with the first plan's --budget and --resident");
  }
  plan("numerics.tile is absent in the journal", false,
       [](Schedule& s) { s.numerics = R"({"compute_threads":2,"tile":1,"weights":[["W0","f32"],["W1","f32"]]})"; });
  for (const Case& c : cases) {
    const auto differences = HeaderDifferences(journal, c.now, HeaderUse::kResume);
    ASSERT_EQ(differences.size(), 1u) << c.text << ": " << ::testing::PrintToString(differences);
    EXPECT_EQ(differences[0], c.text);
    EXPECT_EQ(!HeaderDifferences(journal, c.now, HeaderUse::kWeights).empty(), c.weights) << c.text;
  }
  // Where the data file lies does not matter.
  EXPECT_TRUE(
      HeaderDifferences(journal,
                        MakeJournalHeader(run.schedule, run.parameters, "of nothing",
                                          {"elsewhere/data.npy", "digest of data", "random", 2, false}, "fake 1"),
                        HeaderUse::kResume)
          .empty());
}

TEST(JournalHeader, WithoutNumericsTheFingerprintDecides) {
  TinyTraining a, b;
  a.schedule.numerics = b.schedule.numerics = "";
  a.schedule.fingerprint = "one";
  b.schedule.fingerprint = "two";
  const auto differences = HeaderDifferences(a.Header(), b.Header(), HeaderUse::kResume);
  ASSERT_EQ(differences.size(), 1u);
  EXPECT_EQ(differences[0], "numerics is one in the journal and two now");
}

TEST(JournalHeader, MalformedTextIsRefused) {
  const std::string good = TinyTraining().Header().json;
  ASSERT_TRUE(ParseJournalHeader(good).ok());
  for (const char* bad :
       {"", "[]", "{}", "{\"eps\":1", R"({"eps":1,"weight_decay":0,"clip_g":0,"seed":-1,"q":1,"base":{"sha256":""}})",
        R"({"eps":1,"weight_decay":0,"clip_g":0,"seed":1,"q":0,"base":{"sha256":""}})",
        R"({"eps":1,"weight_decay":0,"clip_g":0,"seed":1,"q":1})",
        R"({"eps":"1","weight_decay":0,"clip_g":0,"seed":1,"q":1,"base":{"sha256":""}})"})
    EXPECT_FALSE(ParseJournalHeader(bad).ok()) << bad;
  // A header that would exhaust the stack if it were kept as it is.
  const std::string deep =
      good.substr(0, good.size() - 1) + ",\"x\":" + std::string(1 << 20, '[') + std::string(1 << 20, ']') + "}";
  const auto header = ParseJournalHeader(deep);
  ASSERT_TRUE(header.ok());
  EXPECT_EQ(HeaderDifferences(*header, TinyTraining().Header(), HeaderUse::kResume).size(), 1u);
}

}  // namespace
}  // namespace zo2
