#include "planner/cost.h"

#include <algorithm>

#include "ir/schedule/prepare_signature.h"

namespace zo2 {
namespace {

// Ops whose arithmetic, not their traffic, takes the time.
bool IsTranscendental(Op op) {
  switch (op) {
    case Op::kGelu: case Op::kSilu: case Op::kPow: case Op::kExp: case Op::kLog: case Op::kTanh: case Op::kErf:
    case Op::kSigmoid: case Op::kSin: case Op::kCos: case Op::kSoftmax: case Op::kLogSoftmax: case Op::kTokenLoss:
    case Op::kClassifyLoss:
      return true;
    default:
      return false;
  }
}

// Arithmetic of decoding a value, in normals drawn.
double DecodeNormals(const Component& c) {
  if (c.wire == PlainWire(c.storage)) return 0;
  switch (c.wire) {
    case WireFormat::kE4M3:
      return 0.15;
    case WireFormat::kI8:
    case WireFormat::kI4:
      return 0.1;
    default:
      return 0.02;
  }
}

}  // namespace

std::vector<const TensorType*> InputTypes(const Graph& graph, NodeId id) {
  const Node& node = graph.nodes[static_cast<size_t>(id)];
  std::vector<const TensorType*> types;
  for (ValueId in : node.inputs) types.push_back(in < 0 ? nullptr : &graph.value(in).type);
  int most = Row(node.op).max_inputs;
  if (most > static_cast<int>(types.size())) types.resize(static_cast<size_t>(most), nullptr);
  return types;
}

int PartAxis(const Node& node, int operand, const TensorType& type) {
  return type.shape.size() < 2 ? 0 : TileAxis(node.op, operand, node.attrs);
}

bool IsSliced(Op op, int operand) {
  for (const WeightUse& use : Row(op).weights)
    if (use.operand == operand && use.mode != TileMode::kWhole) return true;
  return false;
}

double CostModel::Upload(uint64_t bytes, double busy) const {
  double slow = 1 + std::min(1.0, busy) * (1 / machine_.link_duplex - 1);
  return machine_.copy_latency_s + static_cast<double>(bytes) * slow / machine_.link_up_bytes_per_s;
}

double CostModel::Download(uint64_t bytes, double busy) const {
  double slow = 1 + std::min(1.0, busy) * (1 / machine_.link_duplex - 1);
  return machine_.copy_latency_s + static_cast<double>(bytes) * slow / machine_.link_down_bytes_per_s;
}

double CostModel::Flops(NodeId id) const {
  const Node& node = graph_.nodes[static_cast<size_t>(id)];
  return Row(node.op).flops(InputTypes(graph_, id), node.attrs);
}

double CostModel::Call(NodeId id, int64_t begin, int64_t end) const {
  const Node& node = graph_.nodes[static_cast<size_t>(id)];
  std::vector<const TensorType*> inputs = InputTypes(graph_, id);
  std::vector<TensorType> parts;
  parts.reserve(inputs.size());
  double bytes = 0;
  double share = 1;  // of the whole node
  for (size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i] == nullptr) continue;
    if (end > begin && IsSliced(node.op, static_cast<int>(i))) {
      auto axis = static_cast<size_t>(PartAxis(node, static_cast<int>(i), *inputs[i]));
      parts.push_back(*inputs[i]);
      share = static_cast<double>(end - begin) / static_cast<double>(inputs[i]->shape[axis]);
      parts.back().shape[axis] = end - begin;
      inputs[i] = &parts.back();
    }
    bytes += static_cast<double>(inputs[i]->bytes());
  }
  if (!machine_.calls.empty()) {
    std::vector<const TensorType*> own(inputs.begin(), inputs.begin() + static_cast<ptrdiff_t>(node.inputs.size()));
    auto it = machine_.calls.find(CallSignature(node.op, own));
    if (it != machine_.calls.end()) return it->second;
  }
  double results = 0;
  for (ValueId out : node.outputs) {
    results += share * static_cast<double>(graph_.value(out).type.elements());
    bytes += share * static_cast<double>(graph_.value(out).type.bytes());
  }
  if (node.op == Op::kEmbedding) bytes = 2 * static_cast<double>(graph_.value(node.outputs[0]).type.bytes()) * share;
  double traffic = bytes / machine_.memory_bytes_per_s;
  double work = 0;
  const TensorType& x = *inputs[0];
  double k = x.shape.empty() ? 1 : static_cast<double>(x.shape.back());
  double rows = static_cast<double>(x.elements()) / std::max(1.0, k);
  double flops = Row(node.op).flops(inputs, node.attrs);
  switch (node.op) {
    case Op::kLinear:
    case Op::kMatMul: {
      double n = std::max(1.0, flops / std::max(1.0, 2 * rows * k));
      work = flops / machine_.GemmFlops(inputs[1]->dtype, rows, n, k);
      break;
    }
    case Op::kCausalLmLoss: {
      double n = std::max(1.0, flops / std::max(1.0, 2 * rows * k));
      work = flops / machine_.GemmFlops(inputs[2]->dtype, rows, n, k) + rows * n / machine_.elementwise_ops;
      break;
    }
    case Op::kAttention:
      work = flops / machine_.attention_flops;
      break;
    case Op::kLayerNorm:
    case Op::kRmsNorm:
      traffic *= 2;  // statistics first
      break;
    default:
      if (IsTranscendental(node.op))
        work = std::max(results, static_cast<double>(x.elements())) / machine_.elementwise_ops;
  }
  return machine_.call_overhead_s + std::max(traffic, work);
}

double CostModel::Prepare(const Tile& tile, const std::vector<PlanWeight>& weights, double pending, int branches,
                          bool perturbed, bool write, bool coded) const {
  const double normals = pending * samples_ + (perturbed && branches > 0 ? 1 : 0);
  if (!coded && tile.trainable && !machine_.calls.empty()) {
    auto it = machine_.calls.find(PrepareSignature(tile, weights));
    if (it != machine_.calls.end()) {
      double n = 0, bytes = 0;
      for (const Segment& s : tile.segments) {
        const Component& c = weights[static_cast<size_t>(s.weight)].components[0];
        n += static_cast<double>(s.elements());
        const int64_t each = SizeOf(c.storage) * (write ? 2 : 1) + branches * SizeOf(c.compute);
        bytes += static_cast<double>(s.elements() * each);
      }
      return std::max(it->second + n * (normals - 2) / machine_.noise_normals_per_s,
                      machine_.call_overhead_s + bytes / machine_.memory_bytes_per_s);
    }
  }
  double seconds = machine_.call_overhead_s;
  for (const Segment& s : tile.segments) {
    const Component& c = weights[static_cast<size_t>(s.weight)].components[0];
    auto n = static_cast<double>(s.elements());
    double bytes = n * static_cast<double>(SizeOf(c.storage) * (write ? 2 : 1) + branches * SizeOf(c.compute));
    if (coded) {
      const auto wire = static_cast<double>(WireBytes(c.wire, s.row_end - s.row_begin, s.col_end - s.col_begin));
      bytes += wire - n * static_cast<double>(SizeOf(c.storage));
    }
    const double decode = coded ? n * DecodeNormals(c) / machine_.noise_normals_per_s : 0;
    double least = bytes / machine_.memory_bytes_per_s;
    if (!c.trainable) {
      seconds += std::max(least, decode);
      continue;
    }
    // The measured rate is for two normals a weight: one pending update, one perturbation for both branches.
    auto rate = machine_.prepare_params_per_s.find(c.storage);
    double two = 1 / (rate == machine_.prepare_params_per_s.end() ? 1e9 : rate->second);
    seconds += std::max(least, n * (two + (normals - 2) / machine_.noise_normals_per_s) + decode);
  }
  return seconds;
}

double CostModel::HostUpdate(const Tile& tile, const std::vector<PlanWeight>& weights, double pending,
                             bool encode) const {
  double seconds = machine_.call_overhead_s;
  for (const Segment& s : tile.segments) {
    const auto n = static_cast<double>(s.elements());
    if (weights[static_cast<size_t>(s.weight)].trainable)
      seconds += n * pending * samples_ / machine_.host_update_params_per_s;
    if (encode) seconds += 4 * n / machine_.encode_bytes_per_s;  // the rate is for f32 masters
  }
  return seconds;
}

}  // namespace zo2
