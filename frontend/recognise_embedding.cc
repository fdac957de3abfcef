#include "frontend/recognise_embedding.h"

#include <cstring>

#include "frontend/rewrite.h"

namespace zo2 {
namespace {

bool IsTable(const Rewriter& rw, ValueId id) { return rw.IsWeight(id) && rw.shape(id).size() == 2; }

// Constant ids as embedding wants them: from 0. -1 when one is out of range.
ValueId Normalised(Rewriter& rw, ValueId ids, int64_t rows) {
  if (!rw.IsConstant(ids)) return ids;
  auto numbers = rw.Numbers(ids);
  if (!numbers) return -1;
  bool negative = false;
  for (double id : *numbers) {
    if (id < static_cast<double>(-rows) || id >= static_cast<double>(rows)) return -1;
    negative = negative || id < 0;
  }
  if (!negative) return ids;
  std::vector<std::byte> data(numbers->size() * sizeof(int64_t));
  for (size_t i = 0; i < numbers->size(); ++i) {
    auto id = static_cast<int64_t>((*numbers)[i]);
    if (id < 0) id += rows;
    std::memcpy(data.data() + i * sizeof id, &id, sizeof id);
  }
  return rw.Constant(rw.type(ids), std::move(data), rw.graph().value(ids).name);
}

void FromGather(Rewriter& rw, NodeId n) {
  const Node& node = rw.node(n);
  ValueId table = rw.Input(node, 0);
  if (!IsTable(rw, table) || AttrInt(node.attrs, "axis", 0) != 0) return;
  ValueId ids = Normalised(rw, rw.Input(node, 1), rw.shape(table)[0]);
  if (ids >= 0 && !rw.IsWeight(ids)) rw.Become(n, Op::kEmbedding, {ids, table});
}

// Rows begin, begin + step, ... of a table.
void FromSlice(Rewriter& rw, NodeId n) {
  const Node& node = rw.node(n);
  ValueId table = rw.Input(node, 0);
  if (!IsTable(rw, table) || AttrInts(node.attrs, "axes") != std::vector<int64_t>{0}) return;
  int64_t begin = AttrInts(node.attrs, "starts")[0], rows = rw.shape(node.outputs[0])[0];
  auto steps = AttrInts(node.attrs, "steps");
  int64_t step = steps.empty() ? 1 : steps[0];
  std::vector<std::byte> data(static_cast<size_t>(rows) * sizeof(int64_t));
  for (int64_t i = 0; i < rows; ++i) {
    int64_t id = begin + i * step;
    std::memcpy(data.data() + static_cast<size_t>(i) * sizeof id, &id, sizeof id);
  }
  ValueId ids = rw.Constant({DType::kI64, {rows}}, std::move(data), node.name + "/rows");
  rw.Become(n, Op::kEmbedding, {ids, table});
}

}  // namespace

Result<void> RecogniseEmbedding(Graph& graph) {
  Rewriter rw(graph);
  for (NodeId n = 0; n < rw.size(); ++n) {
    if (rw.node(n).op == Op::kGather) FromGather(rw, n);
    if (rw.node(n).op == Op::kSlice) FromSlice(rw, n);
  }
  return rw.Finish();
}

}  // namespace zo2
