// If, Loop and Scan: bodies that run a number of times that is known are written out.
#include <algorithm>

#include "frontend/lower_build.h"

namespace zo2::internal {
namespace {

constexpr int64_t kMostTrips = 1024;

const onnx::GraphProto* BodyOf(const Lowering& l, const char* name) {
  const auto* attribute = l.Attribute(name);
  return attribute != nullptr && attribute->has_g() ? &attribute->g() : nullptr;
}

// The branch that a known condition takes; both, and a choice between their results, where it depends on the
// inputs.
Result<void> If(Lowering& l) {
  const onnx::GraphProto *yes = BodyOf(l, "then_branch"), *no = BodyOf(l, "else_branch");
  if (yes == nullptr || no == nullptr) return Invalid("it lacks a branch");
  ZO2_ASSIGN(const ValueId condition, l.In(0));
  if (l.type(condition).elements() != 1) return Invalid("its condition is not one value");
  if (l.IsConstant(condition)) {
    ZO2_ASSIGN(const double known, l.Number(condition, "condition"));
    ZO2_ASSIGN(l.results, l.body(known != 0 ? *yes : *no, {}));
    return {};
  }
  ZO2_ASSIGN(const std::vector<ValueId> a, l.body(*yes, {}));
  ZO2_ASSIGN(const std::vector<ValueId> c, l.body(*no, {}));
  if (a.size() != c.size()) return Invalid("its branches have different numbers of results");
  Build b(l);
  const ValueId choice = b.Reshape(condition, {});
  std::vector<ValueId> results;
  for (size_t i = 0; i < a.size(); ++i) {
    if (l.type(a[i]) != l.type(c[i]))
      return Invalid(
          "its condition depends on the inputs, and its branches have results of different shapes");
    results.push_back(b.Where(choice, a[i], c[i]));
  }
  return b.Done(std::move(results));
}

// Values of all trips, stacked along `axis`.
ValueId Stack(Build& b, std::vector<ValueId> values, int64_t axis, bool reverse) {
  if (values.empty()) {
    b.Fail("a loop without a trip whose trips have results is not supported");
    return -1;
  }
  if (reverse) std::reverse(values.begin(), values.end());
  axis = b.Axis(axis, b.rank(values[0]) + 1);
  for (ValueId& value : values) {
    Shape shape = b.shape(value);
    if (!b.ok()) return -1;
    shape.insert(shape.begin() + axis, 1);
    value = b.Reshape(value, shape);
  }
  return b.Concat(values, axis);
}

// Trip count, condition, carried values -> carried values, stacked values.
Result<void> Loop(Lowering& l) {
  const onnx::GraphProto* body = BodyOf(l, "body");
  if (body == nullptr) return Invalid("it lacks its body");
  Build b(l);
  double trips = l.Has(0) ? b.Take(l.Number(b.In(0), "trip count")) : static_cast<double>(kMostTrips + 1);
  double condition = l.Has(1) ? b.Take(l.Number(b.In(1), "condition")) : 1;
  std::vector<ValueId> carried;
  for (size_t i = 2; i < l.operands.size(); ++i) carried.push_back(b.In(i));
  if (!b.ok()) return b.status();
  const int stacked = body->output_size() - 1 - static_cast<int>(carried.size());
  if (stacked < 0) return Invalid("its body has fewer results than it carries values");
  std::vector<std::vector<ValueId>> stacks(static_cast<size_t>(stacked));
  for (int64_t trip = 0; static_cast<double>(trip) < trips && condition != 0; ++trip) {
    if (trip == kMostTrips) return Invalid("a loop of more than ", kMostTrips, " trips is not supported");
    std::vector<ValueId> inputs = {l.Scalar(DType::kI64, static_cast<double>(trip)),
                                   b.Cast(l.Scalar(DType::kI64, 1), DType::kBool)};
    inputs.insert(inputs.end(), carried.begin(), carried.end());
    ZO2_ASSIGN(const std::vector<ValueId> outputs, l.body(*body, inputs));
    auto known = l.Number(outputs[0], "condition");
    if (!known.ok()) return Invalid("how often it runs depends on the values of the inputs");
    condition = *known;
    const auto first = outputs.begin() + 1, behind = first + static_cast<int64_t>(carried.size());
    carried.assign(first, behind);
    for (size_t i = 0; i < stacks.size(); ++i) stacks[i].push_back(behind[static_cast<int64_t>(i)]);
  }
  for (size_t i = 0; i < stacks.size(); ++i) carried.push_back(Stack(b, stacks[i], 0, false));
  return b.Done(std::move(carried));
}

int64_t Entry(const std::optional<List>& list, size_t i) { return list && i < list->size() ? (*list)[i] : 0; }

// States and sequences -> states, and results stacked along the sequences.
Result<void> Scan(Lowering& l) {
  const onnx::GraphProto* body = BodyOf(l, "body");
  if (body == nullptr) return Invalid("it lacks its body");
  Build b(l);
  const int64_t sequences = l.Int("num_scan_inputs", 0),
                states = static_cast<int64_t>(l.operands.size()) - sequences;
  if (sequences < 1 || states < 0 || body->output_size() < states)
    return Invalid("its operands do not fit its body");
  const auto in_axes = l.IntList("scan_input_axes"), in_directions = l.IntList("scan_input_directions"),
             out_axes = l.IntList("scan_output_axes"), out_directions = l.IntList("scan_output_directions");
  std::vector<ValueId> carried, sequence;
  List axes;
  int64_t trips = 0;
  for (int64_t i = 0; i < states + sequences; ++i) {
    const ValueId x = b.In(static_cast<size_t>(i));
    (i < states ? carried : sequence).push_back(x);
    if (i < states) continue;
    axes.push_back(b.Axis(Entry(in_axes, axes.size()), b.rank(x)));
    if (i > states && b.ok() && b.dim(x, axes.back()) != trips)
      return Invalid("its sequences have different lengths");
    trips = b.dim(x, axes.back());
  }
  if (!b.ok()) return b.status();
  if (trips > kMostTrips)
    return Invalid("a scan of ", trips, " positions is more than the ", kMostTrips, " that are supported");
  std::vector<std::vector<ValueId>> stacks(static_cast<size_t>(body->output_size() - states));
  for (int64_t t = 0; t < trips; ++t) {
    std::vector<ValueId> inputs = carried;
    for (size_t i = 0; i < sequence.size(); ++i)
      inputs.push_back(b.Pick(sequence[i], axes[i], Entry(in_directions, i) != 0 ? trips - 1 - t : t));
    if (!b.ok()) return b.status();
    ZO2_ASSIGN(const std::vector<ValueId> outputs, l.body(*body, inputs));
    carried.assign(outputs.begin(), outputs.begin() + states);
    for (size_t i = 0; i < stacks.size(); ++i) stacks[i].push_back(outputs[static_cast<size_t>(states) + i]);
  }
  for (size_t i = 0; i < stacks.size(); ++i)
    carried.push_back(Stack(b, stacks[i], Entry(out_axes, i), Entry(out_directions, i) != 0));
  return b.Done(std::move(carried));
}

}  // namespace

void AddControl(LowerTable* table) {
  (*table)["If"] = If;
  (*table)["Loop"] = Loop;
  (*table)["Scan"] = Scan;
}

}  // namespace zo2::internal
