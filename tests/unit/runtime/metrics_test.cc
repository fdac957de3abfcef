#include "runtime/metrics.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>

#include "tests/unit/runtime/tiny_journal.h"

namespace zo2 {
namespace {

StepLog Log(int64_t steps) {
  StepLog log(1);
  for (int64_t step = 0; step < steps; ++step) {
    uint64_t words[6] = {};
    StepRecord& record = *reinterpret_cast<StepRecord*>(words);
    record = {static_cast<uint64_t>(step), 1e-3, 1, 0};
    record.loss_plus()[0] = 1.0 / static_cast<double>(step + 3);
    record.loss_minus()[0] = 2;
    record.g()[0] = -0.1;
    log.Append(record);
  }
  return log;
}

std::string Lines(const std::string& path, const StepLog& log, int64_t steps, int64_t eval_at) {
  {
    MetricsWriter writer = *MetricsWriter::Open(path, false);
    for (int64_t step = 0; step <= steps; ++step) {
      if (step == eval_at) {
        EXPECT_TRUE(writer.Eval(step, {.loss = 0.5, .examples = 9}).ok());
      }
      if (step < steps) {
        EXPECT_TRUE(writer.Step(log.at(step), 0.25).ok());
      }
    }
  }
  return ReadBytes(path);
}

TEST(Metrics, NumbersReadBackToTheSameBits) {
  for (const double value : {0.1, 1.0 / 3, 5e-324, 1.7976931348623157e308, -0.0, 123456789.0})
    EXPECT_EQ(std::strtod(JsonNumber(value).c_str(), nullptr), value);
  EXPECT_EQ(JsonNumber(NAN), "null");
  EXPECT_EQ(JsonNumber(INFINITY), "null");
}

TEST(Metrics, AFileThatAgreesIsLeftAlone) {
  const std::string path = FreshFolder() + "/m.jsonl";
  const StepLog log = Log(6);
  const std::string whole = Lines(path, log, 6, 4);
  ASSERT_TRUE(MendMetrics(path, log, true).ok());
  EXPECT_EQ(ReadBytes(path), whole);
  ASSERT_TRUE(MendMetrics(path + ".absent", log, true).ok());
  EXPECT_FALSE(FileExists(path + ".absent"));
}

// However much of the file is there, every step has one line afterwards.
TEST(Metrics, AnyBeginningIsMended) {
  const std::string path = FreshFolder() + "/m.jsonl";
  const StepLog log = Log(6);
  const std::string whole = Lines(path, log, 6, 4);
  for (size_t size = 0; size <= whole.size(); size += 5) {
    WriteBytes(path, whole.substr(0, size));
    ASSERT_TRUE(MendMetrics(path, log, true).ok());
    const std::string mended = ReadBytes(path);
    size_t at = 0;
    for (int step = 0; step < 6; ++step) {
      const std::string line = "{\"step\":" + std::to_string(step) + ",\"loss_plus\":" + JsonNumber(1.0 / (step + 3));
      const size_t found = mended.find(line, at);
      ASSERT_NE(found, std::string::npos) << size << ": " << mended;
      EXPECT_EQ(mended.find(line, found + 1), std::string::npos) << size;
      at = found;
    }
    EXPECT_EQ(mended.back(), '\n');
  }
}

TEST(Metrics, StepsThatTheJournalLostGo) {
  const std::string path = FreshFolder() + "/m.jsonl";
  const StepLog log = Log(6);
  Lines(path, log, 6, 5);
  ASSERT_TRUE(MendMetrics(path, Log(3), true).ok());
  const std::string mended = ReadBytes(path);
  EXPECT_EQ(std::count(mended.begin(), mended.end(), '\n'), 3);
  EXPECT_EQ(mended.find("eval"), std::string::npos);
}

// A run that was killed between the metrics and the journal makes the evaluation again: its line may not stand twice.
TEST(Metrics, AnEvaluationThatTheJournalLacksGoes) {
  const std::string path = FreshFolder() + "/m.jsonl";
  const StepLog log = Log(6);
  for (const int64_t at : {4, 6})
    for (const bool evaluated : {false, true}) {
      const std::string whole = Lines(path, log, 6, at);
      ASSERT_TRUE(MendMetrics(path, log, evaluated).ok());
      EXPECT_EQ(ReadBytes(path) == whole, at == 4 || evaluated) << at << evaluated;
      EXPECT_EQ(ReadBytes(path).find("eval") != std::string::npos, at == 4 || evaluated) << at << evaluated;
    }
}

TEST(Metrics, AnEvaluationHasEveryMetricThatThereIs) {
  const std::string path = FreshFolder() + "/m.jsonl";
  {
    MetricsWriter writer = *MetricsWriter::Open(path, false);
    EXPECT_TRUE(writer.Eval(7, {.loss = 0.5, .accuracy = 0.75, .f1 = 0.625, .examples = 8}).ok());
    EXPECT_TRUE(writer.Eval(8, {.loss = 0.25, .examples = 8}).ok());
  }
  EXPECT_EQ(ReadBytes(path),
            "{\"step\":7,\"eval_loss\":0.5,\"eval_accuracy\":0.75,\"eval_f1\":0.625,\"eval_examples\":8}\n"
            "{\"step\":8,\"eval_loss\":0.25,\"eval_examples\":8}\n");
}

}  // namespace
}  // namespace zo2
