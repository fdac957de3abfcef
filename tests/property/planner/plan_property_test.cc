// Thousands of random models x machines x budgets x decisions through CompilePlan: it gives a schedule that holds what
// it promises, or one clear sentence that is true.
#include <gtest/gtest.h>

#include <cstdio>
#include <map>
#include <regex>

#include "ir/schedule/schedule_io.h"
#include "ir/schedule/verify.h"
#include "planner/plan.h"
#include "planner/precision.h"
#include "tests/property/planner/random_graph.h"
#include "tests/property/planner/report_schema.h"
#include "tests/property/planner/rounds.h"

namespace zo2 {
namespace {

std::string Describe(const PlanOptions& o) {
  std::string text = "strategy " + o.strategy + " S=" + std::to_string(o.slots) +
                     " K=" + std::to_string(o.writeback_every) + " budget " + std::to_string(o.budget) + " host " +
                     std::to_string(o.host_budget) + " tile " + std::to_string(o.tile) + " q " +
                     std::to_string(o.samples) + " m " + std::to_string(o.micro_batches);
  if (o.resident) text += " resident " + std::to_string(*o.resident);
  return text;
}

// The number of bytes a sentence promises after `words`; 0 when it promises none.
uint64_t Promised(const std::string& sentence, const std::string& words) {
  std::smatch found;
  if (!std::regex_search(sentence, found, std::regex(words + " [^(;]*\\((\\d+) bytes\\)"))) return 0;
  return std::stoull(found[1]);
}

class Case {
 public:
  explicit Case(int seed)
      : r_(static_cast<uint64_t>(seed)),
        graph_(RandomGraph(r_, {4, 48, false})),
        machine_(RandomMachine(r_)),
        numerics_(RandomNumerics(r_, machine_)) {}

  void Run(std::map<std::string, int>* counts) {
    counts_ = counts;
    auto verified = VerifyGraph(graph_);
    ASSERT_TRUE(verified.ok()) << verified.status().message();
    auto typed = ApplyPrecision(graph_, machine_, numerics_);
    if (!typed.ok()) {  // all that a random choice of dtypes can do wrong: two types on a GPU, a rule without weights
      const std::string& said = typed.status().message();
      EXPECT_TRUE((machine_.cuda && said.find("one 16-bit type") != std::string::npos) ||
                  (graph_.weights.empty() && said.find("none of the 0 weights") != std::string::npos))
          << said;
      const auto refused = Compile(numerics_);
      ASSERT_FALSE(refused.ok());
      EXPECT_EQ(refused.status().message(), typed.status().message());
      ++(*counts)["dtypes refused"];
      return;
    }
    ASSERT_TRUE(VerifyGraph(*typed).ok()) << VerifyGraph(*typed).status().message();
    auto free = Compile(numerics_);
    if (!free.ok()) {
      // A graph that cannot be trained at all: one sentence, and budgets have nothing to do with it.
      EXPECT_EQ(free.status().code(), Code::kInvalid) << free.status().message();
      return;
    }
    fingerprint_ = free->schedule.fingerprint;
    PlanOptions one = numerics_;
    one.budget = 1;
    auto none = Compile(one);
    ASSERT_FALSE(none.ok());
    const uint64_t least = Promised(none.status().message(), "smallest budget that works");
    ASSERT_GT(least, 0u) << none.status().message();
    uint64_t weights = 0;
    for (const Tile& t : free->schedule.tiles) weights += t.bytes;
    for (int i = 0; i < 6; ++i) {
      PlanOptions o = numerics_;
      const char* strategies[] = {"auto", "auto", "auto", "greedy", "zo2", "stream", "resident"};
      o.strategy = strategies[r_.Int(0, 6)];
      if (r_.Chance(0.3)) o.slots = static_cast<int>(r_.Int(1, 7));
      if (r_.Chance(0.3)) o.writeback_every = static_cast<int>(r_.Chance(0.1) ? r_.Int(1, 64) : r_.Int(1, 6));
      if (r_.Chance(0.15))
        o.resident = r_.Chance(0.2) ? UINT64_MAX : static_cast<uint64_t>(r_.Int(0, static_cast<int64_t>(weights)));
      if (r_.Chance(0.85))
        o.budget = static_cast<uint64_t>(
            r_.Int(static_cast<int64_t>(least * 4 / 5), static_cast<int64_t>(least + weights + weights / 10)));
      if (r_.Chance(0.3))
        o.host_budget = static_cast<uint64_t>(r_.Int(1, static_cast<int64_t>(weights * 5 / 4 + 2000)));
      (void)Compile(o);
    }
  }

 private:
  Result<Plan> Compile(const PlanOptions& o) {
    auto plan = CompilePlan(graph_, machine_, o);
    SCOPED_TRACE(Describe(o));
    if (plan.ok()) {
      ++(*counts_)["plans"];
      JudgePlan(o, *plan);
    } else if (plan.status().code() == Code::kInfeasible) {
      ++(*counts_)["infeasible"];
      JudgeRefusal(o, plan.status().message());
    } else {
      ++(*counts_)["invalid"];
      EXPECT_EQ(plan.status().code(), Code::kInvalid) << plan.status().message();
      EXPECT_TRUE(std::regex_search(
          plan.status().message(),
          std::regex("has neither a loss nor an output|no trained weight|no numbered blocks|one 16-bit type|"
                     "of the 0 weights|zo2 writes every block back in every step")))
          << plan.status().message();
    }
    return plan;
  }

  void JudgePlan(const PlanOptions& o, const Plan& plan) {
    const Schedule& s = plan.schedule;
    auto verified = Verify(s);
    ASSERT_TRUE(verified.ok()) << verified.status().message();
    const uint64_t budget = o.budget > 0 ? o.budget : machine_.device_bytes,
                   host = o.host_budget > 0 ? o.host_budget : machine_.host_bytes;
    EXPECT_LE(s.arenas[0].bytes, budget);
    EXPECT_LE(s.arenas[1].bytes, host);
    EXPECT_EQ(s.arenas[0].budget, budget);
    EXPECT_EQ(plan.memory.device(), s.arenas[0].bytes);
    EXPECT_EQ(plan.memory.host(), s.arenas[1].bytes);
    if (fingerprint_.empty()) fingerprint_ = s.fingerprint;
    EXPECT_EQ(s.fingerprint, fingerprint_);
    EXPECT_GE(plan.simulation.period, plan.bound.seconds * (1 - 1e-9));
    if (o.slots > 0 && s.Find(Purpose::kTrain) != nullptr && plan.decision.slots > 0 && !plan.decision.block_granular) {
      EXPECT_EQ(plan.decision.slots, o.slots);
    }
    if (o.resident && *o.resident != UINT64_MAX && o.strategy == "auto") {
      EXPECT_LE(plan.memory.resident, *o.resident);
    }
    const bool free = o.strategy == "auto" && o.slots == 0 && o.writeback_every == 0 && !o.resident;
    for (const Rival& r : plan.rivals) {
      if (!r.feasible) continue;
      EXPECT_LE(r.device_bytes, budget) << r.name;
      if (free) {
        EXPECT_LE(plan.simulation.period, r.period * (1 + 1e-9)) << r.name;
      }
    }
    for (const Program& p : s.programs) JudgeCopies(p);
    const std::string fault = ReportFault(s);
    EXPECT_EQ(fault, "");
    if (r_.Chance(0.1)) {
      ++(*counts_)["compiled twice"];
      auto again = CompilePlan(graph_, machine_, o);
      ASSERT_TRUE(again.ok());
      Schedule a = s, b = again->schedule;
      a.report = b.report = "";  // planner_seconds differ
      EXPECT_EQ(ScheduleToBytes(a), ScheduleToBytes(b));
      EXPECT_EQ(plan.simulation.period, again->simulation.period);
    }
  }

  // A copy takes latency + bytes / rate; where tiles go up and down in one program, each direction keeps `duplex` of
  // its rate while the other runs, which is as long as the shorter of the two takes.
  void JudgeCopies(const Program& p) {
    double wire[2] = {0, 0};  // seconds per iteration of tiles going up and down
    auto visit = [&](auto&& act) {
      for (const Lane& lane : p.lanes)
        for (const Instruction& i : lane.instructions)
          if (i.kind == InstrKind::kCopy) {
            const bool down = lane.kind == LaneKind::kD2H;
            const double rate = down ? machine_.link_down_bytes_per_s : machine_.link_up_bytes_per_s;
            act(down ? 1 : 0, i, static_cast<double>(i.operands[0].type.bytes()) / rate);
          }
    };
    visit([&](int way, const Instruction& i, double seconds) {
      int runs = 0;
      for (int r = 0; r < p.period; ++r) runs += RunsAt(p, i, r);
      if (i.tile >= 0) wire[way] += seconds * runs / p.period;
    });
    const double both = std::min(wire[0], wire[1]);
    visit([&](int way, const Instruction& i, double seconds) {
      if (i.tile >= 0 && both > 0) seconds *= 1 + both / wire[way] * (1 / machine_.link_duplex - 1);
      EXPECT_NEAR(i.seconds, machine_.copy_latency_s + seconds, 1e-9 * i.seconds) << p.name << " seq " << i.seq;
    });
  }

  // "the plan needs N of device memory, M more than the budget of B; ..." and what it promises holds.
  void JudgeRefusal(const PlanOptions& o, const std::string& why) {
    EXPECT_TRUE(
        std::regex_search(why, std::regex("needs .* of (device|host) memory.* more than the (host )?budget of")))
        << why;
    if (uint64_t least = Promised(why, "smallest budget that works")) {
      ++(*counts_)["least budgets tried"];
      PlanOptions at = o;
      at.budget = least;
      at.host_budget = machine_.host_bytes;
      auto works = CompilePlan(graph_, machine_, at);
      EXPECT_TRUE(works.ok()) << why << "\n -> " << works.status().message();
      at.budget = least - 1;
      EXPECT_FALSE(CompilePlan(graph_, machine_, at).ok()) << why;
    }
    if (uint64_t enough = Promised(why, "--host-budget of")) {
      ++(*counts_)["host budgets tried"];
      PlanOptions at = o;
      at.host_budget = enough;
      auto works = CompilePlan(graph_, machine_, at);
      EXPECT_TRUE(works.ok()) << why << "\n -> " << works.status().message();
    }
  }

  Random r_;
  const Graph graph_;
  const Machine machine_;
  const PlanOptions numerics_;
  std::string fingerprint_;
  std::map<std::string, int>* counts_ = nullptr;
};

TEST(PlanProperty, EveryPlanHoldsAndEveryRefusalIsTrue) {
  std::map<std::string, int> counts;
  const int first = FirstSeed(), rounds = Rounds(300);
  for (int seed = first; seed < first + rounds; ++seed) {
    SCOPED_TRACE("seed " + std::to_string(seed));
    Case(seed).Run(&counts);
    if (::testing::Test::HasFatalFailure()) break;
  }
  std::printf("  %d random cases:", rounds);
  for (const auto& [what, n] : counts) std::printf("  %d %s", n, what.c_str());
  std::printf("\n");
  if (rounds >= 100) {
    EXPECT_GT(counts["plans"], rounds * 2);
    EXPECT_GT(counts["least budgets tried"], rounds / 4);
  }
}

}  // namespace
}  // namespace zo2
