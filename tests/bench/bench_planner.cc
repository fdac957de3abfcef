// Planning time of synthetic graphs of many nodes.
//
//   bench_planner [--calls N ...] [--views N ...] [--rounds R]
//
// A graph of N nodes is a chain of blocks: a linear with a weight of its own, and nodes that have none. With --calls there
// are nine of them, all kernel calls, and a million nodes have more instructions than a schedule may (500,000): they are
// refused. With --views there are 29, all but one reshapes, as exporters write them, which are never called: a million
// nodes have 380,000 instructions. The budget holds a half of the weights. Each graph has a process of its own. Prints
// seconds of each stage, the least of R runs, in all per 100,000 nodes, and the process's peak memory, with the graph.
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <map>
#include <string>
#include <vector>

#include "planner/plan.h"
#include "tests/unit/planner/small_graph.h"

namespace zo2 {
namespace {

constexpr int64_t kWidth = 8;
constexpr int64_t kCallsBlock = 10, kViewsBlock = 30;  // nodes

Graph Chain(int64_t nodes, bool views) {
  GraphBuilder b;
  b.graph.name = "chain";
  b.graph.model_digest = "digest";
  const Shape flat = {2, kWidth}, split = {2, 2, kWidth / 2};
  ValueId x = b.Input("x", DType::kF32, flat), labels = b.Input("labels", DType::kF32, flat);
  const int64_t block = views ? kViewsBlock : kCallsBlock;
  for (int64_t n = 0; n + block < nodes; n += block) {
    const std::string name = "layers." + std::to_string(n / block) + ".weight";
    x = b.One(Op::kLinear, {x, b.Weight(name, {kWidth, kWidth}, WeightRole::kMatrix)});
    for (int64_t i = 0; i < block - 2; ++i) {
      if (views) x = b.One(Op::kReshape, {x}, {{"shape", i % 2 == 0 ? split : flat}});
      else x = b.One(i % 2 == 0 ? Op::kRelu : Op::kTanh, {x});
    }
    x = b.One(Op::kRelu, {x});
  }
  b.Call(Op::kMseLoss, {x, labels});
  b.graph.loss.kind = "mse";
  b.graph.loss.node = static_cast<NodeId>(b.graph.nodes.size() - 1);
  b.graph.loss.labels = labels;
  return b.graph;
}

void Run(int64_t nodes, bool views, int rounds) {
  const Graph graph = Chain(nodes, views);
  PlanOptions o;
  o.tile = 256;
  o.budget = 64 * static_cast<uint64_t>(kWidth * kWidth) + graph.weights.size() * static_cast<uint64_t>(kWidth * kWidth) * 4 / 2;
  double best = 1e9;
  std::string text;
  for (int i = 0; i < rounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    auto plan = CompilePlan(graph, BuiltinMachines()[0], o);
    const double seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - start).count();
    if (seconds >= best) continue;
    best = seconds;
    if (!plan.ok()) {
      text = "refused: " + plan.status().message();
      continue;
    }
    text = std::to_string(plan->schedule.tiles.size()) + " tiles, " + std::to_string(NumInstructions(plan->schedule)) +
           " instructions:";
    for (const StageTime& s : plan->stages) {
      char one[80];
      std::snprintf(one, sizeof one, " %s %.3f", s.stage.c_str(), s.seconds);
      text += one;
    }
  }
  rusage used = {};
  getrusage(RUSAGE_SELF, &used);
  std::printf("%s %8zu nodes  %7.3f s  %.3f s per 100,000  peak %.0f MiB  %s\n", views ? "views" : "calls",
              graph.nodes.size(), best, best / static_cast<double>(graph.nodes.size()) * 1e5,
              static_cast<double>(used.ru_maxrss) / 1024, text.c_str());
}

// In a process of its own: whether it ended well.
bool RunApart(int64_t nodes, bool views, int rounds) {
  const pid_t child = fork();
  if (child == 0) {
    Run(nodes, views, rounds);
    std::exit(0);
  }
  int status = 1;
  return child > 0 && waitpid(child, &status, 0) == child && status == 0;
}

}  // namespace
}  // namespace zo2

int main(int argc, char** argv) {
  int rounds = 3;
  std::map<std::string, std::vector<int64_t>> sizes;
  std::string kind;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) rounds = std::max(1, std::atoi(argv[++i]));
    else if (argv[i][0] == '-') kind = argv[i];
    else sizes[kind].push_back(std::max(31L, std::atol(argv[i])));
  }
  if (sizes.empty()) sizes = {{"--calls", {10000, 100000, 1000000}}, {"--views", {10000, 100000, 1000000}}};
  for (const auto& [name, all] : sizes)
    for (int64_t n : all)
      if (!zo2::RunApart(n, name == "--views", rounds)) return 1;
  return 0;
}
