#include "tests/unit/aten/harness.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <memory>

#include "runtime/aten/workspace.h"
#if ZO2_TEST_DEVICE_TABLE
#include "runtime/aten_device/device_kernels.h"
#endif

namespace zo2 {

#if ZO2_TEST_DEVICE_TABLE
const KernelTable& TableUnderTest() { return DeviceKernels(); }
KernelFlavour FlavourUnderTest() { return KernelFlavour::kDevice; }
#else
const KernelTable& TableUnderTest() { return AtenKernels(); }
KernelFlavour FlavourUnderTest() { return KernelFlavour::kHost; }
#endif

namespace {

std::vector<int> ThreadCounts() {
  return FlavourUnderTest() == KernelFlavour::kHost ? std::vector<int>{1, 2} : std::vector<int>{1};
}

constexpr int64_t kGuard = 256;
constexpr uint8_t kCanary = 0x5C, kFilled = 0xA7;

// Memory at a chosen distance from a page, canaries before and behind.
class Guarded {
 public:
  Guarded(int64_t bytes, int64_t shift)
      : bytes_(bytes), all_(static_cast<size_t>(bytes + 2 * kGuard + shift + 4096)) {
    const auto base = reinterpret_cast<uintptr_t>(all_.data());
    data_ = all_.data() + ((base + 4095) / 4096 * 4096 - base) + static_cast<uintptr_t>(kGuard + shift);
    std::memset(all_.data(), kCanary, all_.size());
    std::memset(data_, kFilled, static_cast<size_t>(bytes));
  }
  uint8_t* data() { return data_; }
  bool intact() const {
    const uint8_t* end = data_ + bytes_;
    return std::all_of(data_ - kGuard, data_, [](uint8_t b) { return b == kCanary; }) &&
           std::all_of(end, end + kGuard, [](uint8_t b) { return b == kCanary; });
  }

 private:
  int64_t bytes_;
  std::vector<uint8_t> all_;
  uint8_t* data_;
};

template <typename T>
void Put(uint8_t* to, T value) {
  std::memcpy(to, &value, sizeof value);
}
template <typename T>
double Get(const uint8_t* from) {
  T value;
  std::memcpy(&value, from, sizeof value);
  return static_cast<double>(value);
}

void Encode(DType dtype, double x, uint8_t* to) {
  switch (dtype) {
    case DType::kF32:
      return Put(to, static_cast<float>(x));
    case DType::kF64:
      return Put(to, x);
    case DType::kF16:
      return Put(to, static_cast<_Float16>(x));
    case DType::kI64:
      return Put(to, static_cast<int64_t>(x));
    case DType::kI32:
      return Put(to, static_cast<int32_t>(x));
    case DType::kI16:
      return Put(to, static_cast<int16_t>(x));
    case DType::kI8:
      return Put(to, static_cast<int8_t>(x));
    case DType::kU8:
      return Put(to, static_cast<uint8_t>(x));
    case DType::kBool:
      return Put(to, static_cast<uint8_t>(x != 0));
    case DType::kBF16: {
      const auto f = static_cast<float>(x);
      uint32_t bits;
      std::memcpy(&bits, &f, 4);
      if (f == f) bits += 0x7fff + (bits >> 16 & 1);  // to nearest, halves to even
      return Put(to, static_cast<uint16_t>(bits >> 16));
    }
  }
}

double Decode(DType dtype, const uint8_t* from) {
  switch (dtype) {
    case DType::kF32:
      return Get<float>(from);
    case DType::kF64:
      return Get<double>(from);
    case DType::kF16:
      return Get<_Float16>(from);
    case DType::kI64:
      return Get<int64_t>(from);
    case DType::kI32:
      return Get<int32_t>(from);
    case DType::kI16:
      return Get<int16_t>(from);
    case DType::kI8:
      return Get<int8_t>(from);
    case DType::kU8:
    case DType::kBool:
      return Get<uint8_t>(from);
    case DType::kBF16: {
      const uint32_t bits = static_cast<uint32_t>(from[0] | from[1] << 8) << 16;
      float f;
      std::memcpy(&f, &bits, 4);
      return f;
    }
  }
  return 0;
}

std::vector<int64_t> Dense(const Shape& shape) {
  std::vector<int64_t> strides(shape.size(), 1);
  for (size_t i = shape.size(); i-- > 1;) strides[i - 1] = strides[i] * std::max<int64_t>(1, shape[i]);
  return strides;
}

std::unique_ptr<Guarded> Store(const Array& a, int64_t shift) {
  const int64_t size = SizeOf(a.dtype);
  auto memory = std::make_unique<Guarded>(static_cast<int64_t>(a.v.size()) * size, shift);
  for (size_t i = 0; i < a.v.size(); ++i)
    Encode(a.dtype, a.v[i], memory->data() + static_cast<int64_t>(i) * size);
  return memory;
}

struct Setting {
  int threads;
  int64_t shift;
};

// One run, whole or part by part, in memory of its own.
class Trial {
 public:
  Trial(Op op, const Attrs& attrs, const std::vector<Operand>& inputs, const RunOptions& options,
        Setting setting)
      : op_(op), attrs_(attrs), row_(Row(op)), inputs_(inputs), options_(options), setting_(setting) {}

  Status Prepare() {
    for (const Operand& in : inputs_) types_.push_back(in ? TensorType{in->dtype, in->shape} : TensorType());
    for (size_t i = 0; i < inputs_.size(); ++i) pointers_.push_back(inputs_[i] ? &types_[i] : nullptr);
    std::vector<const TensorType*> padded = pointers_;
    padded.resize(std::max<size_t>(padded.size(), static_cast<size_t>(std::max(0, row_.max_inputs))),
                  nullptr);
    ZO2_ASSIGN(out_types_, row_.infer(padded, attrs_));
    ZO2_TRY(CheckNode(op_, attrs_, pointers_, out_types_));
    for (const Operand& in : inputs_) memory_.push_back(in ? Store(*in, setting_.shift) : nullptr);
    for (const TensorType& t : out_types_)
      outputs_.push_back(std::make_unique<Guarded>(t.bytes(), setting_.shift));
    if (options_.in_place) aliased_ = static_cast<size_t>(row_.alias_input);
    state_ = std::make_unique<Guarded>(StateBytes(op_, padded, attrs_), setting_.shift);
    return Status();
  }

  Status Call() {
    std::vector<int64_t> bounds = options_.cuts;
    int64_t total = 0;
    for (const WeightUse& use : row_.weights)
      if (use.mode != TileMode::kWhole && total == 0)
        total = types_[static_cast<size_t>(use.operand)]
                    .shape[static_cast<size_t>(TileAxis(op_, use.operand, attrs_))];
    if (bounds.empty()) return CallPart(0, 0, true, true);
    bounds.insert(bounds.begin(), 0);
    bounds.push_back(total);
    for (size_t p = 0; p + 1 < bounds.size(); ++p)
      ZO2_TRY(CallPart(bounds[p], bounds[p + 1], p == 0, p + 2 == bounds.size()));
    return Status();
  }

  void CheckIntact() const {
    EXPECT_TRUE(workspace_intact_) << Name(op_) << " left its workspace";
    for (size_t i = 0; i < outputs_.size(); ++i)
      EXPECT_TRUE(outputs_[i]->intact()) << Name(op_) << ", output " << i;
    EXPECT_TRUE(state_->intact()) << Name(op_) << " left its state";
    for (size_t i = 0; i < inputs_.size(); ++i) {
      if (!inputs_[i]) continue;
      EXPECT_TRUE(memory_[i]->intact()) << Name(op_) << " wrote beside input " << i;
      if (i == aliased_) continue;
      const auto fresh = Store(*inputs_[i], setting_.shift);
      EXPECT_EQ(std::memcmp(memory_[i]->data(), fresh->data(), static_cast<size_t>(types_[i].bytes())), 0)
          << Name(op_) << " wrote input " << i;
    }
  }
  std::vector<std::vector<uint8_t>> Bytes() const {
    std::vector<std::vector<uint8_t>> all;
    for (size_t i = 0; i < out_types_.size(); ++i) {
      const uint8_t* from = i == 0 && aliased_ != kNone ? memory_[aliased_]->data() : outputs_[i]->data();
      all.emplace_back(from, from + out_types_[i].bytes());
    }
    return all;
  }
  std::vector<Array> Values() const {
    std::vector<Array> all;
    const auto bytes = Bytes();
    for (size_t k = 0; k < out_types_.size(); ++k) {
      const TensorType& t = out_types_[k];
      all.push_back(Make(t.dtype, t.shape, [&](int64_t i) {
        return Decode(t.dtype, &bytes[k][static_cast<size_t>(i * SizeOf(t.dtype))]);
      }));
    }
    return all;
  }

 private:
  static constexpr size_t kNone = ~size_t{0};

  Status CallPart(int64_t begin, int64_t end, bool first, bool last) {
    std::vector<TensorView> in, out;
    for (size_t i = 0; i < inputs_.size(); ++i) {
      TensorView v;
      if (inputs_[i]) v = {memory_[i]->data(), types_[i].dtype, types_[i].shape, Dense(types_[i].shape)};
      in.push_back(std::move(v));
    }
    for (size_t i = 0; i < out_types_.size(); ++i)
      out.push_back(
          {outputs_[i]->data(), out_types_[i].dtype, out_types_[i].shape, Dense(out_types_[i].shape)});
    if (aliased_ != kNone) out[0].data = in[aliased_].data;
    for (const WeightUse& use : row_.weights) {
      const auto k = static_cast<size_t>(use.operand);
      if (end == 0 || use.mode == TileMode::kWhole || k >= in.size() || in[k].data == nullptr) continue;
      const size_t axis =
          in[k].shape.size() < 2 ? 0 : static_cast<size_t>(TileAxis(op_, use.operand, attrs_));
      in[k].data = static_cast<uint8_t*>(in[k].data) + begin * in[k].strides[axis] * SizeOf(in[k].dtype);
      in[k].shape[axis] = end - begin;
      if (use.mode == TileMode::kOutputSlice && k == 1) {
        out[0].data = static_cast<uint8_t*>(out[0].data) + begin * SizeOf(out[0].dtype);
        out[0].shape.back() = end - begin;
      }
    }
    std::vector<const TensorType*> padded = pointers_;
    padded.resize(std::max<size_t>(padded.size(), static_cast<size_t>(std::max(0, row_.max_inputs))),
                  nullptr);
    const int64_t work = WorkspaceBytes(op_, padded, attrs_, end - begin, FlavourUnderTest());
    Guarded workspace(work, setting_.shift);
    KernelCall call;
    call.op = op_;
    call.attrs = &attrs_;
    call.inputs = in;
    call.outputs = out;
    call.part_begin = begin;
    call.part_end = end;
    call.first_part = first;
    call.last_part = last;
    call.state = state_->data();
    call.workspace = work > 0 ? workspace.data() : nullptr;
    call.workspace_bytes = work;
    call.threads = setting_.threads;
    ResetEscapedAllocations();
    const Status status = TableUnderTest().call[static_cast<size_t>(op_)](call);
    workspace_intact_ = workspace_intact_ && workspace.intact();
    if (FlavourUnderTest() == KernelFlavour::kDevice) {
      const EscapedAllocations escaped = GetEscapedAllocations();
      EXPECT_EQ(escaped.bytes, 0u) << Name(op_) << ": " << escaped.calls << " allocations beside a workspace of "
                                   << work << " bytes, the largest of " << escaped.largest;
    }
    return status;
  }

  const Op op_;
  const Attrs& attrs_;
  const OpRow& row_;
  const std::vector<Operand>& inputs_;
  const RunOptions& options_;
  const Setting setting_;
  std::vector<TensorType> types_, out_types_;
  std::vector<const TensorType*> pointers_;
  std::vector<std::unique_ptr<Guarded>> memory_, outputs_;
  std::unique_ptr<Guarded> state_;
  size_t aliased_ = kNone;
  bool workspace_intact_ = true;
};

}  // namespace

double Round(DType dtype, double x) {
  uint8_t bytes[8];
  Encode(dtype, x, bytes);
  return Decode(dtype, bytes);
}

Array Make(DType dtype, Shape shape, const std::function<double(int64_t)>& f) {
  Array a{dtype, std::move(shape), {}};
  a.v.resize(static_cast<size_t>(NumElements(a.shape)));
  for (size_t i = 0; i < a.v.size(); ++i) a.v[i] = Round(dtype, f(static_cast<int64_t>(i)));
  return a;
}

Array Random::Normal(Shape shape, double scale, DType dtype) {
  std::normal_distribution<double> normal(0, scale);
  return Make(dtype, std::move(shape), [&](int64_t) { return normal(engine_); });
}

Array Random::Integers(Shape shape, int64_t low, int64_t high, DType dtype) {
  return Make(dtype, std::move(shape), [&](int64_t) { return static_cast<double>(Integer(low, high)); });
}

int64_t Random::Integer(int64_t low, int64_t high) {
  return std::uniform_int_distribution<int64_t>(low, high)(engine_);
}

Shape Coordinates(const Shape& shape, int64_t at) {
  Shape c(shape.size());
  for (size_t d = shape.size(); d-- > 0;) {
    c[d] = at % shape[d];
    at /= shape[d];
  }
  return c;
}

int64_t Flat(const Shape& shape, const Shape& at) {
  int64_t flat = 0;
  for (size_t d = 0; d < shape.size(); ++d) flat = flat * shape[d] + at[d];
  return flat;
}

int64_t BroadcastIndex(const Shape& shape, int64_t at, const Shape& from) {
  const Shape c = Coordinates(shape, at);
  Shape own(from.size());
  for (size_t d = 0; d < from.size(); ++d) own[d] = from[d] == 1 ? 0 : c[d + shape.size() - from.size()];
  return Flat(from, own);
}

Outcome RunOp(Op op, const Attrs& attrs, const std::vector<Operand>& inputs, const RunOptions& options) {
  Outcome outcome;
  std::vector<std::vector<uint8_t>> first;
  for (const int threads : ThreadCounts()) {
    for (const int64_t shift : {0, 64, 1984}) {
      for (int again = 0; again < 2; ++again) {
        Trial trial(op, attrs, inputs, options, {threads, shift});
        Status status = trial.Prepare();
        if (status.ok()) status = trial.Call();
        EXPECT_TRUE(status.ok()) << Name(op) << ": " << status.message();
        if (!status.ok()) return outcome;
        trial.CheckIntact();
        if (again == 0 && shift == 0) outcome.push_back(trial.Values());
        if (first.empty()) first = trial.Bytes();
        EXPECT_TRUE(first == trial.Bytes())
            << Name(op) << ": bits differ, " << threads << " threads, shift " << shift;
      }
    }
  }
  return outcome;
}

Status RunToError(Op op, const Attrs& attrs, const std::vector<Operand>& inputs, const RunOptions& options) {
  Trial trial(op, attrs, inputs, options, {1, 0});
  const Status prepared = trial.Prepare();
  EXPECT_TRUE(prepared.ok()) << prepared.message();
  if (!prepared.ok()) return Status();
  const Status status = trial.Call();
  EXPECT_FALSE(status.ok()) << Name(op) << " must not succeed";
  trial.CheckIntact();
  return status;
}

void ExpectNear(const Outcome& outcome, const Array& expected, double tolerance, size_t index) {
  ASSERT_EQ(outcome.size(), ThreadCounts().size());
  double largest = 0;
  for (const double x : expected.v)
    if (std::isfinite(x)) largest = std::max(largest, std::abs(x));
  for (size_t run = 0; run < outcome.size(); ++run) {
    const Array& got = outcome[run][index];
    ASSERT_EQ(got.shape, expected.shape);
    ASSERT_EQ(got.v.size(), expected.v.size());
    int reported = 0;
    for (size_t i = 0; i < got.v.size() && reported < 5; ++i) {
      const double a = got.v[i], b = expected.v[i];
      const bool same = std::isfinite(b) ? std::abs(a - b) <= tolerance * largest
                        : std::isnan(b)  ? std::isnan(a)
                                         : a == b;
      if (same) continue;
      ++reported;
      ADD_FAILURE() << "element " << i << " of " << got.v.size() << " is " << a << ", expected " << b << " ("
                    << run + 1 << " threads, largest " << largest << ")";
    }
  }
}

void ExpectSame(const Outcome& a, const Outcome& b) {
  ASSERT_EQ(a.size(), b.size());
  for (size_t run = 0; run < a.size(); ++run)
    for (size_t i = 0; i < a[run][0].v.size(); ++i) {
      const double x = a[run][0].v[i], y = b[run][0].v[i];
      ASSERT_TRUE(x == y || (x != x && y != y)) << "element " << i << ": " << x << " and " << y;
    }
}

}  // namespace zo2
