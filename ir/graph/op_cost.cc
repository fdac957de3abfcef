// What a call costs: FLOPs, state and workspace bytes.
#include "ir/graph/op_cost.h"

#include <algorithm>
#include <cstdint>

namespace zo2 {
namespace internal {
namespace {

double Elements(const TensorType& t) { return static_cast<double>(t.elements()); }

}  // namespace

bool IsBshd(const Attrs& attrs) {
  auto it = attrs.find("layout");
  const auto* text = it == attrs.end() ? nullptr : std::get_if<std::string>(&it->second);
  return text != nullptr && *text == "bshd";
}

int64_t ProjectionOutputs(const TensorType& w, const Attrs& attrs) {
  return w.shape.size() == 2 ? w.shape[AttrInt(attrs, "trans_w", 1) != 0 ? 0 : 1] : 0;
}

double FlopsNone(Types, const Attrs&) { return 0; }
double FlopsPerInput(Types in, const Attrs&) { return Elements(*in[0]); }
double FlopsBinary(Types in, const Attrs&) {
  Shape shape;
  if (in.size() < 2 || !Broadcast(in[0]->shape, in[1]->shape, &shape)) return 0;
  return static_cast<double>(NumElements(shape));
}
double FlopsNorm(Types in, const Attrs&) { return 8 * Elements(*in[0]); }
double FlopsActivation(Types in, const Attrs&) { return 10 * Elements(*in[0]); }
double FlopsRotary(Types in, const Attrs&) { return 4 * Elements(*in[0]); }

double FlopsLinear(Types in, const Attrs& attrs) {
  double out = static_cast<double>(ProjectionOutputs(*in[1], attrs));
  double rows = in[0]->shape.empty() ? 0 : Elements(*in[0]) / std::max<double>(1, in[0]->shape.back());
  return 2 * Elements(*in[0]) * out + (in.size() > 2 && in[2] != nullptr ? rows * out : 0);
}

double FlopsMatMul(Types in, const Attrs& attrs) {
  auto out = InferMatMul(in, attrs);
  return out.ok() ? 2 * Elements((*out)[0]) * static_cast<double>(in[0]->shape.back()) : 0;
}

double FlopsAttention(Types in, const Attrs& attrs) {
  if (in[0]->shape.size() != 4 || in[1]->shape.size() != 4) return 0;
  double keys = static_cast<double>(in[1]->shape[IsBshd(attrs) ? 1 : 2]);
  double heads_queries = Elements(*in[0]) / std::max<double>(1, in[0]->shape[3]);
  double sizes = static_cast<double>(in[0]->shape[3]) + static_cast<double>(in[2]->shape[3]);
  return heads_queries * keys * (2 * sizes + 5);  // two products; scale, mask and softmax
}

double FlopsCausalLmLoss(Types in, const Attrs& attrs) {
  double tokens = in[0]->shape.empty() ? 0 : Elements(*in[0]) / std::max<double>(1, in[0]->shape.back());
  double vocabulary = static_cast<double>(ProjectionOutputs(*in[2], attrs));
  return tokens * vocabulary * (2 * static_cast<double>(in[0]->shape.back()) + 4);
}

// An f32 operand that is multiplied by a matrix in bf16 is rounded first, in rows of an even number.
bool RoundsToBf16(const TensorType& x, const TensorType& w) {
  return x.dtype == DType::kF32 && w.dtype == DType::kBF16 && !x.shape.empty();
}
int64_t Padded(const TensorType& x) { return x.shape.back() + x.shape.back() % 2; }

// Sums of products of sizes that saturate instead of overflowing, rounded up to 64 bytes at the end.
class Bytes {
 public:
  Bytes& Add(std::initializer_list<int64_t> factors) {
    int64_t product = 1;
    for (int64_t f : factors) {
      if (f <= 0) return *this;
      if (__builtin_mul_overflow(product, f, &product)) product = kLimit;
    }
    total_ = std::min(kLimit, std::min(kLimit, product) + total_);
    return *this;
  }
  int64_t Rounded() const { return (total_ + 63) / 64 * 64; }

 private:
  static constexpr int64_t kLimit = int64_t{1} << 61;
  int64_t total_ = 0;
};

}  // namespace internal

int64_t StateBytes(Op op, std::span<const TensorType* const> inputs, const Attrs&) {
  if (op != Op::kCausalLmLoss || inputs.empty() || inputs[0] == nullptr || inputs[0]->shape.size() < 2)
    return 0;
  // Per token: running maximum, running sum of exponentials, logit of the label, in binary64.
  return internal::Bytes().Add({inputs[0]->shape[0], inputs[0]->shape[1], 3 * 8}).Rounded();
}

int64_t WorkspaceBytes(Op op, std::span<const TensorType* const> inputs, const Attrs& attrs,
                       int64_t part_rows, KernelFlavour flavour) {
  using internal::Bytes;
  if (flavour == KernelFlavour::kDevice) return internal::DeviceWorkspaceBytes(op, inputs, attrs, part_rows);
  if (inputs.empty() || inputs[0] == nullptr) return 0;
  const TensorType& x = *inputs[0];
  const int64_t n = x.elements();
  const int64_t rows = x.shape.empty() || x.shape.back() == 0 ? 1 : n / x.shape.back();
  Bytes bytes;
  switch (op) {
    // On a CPU these keep what they need on the stack; on a GPU they keep statistics per row.
    case Op::kLayerNorm:
    case Op::kRmsNorm:
      return bytes.Add({rows, 2, 4}).Rounded();
    case Op::kAttention:  // a log-sum-exp per query and head; f64 works row by row of scores
      if (x.shape.size() != 4 || inputs.size() < 3 || inputs[1] == nullptr || inputs[1]->shape.size() != 4) return 0;
      if (x.dtype == DType::kF64) bytes.Add({inputs[1]->shape[internal::IsBshd(attrs) ? 1 : 2], 8});
      return bytes.Add({rows, 4}).Rounded();
    case Op::kLinear:  // x in bf16, for the product with a matrix in bf16
      if (inputs.size() < 2 || inputs[1] == nullptr || !internal::RoundsToBf16(x, *inputs[1])) return 0;
      return bytes.Add({rows, internal::Padded(x), 2}).Rounded();
    case Op::kCausalLmLoss: {  // one tile of logits, behind x as for linear
      if (inputs.size() < 3 || inputs[2] == nullptr) return 0;
      int64_t vocabulary = internal::ProjectionOutputs(*inputs[2], attrs);
      int64_t part = part_rows > 0 ? std::min(part_rows, vocabulary) : vocabulary;
      if (internal::RoundsToBf16(x, *inputs[2])) bytes = Bytes().Add({Bytes().Add({rows, internal::Padded(x), 2}).Rounded()});
      return bytes.Add({rows, part, 4}).Rounded();
    }
    case Op::kTokenLoss:
    case Op::kClassifyLoss:  // a loss per row
      return bytes.Add({rows, 8}).Rounded();
    case Op::kMatMul:  // f32: ours, in place; others: contiguous copies of broadcast operands
      return inputs.size() < 2 || x.dtype == DType::kF32
                 ? 0
                 : bytes.Add({n, SizeOf(x.dtype)}).Add({inputs[1]->elements(), SizeOf(x.dtype)}).Rounded();
    case Op::kReduceProd:  // the product over one axis after the other
      return bytes.Add({n, 2, SizeOf(x.dtype)}).Rounded();
    default:
      return 0;
  }
}

}  // namespace zo2
