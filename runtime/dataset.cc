#include "runtime/dataset.h"

#include <algorithm>
#include <cstring>
#include <utility>

#include "ir/support/hash.h"
#include "runtime/data_file.h"
#include "runtime/data_input.h"

namespace zo2 {
namespace {

std::string TypeText(const TensorType& type) {
  std::string text(Name(type.dtype));
  text += '[';
  for (size_t i = 0; i < type.shape.size(); ++i) text += (i > 0 ? "," : "") + std::to_string(type.shape[i]);
  return text + "]";
}

// Where an input's numbers come from.
enum class Origin : uint8_t {
  kField,      // the file's field
  kMask,       // 1 for each token of the example
  kPositions,  // 0, 1, 2, ...
  kZeros,
  kTokens,  // labels that are the ids
};

struct Bound {
  DataInput input;
  const Field* field = nullptr;  // kField
  Origin origin = Origin::kField;
};

class FileDataset final : public Dataset {
 public:
  static Result<std::unique_ptr<Dataset>> Make(const std::string& path, const Schedule& schedule,
                                               const Program& program, const Options& options) {
    auto dataset = std::make_unique<FileDataset>();
    dataset->path_ = path;
    dataset->truncate_ = options.truncate;
    ZO2_ASSIGN(DataInputs inputs, FindDataInputs(schedule, program));
    ZO2_ASSIGN(dataset->file_, OpenDataFile(path, inputs.Request()));
    dataset->notes_ = dataset->file_.notes;
    ZO2_TRY(dataset->Bind(schedule, std::move(inputs)));
    ZO2_TRY(dataset->CheckLengths());
    ZO2_TRY(dataset->CheckLengthsBesideIds());
    ZO2_TRY(dataset->CheckNumbers());
    ZO2_TRY(dataset->CheckLabels(schedule));
    Sha256 hash;
    hash.Update(dataset->file_.file.bytes());
    dataset->digest_ = hash.Hex();
    return std::unique_ptr<Dataset>(std::move(dataset));
  }

  int64_t examples() const override { return file_.examples; }
  void Fill(int64_t example, int64_t row, std::span<std::byte* const> inputs) const override;

 private:
  Status Bind(const Schedule& schedule, DataInputs inputs);
  Status Missing(const std::vector<Bound>& missing) const;
  Status CheckShape(const Bound& bound) const;
  Status CheckLengths();
  Status CheckLengthsBesideIds() const;
  Status CheckLabels(const Schedule& schedule);
  Status CheckNumbers() const;
  Status CheckRow(const Bound& bound, int64_t example, const Numbers& row) const;
  // Elements of the field's row that are used.
  int64_t Used(const Bound& bound, const Numbers& row) const { return std::min(row.count, bound.input.elements); }
  // Tokens of an example; 0 where the model has no ids.
  int64_t Tokens(int64_t example) const { return ids_ == nullptr ? 0 : Used(*ids_, ids_->field->At(example)); }

  DataFile file_;
  std::vector<Bound> bound_;
  const Bound* ids_ = nullptr;   // of bound_
  const Field* mask_ = nullptr;  // attention_mask per token, where the file has it
  bool truncate_ = false;
};

Status FileDataset::Bind(const Schedule& schedule, DataInputs inputs) {
  std::vector<Bound> missing;
  const DataInput* ids = inputs.ids < 0 ? nullptr : &inputs.inputs[static_cast<size_t>(inputs.ids)];
  const bool has_ids = ids != nullptr && (file_.Find(ids->name) != nullptr || file_.Find("input_ids") != nullptr);
  for (const DataInput& input : inputs.inputs) {
    Bound bound{input, file_.Find(input.name)};
    if (bound.field == nullptr && &input == ids) bound.field = file_.Find("input_ids");
    const bool beside_ids = has_ids && input.row.shape == ids->row.shape;
    if (bound.field != nullptr) {
      if (input.name == "attention_mask" && beside_ids) mask_ = bound.field;
    } else if (input.name == "attention_mask" && beside_ids) {
      bound.origin = Origin::kMask;
      notes_.push_back("attention_mask is not in the file: 1 for its tokens, 0 for what is filled up");
    } else if (input.name == "position_ids" && beside_ids && !IsFloat(input.row.dtype)) {
      if (input.elements - 1 > input.high)
        return Invalid(path_, " has no position_ids, and those from 0 to ", input.elements - 1, " do not fit [",
                       input.low, ", ", input.high, "] (", input.range_of, ")");
      bound.origin = Origin::kPositions;
      notes_.push_back("position_ids are not in the file: 0, 1, 2, ...");
    } else if (input.name == "token_type_ids") {
      bound.origin = Origin::kZeros;
      notes_.push_back("token_type_ids are not in the file: 0");
    } else if (input.labels && schedule.loss.kind == "causal-lm" && beside_ids) {
      bound.origin = Origin::kTokens;
    } else {
      missing.push_back(bound);
      continue;
    }
    bound_.push_back(std::move(bound));
  }
  if (!missing.empty()) return Missing(missing);
  if (ids != nullptr) ids_ = &bound_[static_cast<size_t>(inputs.ids)];
  for (Bound& bound : bound_) {
    if (bound.origin != Origin::kTokens) continue;
    notes_.push_back(std::string("labels are not in the file: the model learns its ids") +
                     (mask_ == nullptr ? "" : " where attention_mask is not 0"));
    // Ids that are labels must be in both ranges.
    Bound& source = bound_[static_cast<size_t>(inputs.ids)];
    if (bound.input.high < source.input.high) {
      source.input.high = bound.input.high;
      source.input.range_of = bound.input.range_of;
    }
    source.input.low = std::max(source.input.low, bound.input.low);
  }
  return Status();
}

Status FileDataset::Missing(const std::vector<Bound>& missing) const {
  std::string names;
  for (const Bound& bound : missing)
    names += (names.empty() ? "" : ", ") + bound.input.name + " (" + TypeText(bound.input.row) + " per example)";
  return Invalid(path_, " lacks what the model takes: ", names, "; it has ", file_.FieldNames());
}

// What does not depend on the example: which numbers they are, and the axes of dense rows.
Status FileDataset::CheckShape(const Bound& bound) const {
  const DataInput& input = bound.input;
  const Field& field = *bound.field;
  if (IsFloat(field.type) && !IsFloat(input.row.dtype))
    return Invalid(path_, ": ", field.name, " is ", Name(field.type), ", but the model takes ", Name(input.row.dtype));
  const bool compare = field.is_dense() && input.row.shape.size() > 1;
  if (compare && (field.row_shape.size() != input.row.shape.size() ||
                  !std::equal(field.row_shape.begin() + 1, field.row_shape.end(), input.row.shape.begin() + 1)))
    return Invalid(path_, ": ", field.name, " has ", TypeText({input.row.dtype, field.row_shape}),
                   " per example, but the model takes ", TypeText(input.row));
  return Status();
}

Status FileDataset::CheckLengths() {
  int64_t longer = 0;  // of the input that has most
  for (const Bound& bound : bound_) {
    if (bound.field == nullptr) continue;
    ZO2_TRY(CheckShape(bound));
    const DataInput& input = bound.input;
    const std::string& name = bound.field->name;
    // All rows of a dense field are like the first.
    const bool dense = bound.field->is_dense();
    const int64_t each = dense ? file_.examples : 1;
    int64_t over = 0, under = 0, first = -1;
    for (int64_t e = 0; e < (dense ? 1 : file_.examples); ++e) {
      const int64_t count = bound.field->At(e).count;
      if (input.exact ? count != input.elements : count % input.step != 0)
        return Invalid(path_, ": ", file_.Where(e), " has ", count, " numbers in ", name, ", but the model takes ",
                       input.exact ? "" : "a multiple of ", input.exact ? input.elements : input.step);
      if (count == 0) return Invalid(path_, ": ", file_.Where(e), " has nothing in ", name);
      if (count < input.elements) under += each;
      if (count > input.elements) over += each;
      if (count > input.elements && first < 0) first = e;
    }
    if (over > 0 && !truncate_)
      return Invalid(path_, ": ", over, " of ", file_.examples, " examples are longer than the plan's ",
                     input.elements / input.step, " in ", name, ", the first is ", file_.Where(first), " with ",
                     bound.field->At(first).count / input.step,
                     ": cut them with --truncate, or plan with a larger seq");
    longer = std::max(longer, over);
    if (&bound == ids_ && under > 0)
      notes_.push_back(std::to_string(under) + " of " + std::to_string(file_.examples) + " examples have fewer than " +
                       std::to_string(input.elements) + " tokens and are filled up");
  }
  if (longer > 0)
    notes_.push_back(std::to_string(longer) + " of " + std::to_string(file_.examples) +
                     " examples are longer than the plan takes and are cut");
  return Status();
}

// What goes with the ids token by token must be as long as they are.
Status FileDataset::CheckLengthsBesideIds() const {
  if (ids_ == nullptr) return Status();
  for (const Bound& bound : bound_) {
    const std::string& name = bound.input.name;
    const bool by_token =
        bound.input.labels || name == "attention_mask" || name == "token_type_ids" || name == "position_ids";
    if (!by_token || bound.field == nullptr || bound.input.exact || bound.input.row.shape != ids_->input.row.shape)
      continue;
    for (int64_t e = 0; e < file_.examples; ++e) {
      const int64_t count = bound.field->At(e).count, tokens = ids_->field->At(e).count;
      if (count != tokens)
        return Invalid(path_, ": ", file_.Where(e), " has ", tokens, " numbers in ", ids_->field->name, " but ", count,
                       " in ", bound.field->name);
      if (bound.field->is_dense() && ids_->field->is_dense()) break;  // all are like the first
    }
  }
  return Status();
}

// Examples that teach nothing: every label is -100, or (the loss of a causal model shifts) only the first is not.
Status FileDataset::CheckLabels(const Schedule& schedule) {
  const int64_t skip = schedule.loss.kind == "causal-lm" ? 1 : 0;
  for (const Bound& bound : bound_) {
    if (!bound.input.no_label) continue;
    int64_t without = 0;
    for (int64_t e = 0; e < file_.examples; ++e) {
      if (bound.field == nullptr) {
        without += Tokens(e) <= skip;
        continue;
      }
      const Numbers row = bound.field->At(e);
      const int64_t n = std::max<int64_t>(0, Used(bound, row) - skip);
      without += FirstOutside(bound.field->type, row.data + skip * SizeOf(bound.field->type), n, -100, -100, -100) == n;
    }
    if (without == file_.examples) return Invalid(path_, " has no example with a label to learn");
    if (without > 0)
      notes_.push_back(std::to_string(without) + " of " + std::to_string(file_.examples) +
                       " examples have no label to learn");
  }
  return Status();
}

Status FileDataset::CheckRow(const Bound& bound, int64_t example, const Numbers& row) const {
  const DataInput& input = bound.input;
  const Field& field = *bound.field;
  const int64_t used = Used(bound, row);
  if (IsFloat(field.type)) {
    int64_t at = FirstNotFinite(field.type, row.data, used);
    if (at == used && field.type == Number::kF64 && input.row.dtype != DType::kF64) {
      std::byte one[8];
      for (at = 0; at < used; ++at)
        if (!Convert(field.type, row.data + at * 8, 1, input.row.dtype, one)) break;
    }
    if (at == used) return Status();
    return Invalid(path_, ": ", file_.Where(example), ", position ", at, " of ", field.name, " is ",
                   RealAt(field.type, row.data, at), ", which is no number that ", Name(input.row.dtype), " holds");
  }
  const int64_t also = input.no_label ? -100 : input.low;
  const int64_t at = FirstOutside(field.type, row.data, used, input.low, input.high, also);
  if (at == used) return Status();
  return Invalid(path_, ": ", file_.Where(example), ", position ", at, " of ", field.name, " is ",
                 IntegerAt(field.type, row.data, at), ", outside [", input.low, ", ", input.high, "]",
                 input.no_label ? " and not -100" : "", " (", input.range_of, ")");
}

Status FileDataset::CheckNumbers() const {
  for (const Bound& bound : bound_) {
    if (bound.field == nullptr) continue;
    for (int64_t e = 0; e < file_.examples; ++e) ZO2_TRY(CheckRow(bound, e, bound.field->At(e)));
  }
  return Status();
}

template <typename F>
void WriteIntegers(DType dtype, int64_t begin, int64_t end, std::byte* out, F&& value) {
  for (int64_t i = begin; i < end; ++i) {
    const int64_t v = value(i);
    Convert(Number::kI64, reinterpret_cast<const std::byte*>(&v), 1, dtype, out + i * SizeOf(dtype));
  }
}

void FileDataset::Fill(int64_t example, int64_t row, std::span<std::byte* const> inputs) const {
  const int64_t tokens = Tokens(example);
  for (size_t i = 0; i < bound_.size(); ++i) {
    const DataInput& input = bound_[i].input;
    const DType dtype = input.row.dtype;
    std::byte* out = inputs[i] + row * input.row.bytes();
    int64_t written = 0;
    switch (bound_[i].origin) {
      case Origin::kField: {
        const Numbers from = bound_[i].field->At(example);
        written = Used(bound_[i], from);
        Convert(bound_[i].field->type, from.data, written, dtype, out);
        break;
      }
      case Origin::kMask:
        written = tokens;
        WriteIntegers(dtype, 0, written, out, [](int64_t) { return 1; });
        break;
      case Origin::kPositions:
        written = input.elements;
        WriteIntegers(dtype, 0, written, out, [](int64_t p) { return p; });
        break;
      case Origin::kZeros: break;
      case Origin::kTokens: {
        const Numbers ids = ids_->field->At(example);
        const Numbers mask = mask_ == nullptr ? Numbers() : mask_->At(example);
        written = tokens;
        WriteIntegers(dtype, 0, written, out, [&](int64_t p) {
          const bool real = mask_ == nullptr || RealAt(mask_->type, mask.data, p) != 0;
          return real ? IntegerAt(ids_->field->type, ids.data, p) : input.fill;
        });
        break;
      }
    }
    WriteIntegers(dtype, written, input.elements, out, [&](int64_t) { return input.fill; });
  }
}

}  // namespace

Result<std::unique_ptr<Dataset>> Dataset::Open(const std::string& path, const Schedule& schedule,
                                               const Program& program, const Options& options) {
  return FileDataset::Make(path, schedule, program, options);
}

}  // namespace zo2
