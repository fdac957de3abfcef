#include "frontend/fuse_activation.h"

#include <cmath>

#include "frontend/rewrite.h"

namespace zo2 {
namespace {

// scale * x^x_power * gate^gate_power.
struct Monomial {
  double scale = 1;
  int x_power = 0, gate_power = 0;
};

// Reads `id` as a monomial of the values x and gate (-1: none); false when anything else is in it.
bool Read(const Rewriter& rw, ValueId id, ValueId x, ValueId gate, int depth, Monomial* out) {
  if (id == x) return ++out->x_power, true;
  if (id == gate) return ++out->gate_power, true;
  if (auto c = rw.Scalar(id)) return out->scale *= *c, true;
  const Node* node = depth > 0 ? rw.Producer(id) : nullptr;
  if (node == nullptr) return false;
  auto read = [&](size_t i) { return Read(rw, rw.Input(*node, i), x, gate, depth - 1, out); };
  if (node->op == Op::kMul) return read(0) && read(1);
  if (node->op == Op::kDiv) {
    auto c = rw.Scalar(rw.Input(*node, 1));
    if (!c) return false;
    out->scale /= *c;
    return read(0);
  }
  if (node->op == Op::kPow) {
    auto power = rw.Scalar(rw.Input(*node, 1));
    if (power == 2.0) return read(0) && read(0);
    if (power == 3.0) return read(0) && read(0) && read(0);
  }
  return false;
}

// Constants are compared as the graph's dtype can hold them.
bool Is(const Rewriter& rw, ValueId id, ValueId x, int x_power, ValueId gate, int gate_power, double scale) {
  Monomial m;
  if (!Read(rw, id, x, gate, 6, &m) || m.x_power != x_power || m.gate_power != gate_power) return false;
  bool wide = rw.type(id).dtype == DType::kF32 || rw.type(id).dtype == DType::kF64;
  return std::fabs(m.scale - scale) <= (wide ? 1e-6 : 4e-3) * scale;
}

// y of 1 + y; -1 otherwise.
ValueId OnePlus(const Rewriter& rw, ValueId id) {
  const Node* add = rw.Producer(id, Op::kAdd);
  auto sum = add == nullptr ? std::nullopt : rw.WithScalar(*add);
  return sum && sum->second == 1.0 ? sum->first : -1;
}

const double kInverseSqrt2 = std::sqrt(0.5);
const double kSqrt2OverPi = std::sqrt(2 / 3.14159265358979323846);
constexpr double kCubic = 0.044715;

// All values within `depth` arithmetic steps above `id`.
void Ancestors(const Rewriter& rw, ValueId id, int depth, std::vector<ValueId>* out) {
  if (rw.IsConstant(id)) return;
  out->push_back(id);
  const Node* node = depth > 0 ? rw.Producer(id) : nullptr;
  if (node == nullptr || node->op < Op::kAdd || node->op > Op::kPow) return;
  Ancestors(rw, rw.Input(*node, 0), depth - 1, out);
  Ancestors(rw, rw.Input(*node, 1), depth - 1, out);
}

// id = sqrt(2/pi) (x + 0.044715 x^3) or sqrt(2/pi) x (1 + 0.044715 x^2).
bool IsTanhArgument(const Rewriter& rw, ValueId id, ValueId x) {
  std::vector<ValueId> inside;
  Ancestors(rw, id, 3, &inside);
  for (ValueId sum : inside) {
    const Node* add = rw.Producer(sum, Op::kAdd);
    for (size_t i = 0; add != nullptr && i < 2; ++i) {
      ValueId a = rw.Input(*add, i), b = rw.Input(*add, 1 - i);
      if (a == x && Is(rw, b, x, 3, -1, 0, kCubic) && Is(rw, id, x, 0, sum, 1, kSqrt2OverPi)) return true;
      if (rw.Scalar(a) == 1.0 && Is(rw, b, x, 2, -1, 0, kCubic) && Is(rw, id, x, 1, sum, 1, kSqrt2OverPi))
        return true;
    }
  }
  return false;
}

bool FuseSilu(Rewriter& rw, NodeId n) {
  for (size_t i : {0, 1}) {
    ValueId x = rw.Input(rw.node(n), i);
    const Node* sigmoid = rw.Producer(rw.Input(rw.node(n), 1 - i), Op::kSigmoid);
    if (sigmoid != nullptr && rw.Input(*sigmoid, 0) == x) return rw.Become(n, Op::kSilu, {x});
  }
  return false;
}

// The node is 0.5 * x * gate with gate = 1 + erf(x / sqrt(2)) or 1 + tanh(...).
bool FuseGelu(Rewriter& rw, NodeId n) {
  ValueId root = rw.node(n).outputs[0];
  std::vector<ValueId> gates;
  Ancestors(rw, root, 3, &gates);
  for (ValueId gate : gates) {
    ValueId inside = OnePlus(rw, gate);
    const Node* curve = inside < 0 ? nullptr : rw.Producer(inside);
    if (curve == nullptr || (curve->op != Op::kErf && curve->op != Op::kTanh)) continue;
    bool erf = curve->op == Op::kErf;
    ValueId argument = rw.Input(*curve, 0);
    std::vector<ValueId> candidates;
    Ancestors(rw, argument, erf ? 2 : 5, &candidates);
    for (ValueId x : candidates) {
      if (rw.type(x) != rw.type(root) || !Is(rw, root, x, 1, gate, 1, 0.5)) continue;
      if (erf ? !Is(rw, argument, x, 1, -1, 0, kInverseSqrt2) : !IsTanhArgument(rw, argument, x)) continue;
      return rw.Become(n, Op::kGelu, {x}, {{"tanh", int64_t{erf ? 0 : 1}}});
    }
  }
  return false;
}

}  // namespace

Result<void> FuseActivation(Graph& graph) {
  Rewriter rw(graph);
  for (NodeId n = 0; n < rw.size(); ++n) {
    if (rw.node(n).op == Op::kMul && !FuseSilu(rw, n)) FuseGelu(rw, n);
  }
  return rw.Finish();
}

}  // namespace zo2
