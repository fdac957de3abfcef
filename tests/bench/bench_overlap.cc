// How well transfers hide behind compute, measured in one process:
//
//   bench_overlap --link up=300MB/s,down=300MB/s [--rounds 6] [--steps 12] RESIDENT.plan STREAMED.plan [OTHER.plan ...]
//
// "compute only" is the resident plan; "transfer only" is the streamed plan without its compute lane; "both" is the
// streamed plan as it is. Rounds of a few steps of each alternate, so that a noisy machine is noisy for all of them. A
// round's figure is the time from the end of its first step to the end of its last; medians over the rounds are printed,
// with the prediction and the bound that each plan carries.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstring>
#include <memory>
#include <nlohmann/json.hpp>
#include <string>
#include <vector>

#include "ir/schedule/schedule_io.h"
#include "runtime/evaluate.h"
#include "runtime/executor.h"
#include "runtime/masters.h"
#include "runtime/plan_run.h"
#include "runtime/weight_source.h"

namespace zo2 {
// Opens schedules that the verifier would reject.
class ExecutorTestPeer {
 public:
  static Result<std::unique_ptr<Executor>> Open(Schedule schedule, Device& device) {
    return Executor::Open(std::move(schedule), device, {});
  }
};

namespace {

double Seconds() {
  return std::chrono::duration<double>(std::chrono::steady_clock::now().time_since_epoch()).count();
}

// The train program's lanes other than compute, and the edges among them.
void DropCompute(Schedule* schedule) {
  std::erase_if(schedule->programs, [](const Program& p) { return p.purpose != Purpose::kTrain; });
  for (Program& program : schedule->programs) {
    for (Lane& lane : program.lanes)
      if (lane.kind == LaneKind::kCompute) lane.instructions.clear();
    std::erase_if(program.edges, [&](const Edge& e) {
      return program.lanes[static_cast<size_t>(e.from_lane)].kind == LaneKind::kCompute ||
             program.lanes[static_cast<size_t>(e.to_lane)].kind == LaneKind::kCompute;
    });
  }
}

struct Case {
  std::string name;
  std::unique_ptr<Device> device;
  std::unique_ptr<Executor> executor;
  double predicted = 0, bound = 0;
  std::vector<double> periods;
};

Status Open(const std::string& name, const std::string& path, const LinkEmulation& link, bool transfers_only, Case* c) {
  c->name = name;
  DeviceOptions options;
  options.link = link;
  ZO2_ASSIGN(c->device, OpenDevice("cpu", options));
  ZO2_ASSIGN(Schedule schedule, ReadSchedule(path));
  const auto report = nlohmann::json::parse(schedule.report, nullptr, false);
  if (report.is_object() && !transfers_only) {
    c->predicted = report["time"].value("period", 0.0);
    c->bound = report["bound"].value("seconds", 0.0);
  }
  if (transfers_only) DropCompute(&schedule);
  ZO2_ASSIGN(c->executor, ExecutorTestPeer::Open(std::move(schedule), *c->device));
  ZO2_ASSIGN(const WeightSource source, WeightSource::Open(c->executor->schedule(), ""));
  return c->executor->Initialize(AtenKernels(), RunParameters{.seed = 1}, 0,
                                 [&](Executor& executor) { return LoadMasters(source.reader(), executor); });
}

Status Round(Case* c, int64_t steps) {
  Executor& executor = *c->executor;
  const Program& program = *executor.schedule().Find(Purpose::kTrain);
  ZO2_TRY(executor.Start(Purpose::kTrain));
  const int64_t first = executor.first();
  double begin = 0;
  int64_t done = first;
  const auto collect = [&]() -> Status {
    ZO2_TRY(executor.Wait(done));
    if (done++ == first) begin = Seconds();
    return Status();
  };
  for (int64_t step = first; step < first + steps; ++step) {
    if (step - done >= executor.depth()) ZO2_TRY(collect());
    FillInputs(executor, program, step);
    const StepControl control{static_cast<uint64_t>(step), 1e-7};
    std::memcpy(executor.Host(program.control_staging, step), &control, sizeof control);
    executor.Submit();
  }
  while (done < first + steps) ZO2_TRY(collect());
  c->periods.push_back((Seconds() - begin) / static_cast<double>(steps - 1));
  return executor.Drain();
}

double Quantile(std::vector<double> x, double q) {
  std::sort(x.begin(), x.end());
  return x[static_cast<size_t>(q * static_cast<double>(x.size() - 1) + 0.5)];
}

Status Run(int argc, char** argv) {
  LinkEmulation link;
  int64_t rounds = 6, steps = 12;
  std::vector<std::string> plans;
  for (int i = 1; i < argc; ++i) {
    const std::string flag = argv[i];
    if (flag.starts_with("--") && i + 1 == argc) return Invalid(flag, " needs a value");
    if (flag == "--link") {
      ZO2_ASSIGN(link, ParseLinkEmulation(argv[++i]));
    } else if (flag == "--rounds") {
      rounds = std::atoll(argv[++i]);
    } else if (flag == "--steps") {
      steps = std::atoll(argv[++i]);
    } else {
      plans.push_back(flag);
    }
  }
  if (plans.size() < 2 || rounds < 1 || steps < 3)
    return Invalid("usage: bench_overlap --link up=300MB/s,down=300MB/s [--rounds 6] [--steps 12] RESIDENT.plan STREAMED.plan [OTHER.plan ...]");
  std::vector<Case> cases(plans.size() + 1);
  ZO2_TRY(Open("compute only", plans[0], LinkEmulation(), false, &cases[0]));
  ZO2_TRY(Open("transfer only", plans[1], link, true, &cases[1]));
  for (size_t i = 1; i < plans.size(); ++i)
    ZO2_TRY(Open(i == 1 ? "both" : plans[i], plans[i], link, false, &cases[i + 1]));
  for (Case& c : cases) {  // first touch, library caches
    ZO2_TRY(Round(&c, 3));
    c.periods.clear();
  }
  for (int64_t round = 0; round < rounds; ++round)
    for (Case& c : cases) ZO2_TRY(Round(&c, steps));
  std::printf("%-16s %10s %10s %10s %10s %10s\n", "", "median s", "p10", "p90", "predicted", "bound");
  for (const Case& c : cases)
    std::printf("%-16s %10.4f %10.4f %10.4f %10.4f %10.4f\n", c.name.c_str(), Quantile(c.periods, 0.5),
                Quantile(c.periods, 0.1), Quantile(c.periods, 0.9), c.predicted, c.bound);
  const double compute = Quantile(cases[0].periods, 0.5), transfer = Quantile(cases[1].periods, 0.5);
  const double larger = std::max(compute, transfer);
  for (size_t i = 2; i < cases.size(); ++i) {
    std::vector<double> ratio, paired;
    for (size_t r = 0; r < cases[i].periods.size(); ++r)
      paired.push_back(cases[i].periods[r] / std::max(cases[0].periods[r], cases[1].periods[r]));
    std::printf("%s: %.3f x the larger of compute and transfer (paired median %.3f), %.3f x their sum, %.3f x the bound, %.3f x the prediction\n",
                cases[i].name.c_str(), Quantile(cases[i].periods, 0.5) / larger, Quantile(paired, 0.5),
                Quantile(cases[i].periods, 0.5) / (compute + transfer), Quantile(cases[i].periods, 0.5) / cases[2].bound,
                Quantile(cases[i].periods, 0.5) / cases[i].predicted);
  }
  return Status();
}

}  // namespace
}  // namespace zo2

int main(int argc, char** argv) {
  const zo2::Status status = zo2::Run(argc, argv);
  if (!status.ok()) std::fprintf(stderr, "bench_overlap: %s\n", status.message().c_str());
  return static_cast<int>(status.code());
}
