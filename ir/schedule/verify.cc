#include "ir/schedule/verify.h"

#include "ir/schedule/verify_internal.h"

namespace zo2 {

Result<VerifyStats> Verify(const Schedule& schedule) {
  using namespace internal;  // NOLINT: the verifier's parts
  VerifyStats stats;
  GraphFacts graph;
  ZO2_TRY(VerifyTables(schedule, &graph));
  std::vector<ProgramFacts> programs(schedule.programs.size());
  for (size_t i = 0; i < programs.size(); ++i) {
    ProgramFacts& facts = programs[i];
    facts.schedule = &schedule;
    facts.program = &schedule.programs[i];
    facts.graph = &graph;
    facts.train = schedule.Find(Purpose::kTrain);
    for (size_t j = 0; j < i; ++j)
      if (schedule.programs[j].purpose == facts.program->purpose)
        return Rejected("two programs ", Name(facts.program->purpose), "; at most one per purpose");
    ZO2_TRY(VerifyProgram(&facts));
  }
  ZO2_TRY(VerifyMemory(schedule, programs, &stats));
  for (ProgramFacts& facts : programs) ZO2_TRY(VerifyMeaning(&facts));
  ZO2_TRY(VerifyUpdates(schedule, programs));
  for (const ProgramFacts& facts : programs) ZO2_TRY(VerifyOrder(facts, &stats));
  return stats;
}

}  // namespace zo2
