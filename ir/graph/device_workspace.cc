#include "ir/graph/device_workspace.h"

#include <algorithm>

#include "ir/graph/op_cost.h"

namespace zo2 {
namespace device {
namespace {

int64_t RoundUp(int64_t n, int64_t unit) { return (n + unit - 1) / unit * unit; }

constexpr int64_t kLimit = int64_t{1} << 61;
int64_t Mul(std::initializer_list<int64_t> factors) {
  int64_t product = 1;
  for (int64_t f : factors) {
    if (f <= 0) return 0;
    if (__builtin_mul_overflow(product, f, &product)) product = kLimit;
  }
  return std::min(product, kLimit);
}

// A sum of allocations, each rounded up, that saturates.
class Bytes {
 public:
  Bytes& Add(std::initializer_list<int64_t> factors) {
    total_ = std::min(kLimit, total_ + RoundUp(Mul(factors), kGrain));
    return *this;
  }
  // ATen's own small ones: numbers that were made tensors, bools, semaphores.
  Bytes& Small(int64_t count) { return Add({count, kGrain}); }
  int64_t total() const { return total_; }

 private:
  int64_t total_ = 0;
};

// What ATen's reductions of `n` elements along rows take on a GPU to join the work of several blocks: nothing where
// rows are short, and at most 16 bytes for each of two waves of blocks and the rows of each.
int64_t ReductionBytes(int64_t n) { return n < 65536 ? 0 : 2 << 20; }

const TensorType* Optional(internal::Types in, size_t i) { return i < in.size() ? in[i] : nullptr; }
int64_t RowsOf(const TensorType& x) {
  return x.shape.empty() || x.shape.back() == 0 ? 1 : x.elements() / x.shape.back();
}

// What ToPositions() takes for n ids.
void AddPositions(int64_t n, Bytes* bytes) { bytes->Add({n, 8}).Add({n}).Add({n}).Add({n}).Small(8); }

// On a CPU: a bias of another dtype than the sum is added row by row.
void AddBias(DType sum, const TensorType& bias, Bytes* bytes) {
  if (bias.dtype != sum) bytes->Add({bias.elements(), 8}).Add({bias.elements(), 8});
}
// On a CPU: a product of 16-bit matrices in f32 widens blocks of both.
void AddWideBlocks(const TensorType& x, Bytes& bytes) {
  const int64_t k = x.shape.empty() ? 0 : x.shape.back();
  bytes.Add({std::max<int64_t>(512 << 10, 4 * k)}).Add({std::max<int64_t>(512 << 10, 4 * k)}).Small(64);
}

// Losses that come from logits: state apart.
void AddLogits(int64_t rows, int64_t classes, Bytes* bytes) {
  const int64_t each = RowsAtOnce(rows, Mul({classes, 8}), kLogitsPiece);
  bytes->Add({rows, 8}).Add({rows, 8}).Add({rows, 3}).Small(8);  // targets, losses, which of them count
  bytes->Add({each, classes, 8});
  for (int i = 0; i < 4; ++i) bytes->Add({each, 8});
  AddPositions(rows, bytes);
  bytes->Add({rows, 8});
  bytes->Add({ReductionBytes(Mul({std::max(rows, each), classes}))});
}

// Elements of the block through which ATen transposes a matrix on a CPU.
constexpr int64_t kTransposedBlock = 60 * 60;

// Reduced axes that are not the last ones are moved there.
bool ReducesRows(const TensorType& x, const std::vector<bool>& reduced) {
  bool seen = false;
  for (size_t i = 0; i < reduced.size(); ++i) {
    if (x.shape[i] == 1) continue;
    if (!reduced[i] && seen) return false;
    seen = seen || reduced[i];
  }
  return true;
}

int64_t ReduceBytes(Op op, const TensorType& x, const Attrs& attrs) {
  const auto rank = static_cast<int64_t>(x.shape.size());
  std::vector<int64_t> axes = AttrInts(attrs, "axes");
  if (op == Op::kArgMax) axes = {AttrInt(attrs, "axis", 0)};
  std::vector<bool> reduced(x.shape.size(), axes.empty());
  for (int64_t axis : axes) {
    if (axis < 0) axis += rank;
    if (axis >= 0 && axis < rank) reduced[static_cast<size_t>(axis)] = true;
  }
  Bytes bytes;
  if (!ReducesRows(x, reduced)) {
    bytes.Add({x.elements(), SizeOf(x.dtype)});
    if (rank == 2) bytes.Add({kTransposedBlock, SizeOf(x.dtype)});
  }
  return bytes.Add({ReductionBytes(x.elements())}).Small(4).total();
}

int64_t CausalLmLossBytes(internal::Types in, const Attrs& attrs, int64_t part_rows) {
  if (in.size() < 3 || in[2] == nullptr) return 0;
  const TensorType &x = *in[0], &w = *in[2];
  const int64_t rows = RowsOf(x), vocabulary = internal::ProjectionOutputs(w, attrs);
  const int64_t part = part_rows > 0 ? std::min(part_rows, vocabulary) : vocabulary;
  Bytes bytes;
  if (x.dtype == DType::kF32 && w.dtype == DType::kBF16) bytes.Add({x.elements(), 2});
  if (SizeOf(w.dtype) == 2) AddWideBlocks(x, bytes);
  const DType sum = x.dtype == DType::kF64 ? DType::kF64 : DType::kF32;
  if (const TensorType* bias = Optional(in, 3); bias != nullptr) AddBias(sum, *bias, &bytes);
  bytes.Add({rows, part, SizeOf(sum)});
  AddLogits(rows, part, &bytes);
  return bytes.total();
}

}  // namespace

int64_t RowsAtOnce(int64_t rows, int64_t row_bytes, int64_t piece) {
  return std::min(rows, std::max<int64_t>(1, piece / std::max<int64_t>(1, row_bytes)));
}

NormCut CutNorm(Op op, const TensorType& x, const TensorType& scale, const TensorType* bias) {
  NormCut cut;
  cut.wide = x.dtype == DType::kF64 ? 8 : 4;
  cut.mixed = op == Op::kLayerNorm && (scale.dtype != x.dtype || (bias != nullptr && bias->dtype != x.dtype));
  const int64_t columns = x.shape.empty() ? 1 : x.shape.back();
  const int64_t each = op == Op::kRmsNorm ? cut.wide : cut.mixed ? 2 * cut.wide : SizeOf(x.dtype);
  cut.row_bytes = Mul({columns, each});
  cut.rows = RowsAtOnce(RowsOf(x), cut.row_bytes);
  return cut;
}

AttentionCut CutAttention(const TensorType& q, const TensorType& k, const TensorType& v, const TensorType* mask,
                          const Attrs& attrs) {
  const bool bshd = internal::IsBshd(attrs), causal = AttrInt(attrs, "causal", 0) != 0;
  const size_t h = bshd ? 2 : 1, s = bshd ? 1 : 2;
  const int64_t e = SizeOf(q.dtype);
  AttentionCut c;
  c.batch = q.shape[0], c.heads = q.shape[h], c.kv_heads = k.shape[h], c.queries = q.shape[s], c.keys = k.shape[s];
  c.size = q.shape[3], c.v_size = v.shape[3];
  c.group = c.kv_heads > 0 ? c.heads / c.kv_heads : 1;
  c.padded = RoundUp(std::max<int64_t>({c.size, c.v_size, 1}), 8);
  c.pads = c.size != c.padded || c.v_size != c.padded;
  c.plain = q.dtype == DType::kF64;
  c.masks = mask != nullptr || (c.plain && causal);
  if (mask != nullptr) {
    const auto axis = [&](size_t from_end) {
      return mask->shape.size() < from_end ? 1 : mask->shape[mask->shape.size() - from_end];
    };
    c.mask_batch = axis(4), c.mask_heads = axis(3), c.mask_queries = axis(2);
  }
  if (causal && c.masks) c.mask_queries = c.queries;
  c.mask_row = c.plain ? c.keys : RoundUp(c.keys, 16);  // rows that fused kernels read are aligned

  Bytes bytes;
  int64_t masks = 1;  // of those made at once
  if (c.plain) {
    c.at_once_batch = c.at_once_kv_heads = 1;
    c.at_once_queries = RowsAtOnce(c.queries, Mul({c.keys, 16}));
    bytes.Add({c.at_once_queries, c.keys, 8}).Add({c.at_once_queries, c.keys, 8});
  } else {
    // Of one head of keys: the result; what kernels gather it in, in f32; a log-sum-exp per query; copies.
    const bool gathers = e == 2 && c.padded > 128;  // smaller heads stay in registers
    int64_t unit = Mul({c.group, c.queries, c.padded, e}) + Mul({c.group, RoundUp(c.queries, 32), 4});
    if (gathers) unit += Mul({c.group, c.queries, c.padded, 4});
    if (c.pads) unit += Mul({c.group, c.queries, c.padded, e}) + Mul({2, c.keys, c.padded, e});
    if (c.group > 1) unit += Mul({2, c.group, c.keys, c.padded, e});
    if (c.mask_heads > 1) unit += Mul({c.group, c.mask_queries, c.mask_row, e + 2});
    const int64_t units = RowsAtOnce(Mul({c.batch, c.kv_heads}), unit);
    c.at_once_batch = std::max<int64_t>(1, c.kv_heads > 0 ? units / c.kv_heads : 1);
    c.at_once_kv_heads = std::min(units, c.kv_heads);
    if (c.at_once_kv_heads > 0) {  // parts of about one size
      const int64_t parts = (c.kv_heads + c.at_once_kv_heads - 1) / c.at_once_kv_heads;
      c.at_once_kv_heads = (c.kv_heads + parts - 1) / parts;
    }
    c.at_once_queries = c.queries;
    const int64_t heads = c.group * c.at_once_kv_heads, b = c.at_once_batch;
    bytes.Add({b, heads, c.queries, c.padded, e}).Add({b, heads, RoundUp(c.queries, 32), 4});
    if (c.pads) {
      bytes.Add({b, heads, c.queries, c.padded, e});
      bytes.Add({b, c.at_once_kv_heads, c.keys, c.padded, e}).Add({b, c.at_once_kv_heads, c.keys, c.padded, e});
    }
    if (c.group > 1) bytes.Add({b, heads, c.keys, c.padded, e}).Add({b, heads, c.keys, c.padded, e});
    if (gathers) bytes.Add({b, heads, c.queries, c.padded, 4});
    if (e == 2) {
      // Flash attention cuts keys where there are few blocks of 64 queries, for no more than some 640 blocks in all,
      // and gathers each cut's result in f32.
      const int64_t blocks = Mul({b, heads, (c.queries + 63) / 64});
      const int64_t cut = std::min<int64_t>(Mul({blocks, (c.keys + 63) / 64}), std::max<int64_t>(640, blocks));
      if (!c.masks && cut > blocks) bytes.Add({cut, 64, c.padded + 1, 4});
    }
    masks = (c.mask_batch > 1 ? b : 1) * (c.mask_heads > 1 ? heads : 1);
    // A CPU's fused kernel has a block of scores and of results per thread.
    bytes.Add({std::min<int64_t>(256, c.queries), std::min<int64_t>(512, c.keys) + c.padded + 4, 8}).Small(8);
  }
  if (c.masks) {
    bytes.Add({masks, c.mask_queries, c.mask_row, e});
    bytes.Add({masks, c.mask_queries, c.mask_row});              // where the mask is false, or -infinity
    bytes.Add({masks, c.mask_queries, e}).Add({masks, c.mask_queries});  // rows with every key masked
    bytes.Add({ReductionBytes(Mul({masks, c.mask_queries, c.keys}))}).Small(8);
    if (causal) bytes.Add({c.queries, c.keys}).Add({c.queries, 4}).Add({c.keys, 4});
  }
  c.bytes = bytes.total();
  return c;
}

}  // namespace device

int64_t internal::DeviceWorkspaceBytes(Op op, Types in, const Attrs& attrs, int64_t part_rows) {
  using device::Bytes;
  using device::Optional;
  if (in.empty() || in[0] == nullptr) return 0;
  const TensorType& x = *in[0];
  const int64_t n = x.elements(), size = SizeOf(x.dtype);
  const TensorType* second = Optional(in, 1);
  Bytes bytes;
  switch (op) {
    case Op::kLinear:  // x in bf16 for a matrix in bf16; the rest for CPUs alone
      if (second == nullptr) return 0;
      if (const TensorType* bias = Optional(in, 2); bias != nullptr) device::AddBias(x.dtype, *bias, &bytes);
      if (x.dtype == DType::kF32 && second->dtype == DType::kBF16) device::AddWideBlocks(x, bytes.Add({n, 2}));
      return bytes.total();
    case Op::kEmbedding: {  // rows of a part that is not the first, or not in the dtype of the output
      if (second == nullptr || second->shape.size() != 2) return 0;
      const int64_t row = second->shape[1] * SizeOf(second->dtype);
      device::AddPositions(n, &bytes);
      const bool direct = part_rows <= 0 && AttrInt(attrs, "to", static_cast<int64_t>(second->dtype)) ==
                                                static_cast<int64_t>(second->dtype);
      return direct ? bytes.total() : bytes.Add({device::RowsAtOnce(n, row), row}).total();
    }
    case Op::kLayerNorm:
    case Op::kRmsNorm: {
      if (second == nullptr) return 0;
      const device::NormCut cut = device::CutNorm(op, x, *second, Optional(in, 2));
      bytes.Add({cut.rows, cut.row_bytes}).Add({cut.rows, 8}).Add({cut.rows, 8}).Small(4);
      if (cut.mixed || SizeOf(second->dtype) != cut.wide)  // scale and bias
        bytes.Add({second->elements(), cut.wide}).Add({second->elements(), cut.wide});
      return bytes.Add({device::ReductionBytes(n)}).total();
    }
    case Op::kAttention:
      if (in.size() < 3 || in[1] == nullptr || in[2] == nullptr || x.shape.size() != 4 || in[1]->shape.size() != 4 ||
          in[2]->shape.size() != 4)
        return 0;
      return device::CutAttention(x, *in[1], *in[2], Optional(in, 3), attrs).bytes;
    case Op::kCausalLmLoss:
      return device::CausalLmLossBytes(in, attrs, part_rows);
    case Op::kTokenLoss:
    case Op::kClassifyLoss: {
      const int64_t rows = device::RowsOf(x);
      bytes.Add({rows, 3, 8});
      device::AddLogits(rows, x.shape.empty() ? 1 : x.shape.back(), &bytes);
      return bytes.total();
    }
    case Op::kMseLoss:
    case Op::kOutputLoss: {
      const int64_t batch = x.shape.empty() ? 1 : x.shape[0], each = batch > 0 ? n / batch : 0;
      const int64_t columns = device::RowsAtOnce(each, batch * 16);  // of x, and of what it is compared with
      bytes.Add({batch, columns, 8}).Add({batch, columns, 8}).Add({batch, 8});
      return bytes.Add({device::ReductionBytes(n)}).Small(2).total();
    }
    case Op::kDiv:
    case Op::kMod:  // integers: a divisor that is neither 0 nor -1, and where it was
      if (second == nullptr || IsFloat(x.dtype)) return 0;
      return bytes.Add({second->elements(), size}).Add({second->elements()}).Add({second->elements()}).Small(4).total();
    case Op::kReduceSum:
    case Op::kReduceMean:
    case Op::kReduceMax:
    case Op::kReduceMin:
    case Op::kReduceProd:
    case Op::kArgMax:
      return device::ReduceBytes(op, x, attrs);
    case Op::kCumSum:  // sums in f64, and both ends turned round
      return bytes.Add({2, n, IsFloat(x.dtype) ? 8 : size}).Add({n, 8}).Add({n, 8}).Small(2).total();
    case Op::kTranspose:  // a CPU's copy of a matrix goes through a block
      return x.shape.size() == 2 ? bytes.Add({device::kTransposedBlock, size}).total() : 0;
    case Op::kSlice: {  // what is turned round
      const std::vector<int64_t> steps = AttrInts(attrs, "steps");
      if (std::none_of(steps.begin(), steps.end(), [](int64_t step) { return step < 0; })) return 0;
      return bytes.Add({n, size}).total();
    }
    case Op::kGather:
    case Op::kGatherNd:
    case Op::kGatherElements: {
      if (second == nullptr) return 0;
      device::AddPositions(second->elements(), &bytes);
      return bytes.Add({second->elements(), 8}).Add({second->elements()}).Add({second->elements(), 8}).total();
    }
    default:
      return 0;
  }
}

}  // namespace zo2
