// RNN, GRU and LSTM, unrolled over their positions: the products with the input for all positions at once,
// those with the state step by step.
#include <array>
#include <cmath>

#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

constexpr int64_t kMostSteps = 1024;

// An activation of a cell, with the defaults of ONNX.
struct Function {
  std::string name;
  std::optional<double> alpha, beta;

  ValueId operator()(Build& b, ValueId x) const {
    const double a = alpha.value_or(name == "LeakyRelu" ? 0.01 : name == "HardSigmoid" ? 0.2 : 1);
    const double c = beta.value_or(name == "HardSigmoid" ? 0.5 : name == "ScaledTanh" ? 1 : 0);
    if (name == "Tanh") return b.Unary(Op::kTanh, x);
    if (name == "Sigmoid") return b.Unary(Op::kSigmoid, x);
    if (name == "Relu") return b.Unary(Op::kRelu, x);
    if (name == "Affine") return b.AddNumber(b.Scale(x, a), c);
    if (name == "ScaledTanh") return b.Scale(b.Unary(Op::kTanh, b.Scale(x, c)), a);
    if (name == "Softsign") return b.Div(x, b.AddNumber(b.Unary(Op::kAbs, x), 1));
    const ValueId zero = b.Number(b.dtype(x), 0), one = b.Number(b.dtype(x), 1);
    if (name == "LeakyRelu") return b.Where(b(Op::kGreater, {x, zero}), x, b.Scale(x, a));
    if (name == "HardSigmoid") return b.Min(b.Max(b.AddNumber(b.Scale(x, a), c), zero), one);
    b.Fail("activation ", name, " of a recurrent cell is not supported");
    return -1;
  }
};

// Weights of one direction: x w + b, h r + rb.
struct Direction {
  ValueId w = -1, r = -1;              // [in, gates * hidden], [hidden, gates * hidden]
  ValueId bias = -1, state_bias = -1;  // [gates * hidden], or -1
  ValueId peepholes = -1;              // [3 * hidden], or -1
  std::vector<Function> f;
};

class Unroller {
 public:
  Unroller(Lowering& l, int64_t gates, std::vector<std::string> defaults)
      : l_(l), b(l), gates_(gates), defaults_(std::move(defaults)) {}

  Result<void> Run() {
    x_ = b.In(0);
    const bool batch_first = l_.Int("layout", 0) != 0;
    if (batch_first && b.ok() && b.rank(x_) == 3) x_ = b.Transpose(x_, {1, 0, 2});
    if (b.ok() && b.rank(x_) != 3) b.Fail("its input has ", b.rank(x_), " axes, not three");
    const ValueId w = b.In(1), r = b.In(2);
    steps_ = b.dim(x_, 0), batch_ = b.dim(x_, 1), hidden_ = b.dim(r, 2);
    if (b.ok() && steps_ > kMostSteps)
      b.Fail(steps_, " positions are more than the ", kMostSteps, " that a recurrent layer is unrolled for");
    const std::string direction = l_.String("direction", "forward");
    const int64_t directions = direction == "bidirectional" ? 2 : 1;
    if (b.ok() && (b.shape(w) != Shape{directions, gates_ * hidden_, b.dim(x_, 2)} ||
                   b.shape(r) != Shape{directions, gates_ * hidden_, hidden_}))
      b.Fail("its weights do not fit its input, ", directions, " directions and ", gates_, " gates");
    if (const ValueId lengths = b.Optional(4); lengths >= 0)
      lengths_ = b.Reshape(b.Cast(lengths, DType::kI64), {batch_, 1});
    std::vector<ValueId> y, h, c;
    for (int64_t d = 0; b.ok() && d < directions; ++d) {
      Take(d, w, r);
      hs_.assign(static_cast<size_t>(steps_), -1);
      h_ = Initial(5, d, batch_first);
      c_ = gates_ == 4 ? Initial(6, d, batch_first) : -1;
      const bool backward = direction == "reverse" || d == 1;
      const ValueId projected = Project();
      for (int64_t i = 0; b.ok() && i < steps_; ++i) Step(projected, backward ? steps_ - 1 - i : i);
      // [steps, 1, batch, hidden]
      for (ValueId& value : hs_) value = b.Reshape(value, {1, 1, batch_, hidden_});
      if (b.Wants(0)) y.push_back(b.Concat(hs_, 0));
      h.push_back(b.Reshape(h_, {1, batch_, hidden_}));
      if (c_ >= 0) c.push_back(b.Reshape(c_, {1, batch_, hidden_}));
    }
    if (!b.ok()) return b.status();
    std::vector<ValueId> results = {b.Wants(0) ? b.Concat(y, 1) : -1, b.Concat(h, 0)};
    if (gates_ == 4) results.push_back(b.Concat(c, 0));
    for (size_t i = 0; batch_first && b.ok() && i < results.size(); ++i)
      if (results[i] >= 0) results[i] = b.Transpose(results[i], i == 0 ? List{2, 0, 1, 3} : List{1, 0, 2});
    return b.Done(std::move(results));
  }

 private:
  void Take(int64_t d, ValueId w, ValueId r) {
    d_ = Direction();
    d_.w = b.Transpose(b.Pick(w, 0, d), {1, 0});
    d_.r = b.Transpose(b.Pick(r, 0, d), {1, 0});
    const int64_t n = gates_ * hidden_;
    if (const ValueId bias = b.Optional(3); bias >= 0) {
      const ValueId both = b.Pick(bias, 0, d);
      d_.bias = b.Slice(both, 0, 0, n);
      d_.state_bias = b.Slice(both, 0, n, 2 * n);
    }
    if (gates_ == 4)
      if (const ValueId p = b.Optional(7); p >= 0) d_.peepholes = b.Pick(p, 0, d);
    const auto* names = l_.Attribute("activations");
    const auto *alphas = l_.Attribute("activation_alpha"), *betas = l_.Attribute("activation_beta");
    const size_t count = defaults_.size();
    for (size_t i = 0; i < count; ++i) {
      const int at = static_cast<int>(static_cast<size_t>(d) * count + i);
      Function f{names != nullptr && at < names->strings_size() ? names->strings(at) : defaults_[i], {}, {}};
      if (alphas != nullptr && at < alphas->floats_size()) f.alpha = static_cast<double>(alphas->floats(at));
      if (betas != nullptr && at < betas->floats_size()) f.beta = static_cast<double>(betas->floats(at));
      d_.f.push_back(f);
    }
  }

  // The state before the first position: an operand, or zeros.
  ValueId Initial(size_t operand, int64_t d, bool batch_first) {
    if (!l_.Has(operand)) return b.Expand(b.Number(b.dtype(x_), 0), {batch_, hidden_});
    return b.Pick(b.In(operand), batch_first ? 1 : 0, d);
  }

  // Of all positions: [steps, batch, gates * hidden].
  ValueId Project() {
    const Shape s = b.shape(x_);
    if (!b.ok()) return -1;
    ValueId y = b.MatMul(b.Reshape(x_, {s[0] * s[1], s[2]}), d_.w);
    if (d_.bias >= 0) y = b.Add(y, d_.bias);
    return b.Reshape(y, {s[0], s[1], gates_ * hidden_});
  }

  ValueId Gate(ValueId all, int64_t i) { return b.Slice(all, 1, i * hidden_, (i + 1) * hidden_); }
  ValueId Peephole(int64_t i, ValueId state) {
    return d_.peepholes < 0 ? -1 : b.Mul(b.Slice(d_.peepholes, 0, i * hidden_, (i + 1) * hidden_), state);
  }
  ValueId Sum(ValueId a, ValueId c) { return c < 0 ? a : b.Add(a, c); }
  ValueId Clip(ValueId x) {
    const double clip = l_.Float("clip", 0);
    return clip <= 0 ? x : b.Min(b.Max(x, b.Number(b.dtype(x), -clip)), b.Number(b.dtype(x), clip));
  }

  void Step(ValueId projected, int64_t t) {
    const ValueId x = b.Pick(projected, 0, t);
    const ValueId before = h_, cell_before = c_;
    if (gates_ == 1) h_ = d_.f[0](b, Clip(b.Add(x, Sum(b.MatMul(h_, d_.r), d_.state_bias))));
    if (gates_ == 3) h_ = Gru(x);
    if (gates_ == 4) Lstm(x);
    ValueId y = h_;
    if (lengths_ >= 0) {  // behind an example's end the state stays and the output is 0
      const ValueId inside = b.Less(b.Number(DType::kI64, static_cast<double>(t)), lengths_);
      y = b.Where(inside, h_, b.Number(b.dtype(h_), 0));
      h_ = b.Where(inside, h_, before);
      if (c_ >= 0) c_ = b.Where(inside, c_, cell_before);
    }
    hs_[static_cast<size_t>(t)] = y;
  }

  // Gates z, r, h: H = (1 - z) h + z H.
  ValueId Gru(ValueId x) {
    const bool linear_first = l_.Int("linear_before_reset", 0) != 0;
    const auto weights = [&](int64_t from, int64_t to) {
      return b.Slice(d_.r, 1, from * hidden_, to * hidden_);
    };
    const auto bias = [&](int64_t from, int64_t to) {
      return d_.state_bias < 0 ? -1 : b.Slice(d_.state_bias, 0, from * hidden_, to * hidden_);
    };
    const ValueId gates = b.Add(b.Slice(x, 1, 0, 2 * hidden_), Sum(b.MatMul(h_, weights(0, 2)), bias(0, 2)));
    const ValueId z = d_.f[0](b, Clip(Gate(gates, 0))), r = d_.f[0](b, Clip(Gate(gates, 1)));
    const ValueId state = linear_first ? b.Mul(r, Sum(b.MatMul(h_, weights(2, 3)), bias(2, 3)))
                                       : Sum(b.MatMul(b.Mul(r, h_), weights(2, 3)), bias(2, 3));
    const ValueId h = d_.f[1](b, Clip(b.Add(Gate(x, 2), state)));
    return b.Add(b.Mul(b.Sub(b.Number(b.dtype(z), 1), z), h), b.Mul(z, h_));
  }

  // Gates i, o, f, c.
  void Lstm(ValueId x) {
    const ValueId gates = b.Add(x, Sum(b.MatMul(h_, d_.r), d_.state_bias));
    const ValueId i = d_.f[0](b, Clip(Sum(Gate(gates, 0), Peephole(0, c_))));
    const ValueId f = l_.Int("input_forget", 0) != 0 ? b.Sub(b.Number(b.dtype(i), 1), i)
                                                     : d_.f[0](b, Clip(Sum(Gate(gates, 2), Peephole(2, c_))));
    c_ = b.Add(b.Mul(f, c_), b.Mul(i, d_.f[1](b, Clip(Gate(gates, 3)))));
    const ValueId o = d_.f[0](b, Clip(Sum(Gate(gates, 1), Peephole(1, c_))));
    h_ = b.Mul(o, d_.f[2](b, c_));
  }

  Lowering& l_;
  Build b;
  int64_t gates_;
  std::vector<std::string> defaults_;
  ValueId x_ = -1, lengths_ = -1, h_ = -1, c_ = -1;
  int64_t steps_ = 0, batch_ = 0, hidden_ = 0;
  Direction d_;
  std::vector<ValueId> hs_;  // by position
};

Result<void> Rnn(Lowering& l) { return Unroller(l, 1, {"Tanh"}).Run(); }
Result<void> Gru(Lowering& l) { return Unroller(l, 3, {"Sigmoid", "Tanh"}).Run(); }
Result<void> Lstm(Lowering& l) { return Unroller(l, 4, {"Sigmoid", "Tanh", "Tanh"}).Run(); }

}  // namespace

void AddRecurrent(LowerTable* table) {
  (*table)["GRU"] = Gru;
  (*table)["LSTM"] = Lstm;
  (*table)["RNN"] = Rnn;
}

}  // namespace zo2::internal
