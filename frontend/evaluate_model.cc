// The half of the interpreter with sums of products: f32 or f64 in, the same out, sums in binary64.
#include <algorithm>
#include <cmath>
#include <limits>

#include "frontend/evaluate_internal.h"

namespace zo2::internal {
namespace {

int64_t Axis(const Attrs& attrs, size_t rank, int64_t fallback) {
  int64_t axis = AttrInt(attrs, "axis", fallback);
  return axis < 0 ? axis + static_cast<int64_t>(rank) : axis;
}

// c[m,n] = a[m,k] b[k,n]; b is read as b[n,k] when transposed.
template <typename T>
void Gemm(const T* a, const T* b, T* c, int64_t m, int64_t k, int64_t n, bool transposed) {
  std::vector<double> row(static_cast<size_t>(n));
  for (int64_t i = 0; i < m; ++i) {
    std::fill(row.begin(), row.end(), 0.0);
    if (transposed) {
      for (int64_t j = 0; j < n; ++j) {
        double sum = 0;
        for (int64_t p = 0; p < k; ++p) sum += static_cast<double>(a[i * k + p]) * b[j * k + p];
        row[static_cast<size_t>(j)] = sum;
      }
    } else {
      for (int64_t p = 0; p < k; ++p) {
        const double v = a[i * k + p];
        for (int64_t j = 0; j < n; ++j) row[static_cast<size_t>(j)] += v * b[p * n + j];
      }
    }
    for (int64_t j = 0; j < n; ++j) c[i * n + j] = static_cast<T>(row[static_cast<size_t>(j)]);
  }
}

template <typename T>
void Linear(const Attrs& attrs, Inputs in, Output& out) {
  const HostTensor &x = *in[0], &w = *in[1];
  const bool transposed = AttrInt(attrs, "trans_w", 1) != 0;
  const int64_t k = x.type.shape.back(), n = out.type.shape.back(), m = k == 0 ? 0 : x.type.elements() / k;
  Gemm<T>(x.as<T>(), w.as<T>(), out.as<T>(), m, k, n, transposed);
  if (in.size() > 2 && in[2] != nullptr)
    for (int64_t i = 0; i < m * n; ++i) out.as<T>()[i] += in[2]->as<T>()[i % n];
}

template <typename T>
void MatMul(Inputs in, Output& out) {
  // numpy: a 1-d operand gets an axis of size 1 that the result loses.
  Shape a = in[0]->type.shape, b = in[1]->type.shape, o = out.type.shape;
  if (a.size() == 1) a.insert(a.begin(), 1), o.insert(o.end() - (b.size() > 1 ? 1 : 0), 1);
  if (b.size() == 1) b.push_back(1), o.push_back(1);
  const int64_t m = a[a.size() - 2], k = a.back(), n = b.back();
  Shape batch(o.begin(), o.end() - 2), ab(a.begin(), a.end() - 2), bb(b.begin(), b.end() - 2);
  batch.push_back(1), ab.push_back(1), bb.push_back(1);
  auto sa = BroadcastStrides(ab, batch), sb = BroadcastStrides(bb, batch);
  ForEachRow(batch, {sa, sb}, [&](int64_t at, const std::vector<int64_t>& off) {
    Gemm<T>(in[0]->as<T>() + off[0] * m * k, in[1]->as<T>() + off[1] * k * n,
         out.as<T>() + at * m * n, m, k, n, false);
  });
}

template <typename T>
void Norm(Op op, const Attrs& attrs, Inputs in, Output& out) {
  const int64_t d = in[0]->type.shape.back(), rows = d == 0 ? 0 : in[0]->type.elements() / d;
  const double eps = AttrDouble(attrs, "eps", 1e-5);
  const T *x = in[0]->as<T>(), *scale = in[1]->as<T>();
  const T* bias = in.size() > 2 && in[2] != nullptr ? in[2]->as<T>() : nullptr;
  for (int64_t r = 0; r < rows; ++r, x += d) {
    double mean = 0, square = 0;
    if (op == Op::kLayerNorm)
      for (int64_t i = 0; i < d; ++i) mean += x[i] / static_cast<double>(d);
    for (int64_t i = 0; i < d; ++i) square += (x[i] - mean) * (x[i] - mean) / static_cast<double>(d);
    const double factor = 1 / std::sqrt(square + eps);
    for (int64_t i = 0; i < d; ++i)
      out.as<T>()[r * d + i] =
          static_cast<T>((x[i] - mean) * factor * scale[i] + (bias != nullptr ? bias[i] : T(0)));
  }
}

template <typename T>
void Softmax(Op op, const Attrs& attrs, const HostTensor& x, Output& out) {
  const auto axis = static_cast<size_t>(Axis(attrs, x.type.shape.size(), -1));
  int64_t outer = 1, inner = 1;
  const int64_t size = x.type.shape[axis];
  for (size_t i = 0; i < axis; ++i) outer *= x.type.shape[i];
  for (size_t i = axis + 1; i < x.type.shape.size(); ++i) inner *= x.type.shape[i];
  for (int64_t o = 0; o < outer; ++o)
    for (int64_t i = 0; i < inner; ++i) {
      const T* from = x.as<T>() + o * size * inner + i;
      T* to = out.as<T>() + o * size * inner + i;
      T max = -std::numeric_limits<T>::infinity();
      double sum = 0;
      for (int64_t k = 0; k < size; ++k) max = std::max(max, from[k * inner]);
      for (int64_t k = 0; k < size; ++k) sum += std::exp(static_cast<double>(from[k * inner]) - max);
      for (int64_t k = 0; k < size; ++k) {
        const double shifted = static_cast<double>(from[k * inner]) - max;
        to[k * inner] =
            static_cast<T>(op == Op::kSoftmax ? std::exp(shifted) / sum : shifted - std::log(sum));
      }
    }
}

template <typename T>
void Activation(Op op, const Attrs& attrs, const HostTensor& x, Output& out) {
  const bool tanh = AttrInt(attrs, "tanh", 0) != 0;
  for (int64_t i = 0, n = x.type.elements(); i < n; ++i) {
    const double v = x.as<T>()[i];
    double y;
    if (op == Op::kSilu)
      y = v / (1 + std::exp(-v));
    else if (tanh)
      y = 0.5 * v * (1 + std::tanh(std::sqrt(2 / M_PI) * (v + 0.044715 * v * v * v)));
    else
      y = 0.5 * v * (1 + std::erf(v / std::sqrt(2.0)));
    out.as<T>()[i] = static_cast<T>(y);
  }
}

template <typename T>
void Rotary(const Attrs& attrs, Inputs in, Output& out) {
  const Shape& shape = in[0]->type.shape;
  const bool interleaved = AttrInt(attrs, "interleaved", 0) != 0;
  auto sx = Strides(shape), sc = BroadcastStrides(in[1]->type.shape, shape),
       ss = BroadcastStrides(in[2]->type.shape, shape);
  const int64_t d = shape.back(), half = d / 2;
  ForEachRow(shape, {sx, sc, ss}, [&](int64_t at, const std::vector<int64_t>& o) {
    const T* x = in[0]->as<T>() + o[0];
    for (int64_t i = 0; i < d; ++i) {
      const T rotated =
          interleaved ? (i % 2 == 0 ? -x[i + 1] : x[i - 1]) : (i < half ? -x[i + half] : x[i - half]);
      out.as<T>()[at + i] = x[i] * in[1]->as<T>()[o[1] + i * sc.back()] +
                                rotated * in[2]->as<T>()[o[2] + i * ss.back()];
    }
  });
}

template <typename T>
void Attention(const Attrs& attrs, Inputs in, Output& out) {
  auto layout = attrs.find("layout");
  const bool bshd = layout != attrs.end() && std::get<std::string>(layout->second) == "bshd";
  const Shape &qs = in[0]->type.shape, &ks = in[1]->type.shape, &vs = in[2]->type.shape;
  const size_t h_axis = bshd ? 2 : 1, s_axis = bshd ? 1 : 2;
  const int64_t batch = qs[0], heads = qs[h_axis], kv_heads = ks[h_axis], sq = qs[s_axis], skv = ks[s_axis],
                d = qs[3], dv = vs[3];
  const double scale = AttrDouble(attrs, "scale", 1 / std::sqrt(static_cast<double>(d)));
  const bool causal = AttrInt(attrs, "causal", 0) != 0,
             zero_rows = AttrInt(attrs, "zero_masked_rows", 0) != 0;
  const auto q_st = Strides(qs), k_st = Strides(ks), v_st = Strides(vs), o_st = Strides(out.type.shape);
  const HostTensor* mask = in.size() > 3 ? in[3] : nullptr;
  const auto m_st =
      mask ? BroadcastStrides(mask->type.shape, {batch, heads, sq, skv}) : std::vector<int64_t>(4, 0);
  const double minus_infinity = -std::numeric_limits<double>::infinity();
  std::vector<double> score(static_cast<size_t>(skv)), sum_v(static_cast<size_t>(dv));
  for (int64_t b = 0; b < batch; ++b)
    for (int64_t h = 0; h < heads; ++h)
      for (int64_t i = 0; i < sq; ++i) {
        const int64_t kh = h / (heads / kv_heads);
        const T* q = in[0]->as<T>() + b * q_st[0] + h * q_st[h_axis] + i * q_st[s_axis];
        double max = minus_infinity;
        for (int64_t j = 0; j < skv; ++j) {
          const T* k = in[1]->as<T>() + b * k_st[0] + kh * k_st[h_axis] + j * k_st[s_axis];
          double s = 0;
          for (int64_t p = 0; p < d; ++p) s += static_cast<double>(q[p]) * k[p];
          s *= scale;
          if (mask != nullptr) {
            const int64_t at = b * m_st[0] + h * m_st[1] + i * m_st[2] + j * m_st[3];
            if (mask->type.dtype == DType::kBool)
              s = mask->as<uint8_t>()[at] ? s : minus_infinity;
            else
              s += mask->as<T>()[at];
          }
          if (causal && j > i) s = minus_infinity;
          score[static_cast<size_t>(j)] = s;
          max = std::max(max, s);
        }
        double sum = 0;
        for (double& s : score) sum += s = std::exp(s - max);
        std::fill(sum_v.begin(), sum_v.end(), 0.0);
        const bool zero = zero_rows && max == minus_infinity;
        for (int64_t j = 0; !zero && j < skv; ++j) {
          const T* v = in[2]->as<T>() + b * v_st[0] + kh * v_st[h_axis] + j * v_st[s_axis];
          for (int64_t p = 0; p < dv; ++p)
            sum_v[static_cast<size_t>(p)] += score[static_cast<size_t>(j)] / sum * v[p];
        }
        T* o = out.as<T>() + b * o_st[0] + h * o_st[h_axis] + i * o_st[s_axis];
        for (int64_t p = 0; p < dv; ++p) o[p] = static_cast<T>(sum_v[static_cast<size_t>(p)]);
      }
}

}  // namespace

bool IsModelOp(Op op) {
  switch (op) {
    case Op::kLinear:
    case Op::kEmbedding:
    case Op::kLayerNorm:
    case Op::kRmsNorm:
    case Op::kGelu:
    case Op::kSilu:
    case Op::kRotary:
    case Op::kAttention:
    case Op::kMatMul:
    case Op::kSoftmax:
    case Op::kLogSoftmax:
    case Op::kCausalLmLoss:
    case Op::kTokenLoss:
    case Op::kClassifyLoss:
    case Op::kMseLoss:
    case Op::kOutputLoss:
      return true;
    default:
      return false;
  }
}

namespace {

// What is not wide yet as f64.
HostTensor Widen(const HostTensor& x) {
  if (x.type.dtype != DType::kF32) return x;
  Output out({DType::kF64, x.type.shape});
  for (int64_t i = 0, n = x.type.elements(); i < n; ++i) out.as<double>()[i] = static_cast<double>(x.as<float>()[i]);
  return std::move(out).Done();
}

template <typename T>
Status Run(Op op, const Attrs& attrs, Inputs in, Output& out) {
  switch (op) {
    case Op::kLinear:
      Linear<T>(attrs, in, out);
      break;
    case Op::kMatMul:
      MatMul<T>(in, out);
      break;
    case Op::kLayerNorm:
    case Op::kRmsNorm:
      Norm<T>(op, attrs, in, out);
      break;
    case Op::kSoftmax:
    case Op::kLogSoftmax:
      Softmax<T>(op, attrs, *in[0], out);
      break;
    case Op::kGelu:
    case Op::kSilu:
      Activation<T>(op, attrs, *in[0], out);
      break;
    case Op::kRotary:
      Rotary<T>(attrs, in, out);
      break;
    case Op::kAttention:
      Attention<T>(attrs, in, out);
      break;
    case Op::kEmbedding: {
      const int64_t rows = in[1]->type.shape[0], bytes = in[1]->type.shape[1] * static_cast<int64_t>(sizeof(T));
      for (int64_t i = 0, n = in[0]->type.elements(); i < n; ++i) {
        const int64_t id = in[0]->as<int64_t>()[i];
        if (id < 0 || id >= rows) return Invalid("embedding reads row ", id, " of ", rows);
        std::memcpy(out.data->data() + i * bytes, in[1]->data->data() + id * bytes,
                    static_cast<size_t>(bytes));
      }
      break;
    }
    default:
      return Internal(Name(op), " is not evaluated on the host");
  }
  return Status();
}

}  // namespace

Result<std::vector<HostTensor>> EvaluateModelOp(Op op, const Attrs& attrs, Inputs in,
                                                std::span<const TensorType> types) {
  if (types.size() != 1) return Internal(Name(op), " is not evaluated on the host");
  bool wide = false;
  for (size_t i = 0; i < in.size(); ++i) {
    const bool other = (op == Op::kEmbedding && i == 0) || (op == Op::kAttention && i == 3);
    if (in[i] == nullptr || other) continue;
    wide = wide || in[i]->type.dtype == DType::kF64;
    if (in[i]->type.dtype != DType::kF32 && in[i]->type.dtype != DType::kF64)
      return Internal(Name(op), " on ", Name(in[i]->type.dtype), " is not evaluated on the host");
  }
  if (types[0].dtype != (wide ? DType::kF64 : DType::kF32))
    return Internal(Name(op), " to ", Name(types[0].dtype), " is not evaluated on the host");
  Output out(types[0]);
  if (wide) {
    std::vector<HostTensor> wider;
    for (const HostTensor* x : in) wider.push_back(x == nullptr ? HostTensor{} : Widen(*x));
    std::vector<const HostTensor*> operands;
    for (size_t i = 0; i < in.size(); ++i) operands.push_back(in[i] == nullptr ? nullptr : &wider[i]);
    ZO2_TRY(Run<double>(op, attrs, operands, out));
  } else {
    ZO2_TRY(Run<float>(op, attrs, in, out));
  }
  std::vector<HostTensor> result;
  result.push_back(std::move(out).Done());
  return result;
}

}  // namespace zo2::internal
