#include "planner/plan.h"

#include <algorithm>
#include <chrono>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "ir/schedule/verify.h"
#include "ir/support/hash.h"
#include "planner/arith.h"
#include "planner/heuristics.h"
#include "planner/precision.h"
#include "planner/report.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

class Clock {
 public:
  void Stage(const char* name, std::vector<StageTime>* stages) {
    auto now = std::chrono::steady_clock::now();
    stages->push_back({name, std::chrono::duration<double>(now - last_).count()});
    last_ = now;
  }

 private:
  std::chrono::steady_clock::time_point last_ = std::chrono::steady_clock::now();
};

std::chrono::steady_clock::time_point After(std::chrono::steady_clock::time_point now, double seconds) {
  constexpr double kLongest = 1e9;  // about thirty years
  return now + std::chrono::duration_cast<std::chrono::steady_clock::duration>(
                   std::chrono::duration<double>(std::min(seconds, kLongest)));
}

Result<void> CheckOptions(const PlanOptions& o) {
  if (o.samples < 1 || o.samples > 1024) return Invalid("--q must be 1 to 1024, not ", o.samples);
  if (o.micro_batches < 1 || o.micro_batches > 1024) return Invalid("--micro must be 1 to 1024, not ", o.micro_batches);
  if (o.steps < 1) return Invalid("--steps must be at least 1, not ", o.steps);
  if (o.slots < 0 || o.slots > 4096) return Invalid("--slots must be 1 to 4096, not ", o.slots);
  if (o.writeback_every < 0 || o.writeback_every > kMaxPeriod)
    return Invalid("--writeback-every must be 1 to ", kMaxPeriod, ", not ", o.writeback_every);
  if (o.tile != 0 && o.tile < 256) return Invalid("--tile must be at least 256 bytes, not ", o.tile);
  if (o.refresh_every != 0 && (o.refresh_every < 2 || o.refresh_every > kMaxPeriod))
    return Invalid("--refresh-every must be 2 to ", kMaxPeriod, ", not ", o.refresh_every);
  if (o.refresh_every > 0 && o.wire_update == WireUpdate::kHost)
    return Invalid("--refresh-every is for --wire-update refresh, not host");
  if (o.refresh_every > 0 && o.writeback_every > 0 && o.writeback_every != o.refresh_every)
    return Invalid("--refresh-every ", o.refresh_every, " and --writeback-every ", o.writeback_every,
                   " are one number in a plan; give one of them");
  if (o.wire_update == WireUpdate::kRefresh && o.writeback_every == 1)
    return Invalid("--wire-update refresh with --writeback-every 1 would never send codes; use at least 2");
  if (o.max_wire_error && !(*o.max_wire_error >= 0))
    return Invalid("--max-wire-error must be a number from 0 on");
  if (!(o.time_limit > 0) || !std::isfinite(o.time_limit))
    return Invalid("--time-limit must be a number of seconds, more than 0, not ", o.time_limit);
  if (!(o.gap >= 0) || !std::isfinite(o.gap)) return Invalid("--gap must be a percentage from 0 on");
  if (o.strategy == "z3" && MakeStrategy("z3") == nullptr)
    return Invalid("--strategy z3: this zo2-plan was built without Z3; use auto or greedy, or build it with -DZO2_Z3=ON");
  if (o.strategy != "auto" && MakeStrategy(o.strategy) == nullptr)
    return Invalid("--strategy must be auto, greedy, z3, exhaustive, zo2, stream or resident, not ", o.strategy);
  return CheckWithout(o);
}

double TokensPerStep(const Graph& g, const PlanOptions& o) {
  for (ValueId in : g.inputs) {
    const TensorType& t = g.value(in).type;
    if (t.shape.empty()) continue;
    double rows = static_cast<double>(t.shape[0]) * o.micro_batches;
    return t.shape.size() == 2 && t.dtype == DType::kI64 ? rows * static_cast<double>(t.shape[1]) : rows;
  }
  return 0;
}

void CountTraffic(const Program& p, Plan* plan) {
  double up = 0, down = 0;
  for (const Lane& lane : p.lanes) {
    for (const Instruction& i : lane.instructions) {
      if (i.kind != InstrKind::kCopy || i.tile < 0) continue;
      double share = 0;
      for (int r = 0; r < p.period; ++r) share += RunsAt(p, i, r) ? 1.0 / p.period : 0;
      (lane.kind == LaneKind::kH2D ? up : down) += share * static_cast<double>(i.operands[0].type.bytes());
    }
  }
  plan->up_bytes = static_cast<uint64_t>(up);
  plan->down_bytes = static_cast<uint64_t>(down);
}

bool StreamsCodedTrained(const Schedule& s) {
  return std::any_of(s.tiles.begin(), s.tiles.end(), [](const auto& t) { return t.trainable && t.codes >= 0; });
}

// The best plan; of the two ways to keep the exact masters of coded trained tiles where nothing says which. Then
// *options and *demand become those of the way that was taken.
Result<Chosen> ChooseUpdate(PlanInput in, PlanOptions* options, Demand* demand, std::vector<Rival>* rivals) {
  if (options->wire_update == WireUpdate::kAuto && options->refresh_every > 0)
    *options = WithUpdate(*options, WireUpdate::kRefresh);
  else
    *options = WithUpdate(*options, options->wire_update);
  in.options = options;
  const bool open = in.train != nullptr && AnyCodedTrained(*in.partition);
  if (!open || options->wire_update != WireUpdate::kAuto || options->writeback_every == 1) {
    if (options->wire_update == WireUpdate::kAuto) options->wire_update = WireUpdate::kHost;
    *demand = MeasureDemand(in);
    return Choose(in, *demand, rivals);
  }
  const char* names[] = {"host", "refresh"};
  PlanOptions way[2] = {WithUpdate(*options, WireUpdate::kHost), WithUpdate(*options, WireUpdate::kRefresh)};
  std::optional<Result<Chosen>> best[2];
  Demand demands[2];
  std::vector<Rival> lists[2];
  const auto deadline = in.deadline, now = std::chrono::steady_clock::now();
  for (int i : {0, 1}) {
    in.deadline = i == 0 ? now + (deadline - now) / 2 : deadline;
    in.options = &way[i];
    demands[i] = MeasureDemand(in);
    best[i] = Choose(in, demands[i], &lists[i]);
  }
  const bool ok[2] = {best[0]->ok(), best[1]->ok()};
  const int taken = !ok[1] || (ok[0] && (*best[0])->simulation.period <= (*best[1])->simulation.period) ? 0 : 1;
  const int other = 1 - taken;
  *options = way[taken];
  *demand = std::move(demands[taken]);
  *rivals = std::move(lists[taken]);
  if (!ok[taken]) return std::move(*best[taken]);
  Chosen& winner = **best[taken];
  // No plan of either way is faster than the lower of the two bounds.
  if (ok[other]) {
    Chosen& rival = **best[other];
    winner.out_of_time = winner.out_of_time || rival.out_of_time;
    if (rival.bound.seconds < winner.bound.seconds) {
      winner.bound = rival.bound;
      winner.bound_of = rival.bound_of;
    }
    winner.out_of_time = winner.out_of_time && winner.simulation.period > NearEnough(*options, winner.bound);
  }
  // Where no plan has such a tile there was nothing to choose.
  if (!StreamsCodedTrained(winner.schedule) && !(ok[other] && StreamsCodedTrained((*best[other])->schedule)))
    return std::move(*best[taken]);
  std::string why = "wire update: " + std::string(names[taken]) + ", with " +
                    FormatSeconds(winner.simulation.period) + " predicted; " + names[other];
  if (ok[other]) {
    const Chosen& rival = **best[other];
    std::string every;
    if (other == 1) every = " every " + std::to_string(rival.candidate.decision.writeback_every) + " steps";
    why += every + " would take " + FormatSeconds(rival.simulation.period);
    rivals->push_back({std::string("wire update ") + names[other], true, rival.simulation.period,
                       rival.schedule.arenas[0].bytes, ""});
  } else {
    why += " does not fit";
    rivals->push_back({std::string("wire update ") + names[other], false, 0, 0, best[other]->status().message()});
  }
  winner.candidate.causes.push_back(why);
  return std::move(*best[taken]);
}

// Of the tiles that cross the link in wire form: what decides bits beside the formats. Empty where none does.
void AddWire(const Schedule& s, nlohmann::json* json) {
  const Program* train = s.Find(Purpose::kTrain);
  std::string refreshed;  // which, at which residues
  bool any = false, trained = false, refresh = false;
  for (const PlanWeight& w : s.weights) any = any || w.components[0].wire != PlainWire(w.components[0].storage);
  if (!any) return;
  std::vector<uint64_t> due(s.tiles.size(), 0);
  if (train != nullptr) {
    for (const Lane& lane : train->lanes) {
      for (const Instruction& i : lane.instructions) {
        if (i.kind == InstrKind::kHostUpdate) due[Ix(i.tile)] = i.residues;
        refresh = refresh || (i.kind == InstrKind::kPrepare && i.operands[1].buffer >= 0 && s.tiles[Ix(i.tile)].codes >= 0);
      }
    }
  }
  for (size_t t = 0; t < s.tiles.size(); ++t) {
    if (s.tiles[t].codes < 0 || !s.tiles[t].trainable) continue;
    trained = true;
    refreshed += std::to_string(t) + (refresh ? ":" + std::to_string(due[t]) : "") + ",";
  }
  (*json)["wire"] = {{"encoding", "groups of 128"},
                     {"update", !trained ? "none" : refresh ? "refresh" : "host"},
                     {"refresh_every", refresh ? train->period : 0},
                     {"trained_tiles_sha256", trained ? Sha256Hex(refreshed) : ""}};
}

}  // namespace

std::string NumericsJson(const Graph& g, const Partition& p, const Machine& machine, const PlanOptions& o,
                         const Schedule& s) {
  using Json = nlohmann::json;
  Json weights = Json::array();
  for (const PlanWeight& w : p.weights) {
    const Component& c = w.components[0];
    weights.push_back({w.name, Name(c.storage), Name(c.wire), Name(c.compute), c.tensor_id, w.trainable, w.decay,
                       w.eps_mul, w.lr_mul});
  }
  std::string tiles, nodes;
  for (const Tile& t : p.tiles) {
    for (const Segment& s : t.segments) {
      for (int64_t x :
           {int64_t{s.weight}, s.row_begin, s.row_end, s.col_begin, s.col_end, static_cast<int64_t>(s.branch_offset)})
        tiles += std::to_string(x) + ",";
    }
    tiles += ";";
  }
  for (const Node& n : g.nodes) {
    nodes += std::string(Name(n.op)) + "(";
    for (ValueId in : n.inputs) nodes += in < 0 ? "-," : std::to_string(in) + ",";
    nodes += ")";
    for (const auto& [name, attr] : n.attrs) {
      nodes += name + "=";
      std::visit([&](const auto& v) { nodes += Json(v).dump(); }, attr);
    }
    for (ValueId out : n.outputs) {
      nodes += std::string(Name(g.value(out).type.dtype)) + Json(g.value(out).type.shape).dump();
    }
    nodes += ";";
  }
  Json inputs = Json::array();
  for (ValueId in : g.inputs)
    inputs.push_back({g.value(in).name, Name(g.value(in).type.dtype), g.value(in).type.shape});
  Json json = {{"noise", o.rademacher ? "zo-noise v1 rademacher" : "zo-noise v1 gaussian"},
               {"model", g.model_digest},
               {"graph_sha256", Sha256Hex(nodes)},
               {"inputs", inputs},
               {"loss", g.loss.kind},
               {"weights", weights},
               {"tiles_sha256", Sha256Hex(tiles)},
               {"tile_target", p.target},
               {"rounding", o.rounding == Rounding::kStochastic ? "stochastic" : "nearest"},
               {"samples", o.samples},
               {"micro_batches", o.micro_batches},
               {"joint_branches", 0},
               {"compute_threads", machine.compute_threads},
               {"device", machine.cuda ? "cuda" : "cpu"},
               {"alignment", machine.alignment()}};
  AddWire(s, &json);
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);  // keys sorted
}

Result<Plan> CompilePlan(const Graph& original, const Machine& machine, const PlanOptions& given,
                         std::string* infeasible) {
  PlanOptions options = given;
  ZO2_TRY(CheckOptions(options));
  const auto deadline =
      After(std::chrono::steady_clock::now(), std::max(0.0, options.time_limit - options.time_spent));
  if (options.budget == 0) options.budget = machine.device_bytes;
  if (options.host_budget == 0) options.host_budget = machine.host_bytes;
  Plan plan;
  Clock clock;

  ZO2_ASSIGN(Graph graph, ApplyPrecision(original, machine, options));
  if (graph.loss.node < 0) {  // nothing trains, so no update is ever pending
    for (Weight& w : graph.weights) w.trainable = false;
  }
  ZO2_ASSIGN(Partition partition, MakePartition(graph, machine, options));
  clock.Stage("partition", &plan.stages);

  CostModel cost(graph, machine, options.samples);
  PlanInput in{&graph, &machine, &options, &partition, &cost};
  in.deadline = deadline;
  std::vector<Shortage> shortages;
  in.shortages = &shortages;
  auto refuse = [&](const Status& why) {
    if (infeasible != nullptr && why.code() == Code::kInfeasible) {
      auto it = std::find_if(shortages.rbegin(), shortages.rend(), [&](const Shortage& s) { return s.why == why.message(); });
      *infeasible = InfeasibleJson(why.message(), it == shortages.rend() ? nullptr : &*it, graph, partition, plan.rivals,
                                   machine, options);
    }
    return why;
  };
  Layout train, evaluate;
  if (graph.loss.node < 0 && graph.outputs.empty())
    return Invalid("model ", graph.name, " has neither a loss nor an output: nothing to plan");
  if (graph.loss.node >= 0) {
    ZO2_ASSIGN(train, MakeLayout(graph, partition, machine, options, Purpose::kTrain, false));
    in.train = &train;
  }
  ZO2_ASSIGN(evaluate, MakeLayout(graph, partition, machine, options, Purpose::kEvaluate, true));
  in.evaluate = &evaluate;
  clock.Stage("layout", &plan.stages);

  Demand demand = MeasureDemand(in);
  if (demand.instructions > kMaxInstructions)
    return refuse(TooManyInstructions(demand.instructions, partition.target));
  const PlanOptions asked = options;
  auto best = ChooseUpdate(in, &options, &demand, &plan.rivals);
  if (!best.ok() && best.status().code() == Code::kInfeasible && in.train != nullptr && !evaluate.outputs.empty()) {
    // Outputs must not make an infeasible plan of a feasible one.
    ZO2_ASSIGN(evaluate, MakeLayout(graph, partition, machine, options, Purpose::kEvaluate, false));
    graph.notes.push_back("evaluations return losses only: the model's outputs do not fit the device budget");
    plan.rivals.clear();
    options = asked;
    best = ChooseUpdate(in, &options, &demand, &plan.rivals);
  }
  if (!best.ok()) return refuse(best.status());
  clock.Stage("decide, emit, simulate", &plan.stages);
  plan.bound = best->bound;
  plan.exact = best->exact;
  plan.out_of_time = best->out_of_time;
  in.deadline = SearchEnd(deadline, best->slowest);
  if (options.prices && best->bound_of == options.wire_update) {
    plan.prices = PriceResources(in, demand, plan.bound);
  } else if (options.prices) {
    PlanOptions way = options;
    way.wire_update = best->bound_of;
    PlanInput priced = in;
    priced.options = &way;
    plan.prices = PriceResources(priced, MeasureDemand(priced), plan.bound);
  }
  clock.Stage("shadow prices", &plan.stages);

  plan.schedule = std::move(best->schedule);
  plan.schedule.numerics = NumericsJson(graph, partition, machine, options, plan.schedule);
  plan.schedule.fingerprint = Sha256Hex(plan.schedule.numerics);
  auto verified = Verify(plan.schedule);
  if (!verified.ok())
    return Internal("the planner made a schedule that the verifier rejects (", verified.status().message(),
                    "); please report it");
  clock.Stage("verify", &plan.stages);

  plan.decision = best->candidate.decision;
  plan.causes = best->candidate.causes;
  for (std::string& cause : ExplainWire(in, plan.decision, plan.schedule)) plan.causes.push_back(std::move(cause));
  plan.simulation = std::move(best->simulation);
  plan.memory = MeasureMemory(in, plan.decision);
  const Layout& larger = in.train != nullptr && train.bytes >= evaluate.bytes ? train : evaluate;
  plan.temporaries = larger.peak;
  plan.partition_target = partition.target;
  plan.tile_classes = partition.classes;
  const Layout& main = in.train != nullptr ? train : evaluate;
  const int passes = in.train != nullptr ? options.samples * options.micro_batches : 1;
  for (NodeId n : main.calls) {
    int branches = main.variant[Ix(graph.nodes[Ix(n)].outputs[0])] ? main.branches : 1;
    plan.flops_per_step += passes * branches * cost.Flops(n);
  }
  plan.tokens_per_step = TokensPerStep(graph, options);
  CountTraffic(*plan.schedule.Find(main.purpose), &plan);
  plan.schedule.report = ReportJson(plan, machine, options);
  return plan;
}

}  // namespace zo2
