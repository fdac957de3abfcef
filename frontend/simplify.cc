#include "frontend/simplify.h"

#include <algorithm>
#include <cstring>
#include <map>
#include <tuple>

#include "frontend/rewrite.h"
#include "ir/support/crc32.h"

namespace zo2 {
namespace {

// Ids whose linear index into the gathered axes is `linear[p]` at position p of `positions`. When the index
// does not change along some axes and enumerates 0, 1, 2, ... over the others, returns the shape with those
// axes set to 1.
std::optional<Shape> Enumerates(const std::vector<int64_t>& linear, const Shape& positions, int64_t count) {
  Shape reduced = positions;
  int64_t inner = 1;
  for (size_t axis = positions.size(); axis-- > 0;) {
    const int64_t d = positions[axis], block = inner * d;
    bool constant = d > 1;
    for (int64_t i = 0; constant && i < static_cast<int64_t>(linear.size()); ++i) {
      constant = linear[static_cast<size_t>(i)] == linear[static_cast<size_t>(i / block * block + i % inner)];
    }
    if (constant) reduced[axis] = 1;
    inner = block;
  }
  if (NumElements(reduced) != count) return std::nullopt;
  for (int64_t p = 0; p < static_cast<int64_t>(linear.size()); ++p) {
    int64_t rest = p, index = 0, stride = 1;
    for (size_t axis = positions.size(); axis-- > 0;) {
      if (reduced[axis] == positions[axis]) {
        index += rest % positions[axis] * stride;
        stride *= positions[axis];
      }
      rest /= positions[axis];
    }
    if (linear[static_cast<size_t>(p)] != index) return std::nullopt;
  }
  return reduced;
}

// gather / gather_nd by constant ids that enumerate the leading axes of x -> reshape (and expand).
bool GatherToReshape(Rewriter& rw, NodeId n) {
  const Node& node = rw.node(n);
  ValueId x = rw.Input(node, 0), ids = rw.Input(node, 1);
  auto numbers = rw.Numbers(ids, int64_t{1} << 24);
  if (!numbers || numbers->empty() || rw.IsWeight(x)) return false;
  Shape positions = rw.shape(ids), from = rw.shape(x);
  size_t axes = 1;
  if (node.op == Op::kGatherNd) {
    axes = static_cast<size_t>(positions.back());
    positions.pop_back();
    if (AttrInt(node.attrs, "batch_dims", 0) != 0 || axes == 0) return false;
  } else if (AttrInt(node.attrs, "axis", 0) != 0) {
    return false;
  }
  std::vector<int64_t> linear(numbers->size() / axes);
  for (size_t p = 0; p < linear.size(); ++p) {
    for (size_t a = 0; a < axes; ++a) {
      auto id = static_cast<int64_t>((*numbers)[p * axes + a]);
      if (id < 0) id += from[a];
      linear[p] = linear[p] * from[a] + id;
    }
  }
  int64_t count = NumElements(std::span(from).first(axes));
  auto reduced = Enumerates(linear, positions, count);
  if (!reduced) return false;
  Shape to = *reduced, full = positions;
  to.insert(to.end(), from.begin() + static_cast<int64_t>(axes), from.end());
  full.insert(full.end(), from.begin() + static_cast<int64_t>(axes), from.end());
  if (to == full) return rw.Become(n, Op::kReshape, {x}, {{"shape", to}});
  return rw.Become(n, Op::kExpand, {rw.Reshape(n, x, to)}, {{"shape", full}});
}

// The operand that the node gives unchanged or, when the node broadcasts, expanded; -1 when there is none.
ValueId Identity(Rewriter& rw, const Node& node) {
  switch (node.op) {
    case Op::kReshape:
    case Op::kCast:
    case Op::kExpand:
      return rw.Input(node, 0);  // Forward refuses unless the types are equal
    case Op::kTranspose: {
      auto perm = AttrInts(node.attrs, "perm");
      return std::is_sorted(perm.begin(), perm.end()) ? rw.Input(node, 0) : -1;
    }
    case Op::kSlice: {
      auto steps = AttrInts(node.attrs, "steps");
      return std::all_of(steps.begin(), steps.end(), [](int64_t s) { return s > 0; }) ? rw.Input(node, 0)
                                                                                      : -1;
    }
    case Op::kAdd:
    case Op::kMul:
    case Op::kAnd:
    case Op::kOr: {
      auto rest = rw.WithScalar(node);
      double neutral = node.op == Op::kMul || node.op == Op::kAnd ? 1 : 0;
      bool logic = node.op == Op::kAnd || node.op == Op::kOr;
      if (!rest || rest->second != neutral || (logic && rw.type(rest->first).dtype != DType::kBool))
        return -1;
      return rest->first;
    }
    case Op::kSub:
    case Op::kDiv: {
      auto c = rw.Scalar(rw.Input(node, 1));
      return c && *c == (node.op == Op::kDiv ? 1 : 0) ? rw.Input(node, 0) : -1;
    }
    case Op::kWhere: {
      auto c = rw.Scalar(rw.Input(node, 0));
      return c ? rw.Input(node, *c != 0 ? 1 : 2) : -1;
    }
    default:
      return -1;
  }
}

// Equal constants become one value, so that equal expressions over them are seen to be equal.
void MergeConstants(Graph& graph) {
  std::map<std::tuple<DType, Shape, uint32_t>, std::vector<ValueId>> seen;
  std::vector<ValueId> same(graph.values.size());
  for (size_t i = 0; i < same.size(); ++i) {
    same[i] = static_cast<ValueId>(i);
    const Value& value = graph.values[i];
    if (value.kind != ValueKind::kConstant || value.data == nullptr) continue;
    auto& group = seen[{value.type.dtype, value.type.shape, Crc32(std::span(*value.data))}];
    auto equal = [&](ValueId other) { return *graph.value(other).data == *value.data; };
    auto it = std::find_if(group.begin(), group.end(), equal);
    if (it == group.end()) {
      group.push_back(same[i]);
    } else {
      same[i] = *it;
    }
  }
  for (Node& node : graph.nodes) {
    for (ValueId& id : node.inputs) {
      if (id >= 0) id = same[static_cast<size_t>(id)];
    }
  }
}

}  // namespace

Result<void> Simplify(Graph& graph) {
  MergeConstants(graph);
  Rewriter rw(graph);
  std::map<std::tuple<Op, std::vector<ValueId>, Attrs>, NodeId> seen;
  for (NodeId n = 0; n < rw.size(); ++n) {
    const Node& node = rw.node(n);
    std::vector<ValueId> inputs;
    for (size_t i = 0; i < node.inputs.size(); ++i) inputs.push_back(rw.Input(node, i));
    if (auto [it, added] = seen.emplace(std::tuple(node.op, inputs, node.attrs), n); !added) {
      bool all = true;
      for (size_t i = 0; i < node.outputs.size(); ++i) {
        all = rw.Forward(node.outputs[i], rw.node(it->second).outputs[i]) && all;
      }
      if (all) continue;
    }
    if (node.op == Op::kGather || node.op == Op::kGatherNd) GatherToReshape(rw, n);
    if (ValueId same = Identity(rw, node); same >= 0) {
      if (rw.Forward(node.outputs[0], same)) continue;
      bool broadcasts = node.op != Op::kReshape && node.op != Op::kCast && node.op != Op::kTranspose;
      if (broadcasts && !rw.IsOutput(node.outputs[0])) {
        rw.Become(n, Op::kExpand, {same}, {{"shape", rw.shape(node.outputs[0])}});
      }
    }
    if (node.op == Op::kReshape) {
      if (const Node* inner = rw.Producer(rw.Input(node, 0), Op::kReshape)) {
        ValueId source = rw.Input(*inner, 0);
        rw.Become(n, Op::kReshape, {source}, Attrs(node.attrs));
        rw.Forward(node.outputs[0], source);
      }
    } else if (node.op == Op::kTranspose) {
      if (const Node* inner = rw.Producer(rw.Input(node, 0), Op::kTranspose)) {
        auto outer_perm = AttrInts(node.attrs, "perm"), perm = AttrInts(inner->attrs, "perm");
        ValueId source = rw.Input(*inner, 0);
        std::vector<int64_t> both;
        for (int64_t axis : outer_perm) both.push_back(perm[static_cast<size_t>(axis)]);
        bool sorted = std::is_sorted(both.begin(), both.end());
        if (sorted && rw.Forward(node.outputs[0], source)) continue;
        rw.Become(n, Op::kTranspose, {source}, {{"perm", both}});
      }
    }
  }
  return rw.Finish();
}

}  // namespace zo2
