// Runs a pass on a hand-made graph and compares what the graph computes before and after.
#ifndef ZO2_TESTS_UNIT_FRONTEND_PASS_TEST_UTIL_H_
#define ZO2_TESTS_UNIT_FRONTEND_PASS_TEST_UTIL_H_

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <random>
#include <string>
#include <vector>

#include "frontend/evaluate.h"
#include "ir/graph/graph.h"
#include "tests/unit/graph/graph_builder.h"

namespace zo2 {

inline HostTensor RandomTensor(const TensorType& type, std::mt19937* rng) {
  auto n = static_cast<size_t>(type.elements());
  if (type.dtype == DType::kF32) {
    std::vector<float> values(n);
    std::normal_distribution<float> normal;
    for (float& x : values) x = normal(*rng);
    return HostTensor::Of(type.dtype, type.shape, values);
  }
  if (type.dtype == DType::kBool) {
    std::vector<uint8_t> values(n);
    for (uint8_t& x : values) x = (*rng)() & 1;
    return HostTensor::Of(type.dtype, type.shape, values);
  }
  std::vector<int64_t> values(n);
  for (int64_t& x : values) x = static_cast<int64_t>((*rng)() % 5);
  return HostTensor::Of(type.dtype, type.shape, values);
}

using Tensors = std::map<std::string, HostTensor>;

// Outputs of the graph for the inputs given, the others and all weights drawn from a fixed seed by name.
inline std::vector<HostTensor> RunGraph(const Graph& graph, const Tensors& given) {
  Tensors inputs = given, weights;
  auto seed = [](const std::string& name) { return static_cast<uint32_t>(std::hash<std::string>()(name)); };
  for (ValueId id : graph.inputs) {
    const Value& value = graph.value(id);
    std::mt19937 rng(seed(value.name));
    if (!inputs.contains(value.name)) inputs[value.name] = RandomTensor(value.type, &rng);
  }
  for (const Weight& weight : graph.weights) {
    std::mt19937 rng(seed(weight.name));
    weights[weight.name] = RandomTensor({weight.dtype, weight.shape}, &rng);
  }
  auto outputs = EvaluateGraph(graph, "", inputs, weights);
  EXPECT_TRUE(outputs.ok()) << outputs.status().message() << "\n" << PrintGraph(graph);
  return outputs.ok() ? *outputs : std::vector<HostTensor>{};
}

inline void ExpectClose(const std::vector<HostTensor>& a, const std::vector<HostTensor>& b,
                        const std::string& graph) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t i = 0; i < a.size(); ++i) {
    ASSERT_EQ(a[i].type, b[i].type);
    HostTensor x = ToF32(a[i]), y = ToF32(b[i]);
    for (int64_t j = 0; j < x.type.elements(); ++j) {
      float p = x.as<float>()[j], q = y.as<float>()[j];
      if (std::isnan(p) && std::isnan(q)) continue;
      ASSERT_LE(std::fabs(p - q), 1e-5F * (1 + std::fabs(p))) << "output " << i << " element " << j << "\n"
                                                              << graph;
    }
  }
}

// The graph after `pass`; the pass must leave it valid and computing the same.
template <typename Pass>
Graph Apply(const Pass& pass, const Graph& graph, const Tensors& inputs = {}) {
  auto before_valid = VerifyGraph(graph);
  EXPECT_TRUE(before_valid.ok()) << before_valid.status().message();
  auto before = RunGraph(graph, inputs);
  Graph after = graph;
  auto result = pass(after);
  EXPECT_TRUE(result.ok()) << result.status().message();
  auto valid = VerifyGraph(after);
  EXPECT_TRUE(valid.ok()) << valid.status().message();
  ExpectClose(before, RunGraph(after, inputs), PrintGraph(after));
  return after;
}

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_FRONTEND_PASS_TEST_UTIL_H_
