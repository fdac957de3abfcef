#include "runtime/weight_override.h"

#include <cstring>
#include <map>
#include <set>
#include <utility>

#include "ir/support/file.h"
#include "ir/support/safetensors.h"

namespace zo2 {
namespace {

std::string ShapeText(const Shape& shape) {
  std::string text = "[";
  for (const int64_t d : shape) text += (text.size() > 1 ? "," : "") + std::to_string(d);
  return text + "]";
}

Result<bool> SameBytes(const SafetensorsEntry& a, const SafetensorsEntry& b) {
  ZO2_ASSIGN(const MappedFile file_a, MappedFile::Open(a.file));
  ZO2_ASSIGN(const MappedFile file_b, MappedFile::Open(b.file));
  ZO2_ASSIGN(const std::span<const std::byte> bytes_a, file_a.Range(a.offset, a.bytes));
  ZO2_ASSIGN(const std::span<const std::byte> bytes_b, file_b.Range(b.offset, b.bytes));
  return bytes_a.size() == bytes_b.size() &&
         (bytes_a.empty() || std::memcmp(bytes_a.data(), bytes_b.data(), bytes_a.size()) == 0);
}

// name without its first `components` path components; "" where it has no more.
std::string WithoutFirst(std::string name, int components) {
  for (int i = 0; i < components && !name.empty(); ++i) {
    const size_t dot = name.find('.');
    name = dot == std::string::npos ? "" : name.substr(dot + 1);
  }
  return name;
}

class Finder {
 public:
  Finder(const std::vector<PlanWeight>& weights, const std::vector<SafetensorsEntry>& entries) {
    for (const SafetensorsEntry& entry : entries) entries_[entry.name] = &entry;
    for (const PlanWeight& weight : weights) {
      owners_[weight.name] = &weight;
      for (const std::string& alias : weight.aliases) owners_[alias] = &weight;
    }
  }

  Result<std::optional<Place>> Find(const PlanWeight& weight) {
    found_ = nullptr;
    ZO2_TRY(Consider(weight, weight.name, false));
    for (const std::string& alias : weight.aliases) ZO2_TRY(Consider(weight, alias, false));
    // A place may be called like the other weight that it holds as well: that name is the other's.
    for (const Place& place : weight.places) {
      const auto owner = owners_.find(place.name);
      if (owner == owners_.end() || owner->second == &weight) ZO2_TRY(Consider(weight, place.name, place.transposed));
    }
    std::vector<std::string> names = {weight.name};
    names.insert(names.end(), weight.aliases.begin(), weight.aliases.end());
    for (int drop = 1; drop <= 2; ++drop)
      for (const std::string& name : names) {
        const std::string rest = WithoutFirst(name, drop);
        if (found_ == nullptr && rest.find('.') != std::string::npos) ZO2_TRY(Consider(weight, rest, false));
      }
    if (found_ == nullptr) return std::optional<Place>();
    used_.insert(found_);
    return std::optional<Place>(
        Place{found_->name, {found_->file, found_->offset, found_->bytes}, found_->dtype, transposed_, true});
  }

  bool Used(const SafetensorsEntry& entry) const { return used_.count(&entry) > 0; }

 private:
  Status Consider(const PlanWeight& weight, const std::string& name, bool named_transposed) {
    const auto it = entries_.find(name);
    if (it == entries_.end() || it->second == found_) return Status();
    const SafetensorsEntry& entry = *it->second;
    Shape turned = weight.shape;
    if (turned.size() == 2) std::swap(turned[0], turned[1]);
    const bool fits = entry.shape == weight.shape, fits_turned = turned.size() == 2 && entry.shape == turned;
    if (!IsFloat(entry.dtype) || (!fits && !fits_turned))
      return Invalid(entry.file, ": tensor ", name, " is ", Name(entry.dtype), ShapeText(entry.shape), ", but weight ",
                     weight.name, " of the plan is ", ShapeText(weight.shape));
    const bool transposed = fits && fits_turned ? named_transposed : fits_turned;
    used_.insert(&entry);
    if (found_ == nullptr) {
      found_ = &entry;
      transposed_ = transposed;
      return Status();
    }
    if (transposed_ != transposed || found_->dtype != entry.dtype) return Status();
    ZO2_ASSIGN(const bool same, SameBytes(*found_, entry));
    if (same) return Status();
    return Invalid("tensors ", found_->name, " and ", name, " of ", entry.file, " differ, but the plan ties them as ",
                   weight.name, ": keep one of them");
  }

  std::map<std::string, const SafetensorsEntry*> entries_;
  std::map<std::string, const PlanWeight*> owners_;
  std::set<const SafetensorsEntry*> used_;
  const SafetensorsEntry* found_ = nullptr;  // of the weight at hand
  bool transposed_ = false;
};

// The first few of them.
std::string FewOf(const std::vector<std::string>& names) {
  std::string text;
  for (size_t i = 0; i < names.size() && i < 3; ++i) text += (i > 0 ? ", " : "") + names[i];
  return text + (names.size() > 3 ? ", ..." : "");
}

}  // namespace

Result<WeightOverrides> FindOverrides(const std::vector<PlanWeight>& weights, const std::string& path) {
  ZO2_ASSIGN(const std::vector<SafetensorsEntry> entries, ListSafetensors(path));
  Finder finder(weights, entries);
  WeightOverrides result;
  std::vector<std::string> lacking, unused;
  for (const PlanWeight& weight : weights) {
    ZO2_ASSIGN(std::optional<Place> place, finder.Find(weight));
    if (!place) lacking.push_back(weight.name);
    result.places.push_back(std::move(place));
  }
  if (lacking.size() == weights.size())
    return Invalid(path, " has ", entries.size(), " tensors, but none is named like a weight of the plan (",
                   FewOf(lacking), ")");
  for (const SafetensorsEntry& entry : entries)
    if (!finder.Used(entry)) unused.push_back(entry.name);
  if (!lacking.empty())
    result.notes.push_back(std::to_string(lacking.size()) + " of " + std::to_string(weights.size()) +
                           " weights are not in " + path + " and come from the plan's own files: " + FewOf(lacking));
  if (!unused.empty())
    result.notes.push_back(std::to_string(unused.size()) + " tensors of " + path +
                           " are no weights of the plan: " + FewOf(unused));
  return result;
}

}  // namespace zo2
