#include "planner/plan.h"

#include <algorithm>
#include <chrono>
#include <nlohmann/json.hpp>

#include "ir/schedule/verify.h"
#include "ir/support/hash.h"
#include "planner/arith.h"
#include "planner/precision.h"
#include "planner/report.h"

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

Result<void> CheckOptions(const PlanOptions& o) {
  if (o.samples < 1 || o.samples > 1024) return Invalid("--q must be 1 to 1024, not ", o.samples);
  if (o.micro_batches < 1 || o.micro_batches > 1024) return Invalid("--micro must be 1 to 1024, not ", o.micro_batches);
  if (o.steps < 1) return Invalid("--steps must be at least 1, not ", o.steps);
  if (o.slots < 0 || o.slots > 4096) return Invalid("--slots must be 1 to 4096, not ", o.slots);
  if (o.writeback_every < 0 || o.writeback_every > kMaxPeriod)
    return Invalid("--writeback-every must be 1 to ", kMaxPeriod, ", not ", o.writeback_every);
  if (o.tile != 0 && o.tile < 256) return Invalid("--tile must be at least 256 bytes, not ", o.tile);
  if (o.strategy != "auto" && MakeStrategy(o.strategy) == nullptr)
    return Invalid("--strategy must be auto, greedy, zo2, stream or resident, not ", o.strategy);
  return {};
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

}  // namespace

std::string NumericsJson(const Graph& g, const Partition& p, const Machine& machine, const PlanOptions& o) {
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
  return json.dump(-1, ' ', false, Json::error_handler_t::replace);  // keys sorted
}

Result<Plan> CompilePlan(const Graph& original, const Machine& machine, const PlanOptions& given) {
  PlanOptions options = given;
  ZO2_TRY(CheckOptions(options));
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
  PlanInput in{&graph, &machine, &options, &partition, &cost, nullptr, nullptr};
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
  if (demand.instructions > kMaxInstructions) return TooManyInstructions(demand.instructions, partition.target);
  auto best = Choose(in, demand, &plan.rivals);
  if (!best.ok() && best.status().code() == Code::kInfeasible && in.train != nullptr && !evaluate.outputs.empty()) {
    // Outputs must not make an infeasible plan of a feasible one.
    ZO2_ASSIGN(evaluate, MakeLayout(graph, partition, machine, options, Purpose::kEvaluate, false));
    graph.notes.push_back("evaluations return losses only: the model's outputs do not fit the device budget");
    plan.rivals.clear();
    best = Choose(in, demand, &plan.rivals);
  }
  if (!best.ok()) return best.status();
  clock.Stage("decide, emit, simulate", &plan.stages);
  plan.bound = LowerBound(in, demand, options.budget);
  clock.Stage("bound", &plan.stages);

  plan.schedule = std::move(best->schedule);
  plan.schedule.numerics = NumericsJson(graph, partition, machine, options);
  plan.schedule.fingerprint = Sha256Hex(plan.schedule.numerics);
  auto verified = Verify(plan.schedule);
  if (!verified.ok())
    return Internal("the planner made a schedule that the verifier rejects (", verified.status().message(),
                    "); please report it");
  clock.Stage("verify", &plan.stages);

  plan.decision = best->candidate.decision;
  plan.causes = best->candidate.causes;
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
