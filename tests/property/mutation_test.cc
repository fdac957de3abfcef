// The verifier is judged: thousands of mutants of valid tiny schedules, each run on symbols in every order it
// allows. No mutant that can go wrong may pass the verifier. Harmless mutants that it rejects are counted.
#include <gtest/gtest.h>

#include <algorithm>
#include <cstdlib>
#include <iomanip>
#include <iostream>
#include <map>

#include "ir/schedule/schedule_io.h"
#include "ir/schedule/verify.h"
#include "tests/property/interpreter.h"
#include "tests/property/mutator.h"
#include "tests/tools/tiny_schedules.h"

namespace zo2 {
namespace {

using symbolic::Memory;
using symbolic::Setting;
using symbolic::Trace;
using symbolic::Verdict;

// Numbers every instruction, see Trace. Gradients are one: an iteration has one of them, on whichever lane.
void Identify(Schedule* s) {
  double id = 1;
  for (Program& p : s->programs)
    for (Lane& lane : p.lanes)
      for (Instruction& i : lane.instructions) i.seconds = i.kind == InstrKind::kGradient ? -1 : id++;
}

// One run of one program: of train from a fresh start, or of any program after a run of train.
struct Journey {
  Purpose purpose;
  Setting setting;
  int64_t train_first = 0, train_end = 0;  // steps of the train run before; none when equal
  bool flushed = false;                    // and then a flush
};
std::vector<Journey> Runs(const Schedule& s) {
  std::vector<Journey> runs;
  const int period = s.Find(Purpose::kTrain)->period;
  for (int64_t first = 0; first < std::min(period, 2); ++first) {
    Setting train;
    train.first = first;
    train.iterations = 2 * period + 2;
    runs.push_back({Purpose::kTrain, train, first, first});
    const int64_t end = first + train.iterations;
    for (const Purpose purpose : {Purpose::kEvaluate, Purpose::kFlush}) {
      if (s.Find(purpose) == nullptr) continue;
      Setting setting;
      setting.iterations = purpose == Purpose::kFlush ? 1 : 3;
      setting.step = end;
      runs.push_back({purpose, setting, first, end});
    }
    Setting resumed;  // with whatever is pending then
    resumed.first = end + 1;
    resumed.iterations = period + 1;
    runs.push_back({Purpose::kTrain, resumed, first, end + 1});
    if (s.Find(Purpose::kFlush) != nullptr) runs.push_back({Purpose::kTrain, resumed, first, end + 1, true});
  }
  return runs;
}

// Memory and master versions a run begins with: those of a fresh start, or what train leaves. False: left an
// arena.
bool Before(const Schedule& s, Journey* run, Memory* memory) {
  *memory = symbolic::InitialMemory(s);
  if (run->train_first == run->train_end) return true;
  const Program& train = *s.Find(Purpose::kTrain);
  Setting setting;
  setting.first = run->train_first;
  setting.iterations = run->train_end - run->train_first;
  Trace trace;
  if (!symbolic::RunSerially(s, train, setting, memory, &trace)) return false;
  run->setting.entry = symbolic::VersionsAfter(s, train, setting);
  if (!run->flushed) return true;
  Setting flush;
  flush.iterations = 1;
  flush.step = run->train_end;
  flush.entry = run->setting.entry;
  if (!symbolic::RunSerially(s, *s.Find(Purpose::kFlush), flush, memory, &trace)) return false;
  for (int64_t& v : run->setting.entry.masters) v = run->train_end;
  return true;
}

// The right traces of a schedule.
std::vector<Trace> RightTraces(const Schedule& s) {
  std::vector<Trace> traces;
  for (Journey run : Runs(s)) {
    Memory memory;
    Trace trace;
    EXPECT_TRUE(Before(s, &run, &memory));
    EXPECT_TRUE(symbolic::RunSerially(s, *s.Find(run.purpose), run.setting, &memory, &trace));
    traces.push_back(std::move(trace));
  }
  return traces;
}

Verdict JudgeAll(const Schedule& mutant, std::vector<Journey> runs, const std::vector<Trace>& right,
                 bool reduce = true, int64_t max_states = 20000) {
  Verdict total;
  for (size_t r = 0; r < runs.size(); ++r) {
    Memory memory;
    Verdict v;
    if (!Before(mutant, &runs[r], &memory)) {
      v.harmful = true;
      v.why = "leaves an arena";
    } else {
      v = symbolic::Judge(mutant, *mutant.Find(runs[r].purpose), runs[r].setting, memory, right[r], reduce,
                          max_states);
    }
    total.states += v.states;
    total.runs += v.runs;
    total.undecided |= v.undecided;
    if (!v.harmful) continue;
    total.harmful = true;
    total.undecided = false;
    total.why = std::string(Name(runs[r].purpose)) + ": " + v.why;
    return total;
  }
  return total;
}

struct Counts {
  int made = 0, harmful = 0, rejected = 0, harmless_rejected = 0, harmful_passed = 0, undecided = 0;
  void Print(const std::string& name) const {
    std::cout << std::left << std::setw(20) << name << std::right << std::setw(7) << made << std::setw(10)
              << harmful << std::setw(10) << rejected << std::setw(18) << harmless_rejected << std::setw(15)
              << harmful_passed << std::setw(11) << undecided << "\n";
  }
};

// Of each schedule. The variable makes a short run of a slow build, or a long one.
int MutantsPerSchedule() {
  const char* text = std::getenv("ZO2_MUTANTS");
  return text != nullptr ? std::max(1, std::atoi(text)) : 2000;
}

TEST(Mutation, ValidSchedulesHaveOneTrace) {
  for (const tiny::Named& named : tiny::WholeCorpus()) {
    Schedule s = tiny::MakeSchedule(named.options);
    Identify(&s);
    const auto verified = Verify(s);
    ASSERT_TRUE(verified.ok()) << named.name << ": " << verified.status().message();
    const Verdict v = JudgeAll(s, Runs(s), RightTraces(s));
    EXPECT_FALSE(v.harmful) << named.name << ": " << v.why;
    EXPECT_FALSE(v.undecided) << named.name;
  }
}

// A flush between two steps changes nothing of what comes after it: not even the codes of a coded tile.
TEST(Mutation, FlushChangesNoBits) {
  int flushes = 0;
  for (const tiny::Named& named : tiny::WholeCorpus()) {
    Schedule s = tiny::MakeSchedule(named.options);
    Identify(&s);
    const Program& train = *s.Find(Purpose::kTrain);
    for (const Journey& of : Runs(s)) {
      if (!of.flushed) continue;
      ++flushes;
      for (int64_t later = 0; later < train.period; ++later) {
        std::vector<uint64_t> left[2];
        for (const bool flushed : {false, true}) {
          Journey run = of;
          run.flushed = flushed;
          run.train_end += later;
          run.setting.first += later;
          Memory memory;
          Trace trace;
          ASSERT_TRUE(Before(s, &run, &memory));
          ASSERT_TRUE(symbolic::RunSerially(s, train, run.setting, &memory, &trace));
          left[flushed] = trace.left;
        }
        EXPECT_EQ(left[0], left[1]) << named.name << ", flush at step " << of.train_end + later;
      }
    }
  }
  EXPECT_GT(flushes, 50);
}

// Without the reduction, so that nothing rests on it: two iterations of every schedule that is small enough.
TEST(Mutation, EveryInterleavingHasThatTrace) {
  int64_t states = 0;
  int walked = 0;
  const std::vector<tiny::Named> corpus = tiny::WholeCorpus();
  for (const tiny::Named& named : corpus) {
    Schedule s = tiny::MakeSchedule(named.options);
    Identify(&s);
    const Program& train = *s.Find(Purpose::kTrain);
    Setting setting;
    setting.iterations = 2;
    const Memory memory = symbolic::InitialMemory(s);
    Memory after = memory;
    Trace right;
    ASSERT_TRUE(symbolic::RunSerially(s, train, setting, &after, &right));
    const Verdict v = symbolic::Judge(s, train, setting, memory, right, /*reduce=*/false, 60000);
    EXPECT_FALSE(v.harmful) << named.name << ": " << v.why;
    states += v.states;
    walked += !v.undecided;
  }
  std::cout << walked << " of " << corpus.size() << " schedules walked whole, " << states << " states\n";
  EXPECT_GE(walked, 25);
}

// The reduction changes no verdict.
TEST(Mutation, ReductionAgreesWithFullWalk) {
  const std::vector<tiny::Named> corpus = tiny::WholeCorpus();
  const auto& all = Mutator::All();
  int compared = 0, harmful = 0;
  for (size_t c = 0; c < corpus.size(); ++c) {
    tiny::Options options = corpus[c].options;
    options.host_losses = options.evaluate = options.flush = false;
    Schedule s = tiny::MakeSchedule(options);
    Identify(&s);
    std::vector<Journey> runs = {{Purpose::kTrain, Setting(), 0, 0}};
    runs[0].setting.iterations = 2;
    Memory memory = symbolic::InitialMemory(s);
    std::vector<Trace> right(1);
    ASSERT_TRUE(symbolic::RunSerially(s, s.programs[0], runs[0].setting, &memory, &right[0]));
    for (size_t n = 0; n < 2 * all.size(); ++n) {
      Mutator mutator(c * 1000 + n);
      Schedule mutant = s;
      if ((mutator.*all[n % all.size()].second)(&mutant).empty()) continue;
      const Verdict quick = JudgeAll(mutant, runs, right, true, 3000),
                    full = JudgeAll(mutant, runs, right, false, 3000);
      if (quick.undecided || full.undecided) continue;
      EXPECT_EQ(quick.harmful, full.harmful) << corpus[c].name << ": " << quick.why << " / " << full.why;
      ++compared;
      harmful += full.harmful;
    }
  }
  std::cout << compared << " mutants judged both ways, " << harmful << " of them harmful\n";
  EXPECT_GE(compared, 900);
  EXPECT_GE(harmful, 500);
}

TEST(Mutation, NoHarmfulMutantPasses) {
  const auto& mutations = Mutator::All();
  std::map<std::string, Counts> by_kind;
  Counts total;
  uint64_t seed = 1;
  for (const tiny::Named& named : tiny::WholeCorpus()) {
    Schedule original = tiny::MakeSchedule(named.options);
    Identify(&original);
    const std::vector<Journey> runs = Runs(original);
    const std::vector<Trace> right = RightTraces(original);
    for (int n = 0; n < MutantsPerSchedule(); ++n) {
      Mutator mutator(++seed);
      const size_t kind = static_cast<size_t>(n) % mutations.size();
      const auto& [name, mutation] = mutations[kind];
      Schedule mutant = original;
      std::string what;
      for (int attempt = 0; attempt < 20 && what.empty(); ++attempt) what = (mutator.*mutation)(&mutant);
      if (what.empty()) continue;
      if (n % 5 == 4) {  // one of another kind on top
        const auto& second = mutations[(kind + 1 + seed * 7 % (mutations.size() - 1)) % mutations.size()];
        what += ", " + (mutator.*second.second)(&mutant);
      }
      const auto verified = Verify(mutant);
      const Verdict v = JudgeAll(mutant, runs, right);
      for (Counts* c : {&by_kind[name], &total}) {
        ++c->made;
        c->undecided += v.undecided;
        c->harmful += v.harmful;
        c->rejected += !verified.ok();
        c->harmless_rejected += !verified.ok() && !v.harmful && !v.undecided;
        c->harmful_passed += verified.ok() && v.harmful;
      }
      EXPECT_FALSE(verified.ok() && v.harmful)
          << named.name << ": " << what << " (" << name << "): " << v.why;
      EXPECT_FALSE(verified.ok() && v.undecided)
          << named.name << ": " << what << ": too many states to judge";
      EXPECT_TRUE(verified.ok() || verified.status().code() == Code::kRejected)
          << verified.status().message();
    }
  }
  std::cout
      << "mutation               made   harmful  rejected  harmless rejected  harmful passed  undecided\n";
  for (const auto& [name, c] : by_kind) c.Print(name);
  total.Print("all");
  EXPECT_EQ(by_kind.size(), mutations.size()) << "a mutation never applied";
  EXPECT_EQ(total.harmful_passed, 0);
  EXPECT_GT(total.harmful, total.made / 4);  // the mutations bite
  EXPECT_GT(total.made, total.rejected);     // and the verifier does not reject everything
}

}  // namespace
}  // namespace zo2
