// --weights: tensors of safetensors files by name, in front of the places that the ONNX file has.
#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "frontend/identity.h"
#include "frontend/scope.h"

namespace zo2 {
namespace {

using ByName = std::map<std::string, const SafetensorsEntry*>;

Result<bool> SameBytes(const SafetensorsEntry& a, const SafetensorsEntry& b) {
  if (a.bytes != b.bytes) return false;
  ZO2_ASSIGN(MappedFile fa, MappedFile::Open(a.file));
  ZO2_ASSIGN(MappedFile fb, MappedFile::Open(b.file));
  ZO2_ASSIGN(std::span<const std::byte> da, fa.Range(a.offset, a.bytes));
  ZO2_ASSIGN(std::span<const std::byte> db, fb.Range(b.offset, b.bytes));
  return da.empty() || std::memcmp(da.data(), db.data(), da.size()) == 0;
}

std::string ShapeText(const Shape& shape) {
  std::string text = "[";
  for (int64_t d : shape) text += (text.size() > 1 ? "," : "") + std::to_string(d);
  return text + "]";
}

// Whether the tensor fits; `stored_transposed` is what its name says about its layout.
Result<bool> IsTransposed(const Weight& weight, const SafetensorsEntry& entry, bool stored_transposed) {
  Shape flipped = weight.shape;
  if (flipped.size() == 2) std::swap(flipped[0], flipped[1]);
  const bool as_is = entry.shape == weight.shape, turned = flipped.size() == 2 && entry.shape == flipped;
  if (!IsFloat(entry.dtype) || (!as_is && !turned))
    return Invalid(entry.file, ": tensor ", entry.name, " is ", Name(entry.dtype), ShapeText(entry.shape),
                   ", but weight ", weight.name, " is ", Name(weight.dtype), ShapeText(weight.shape));
  return as_is && turned ? stored_transposed : turned;
}

}  // namespace

Result<Override> FindOverride(const Weight& weight, const ByName& by_name) {
  Override found;
  auto consider = [&](const std::string& name, bool stored_transposed) -> Result<void> {
    auto it = by_name.find(name);
    if (it == by_name.end() || it->second == found.entry) return {};
    ZO2_ASSIGN(bool transposed, IsTransposed(weight, *it->second, stored_transposed));
    if (found.entry == nullptr) {
      found = {it->second, transposed};
      return {};
    }
    if (found.transposed != transposed || found.entry->dtype != it->second->dtype) return {};
    ZO2_ASSIGN(bool same, SameBytes(*found.entry, *it->second));
    if (!same)
      return Invalid("tensors ", found.entry->name, " and ", name, " of ", it->second->file,
                     " differ, but the model ties them as ", weight.name, ": keep one of them");
    return {};
  };
  ZO2_TRY(consider(weight.name, false));
  for (const std::string& alias : weight.aliases) ZO2_TRY(consider(alias, false));
  // A place's own name: anonymous names always, meaningful ones are the canonical name or a merged
  // parameter's.
  for (const Place& place : weight.places)
    if (IsAnonymous(place.name)) ZO2_TRY(consider(place.name, place.transposed));
  if (found.entry != nullptr) return found;
  std::vector<std::string> names = {weight.name};
  names.insert(names.end(), weight.aliases.begin(), weight.aliases.end());
  for (size_t drop = 1; drop <= 2; ++drop)
    for (std::string name : names) {
      for (size_t i = 0; i < drop && !name.empty(); ++i) {
        const size_t dot = name.find('.');
        name = dot == std::string::npos ? "" : name.substr(dot + 1);
      }
      // What is left must still be a path, or every layer's "weight" would match.
      if (name.find('.') != std::string::npos && found.entry == nullptr) ZO2_TRY(consider(name, false));
    }
  return found;
}

Result<void> ApplyOverrides(const std::string& path, std::vector<Weight>* weights,
                            std::vector<std::string>* notes) {
  ZO2_ASSIGN(std::vector<SafetensorsEntry> entries, ListSafetensors(path));
  ByName by_name;
  for (const SafetensorsEntry& entry : entries) by_name[entry.name] = &entry;
  std::set<const SafetensorsEntry*> used;
  std::string missing;
  size_t matched = 0, lacking = 0;
  for (Weight& weight : *weights) {
    ZO2_ASSIGN(Override found, FindOverride(weight, by_name));
    if (found.entry == nullptr) {
      if (lacking++ < 3) missing += (missing.empty() ? "" : ", ") + weight.name;
      continue;
    }
    ++matched;
    used.insert(found.entry);
    Place place{found.entry->name,
                {found.entry->file, found.entry->offset, found.entry->bytes},
                found.entry->dtype,
                found.transposed,
                true};
    // Relative files are relative to the model's folder; these are relative to where the command runs.
    if (char* absolute = ::realpath(place.range.file.c_str(), nullptr); absolute != nullptr) {
      place.range.file = absolute;
      std::free(absolute);
    }
    if (weight.dtype != place.dtype)
      notes->push_back("weights: " + weight.name + " is stored as " + std::string(Name(place.dtype)) +
                       " in " + path);
    weight.dtype = place.dtype;
    weight.places.insert(weight.places.begin(), std::move(place));
  }
  if (matched == 0)
    return Invalid(path, " has ", entries.size(), " tensors, but none is named like a weight of the model (",
                   missing, ", ...)");
  notes->push_back(
      "weights: " + std::to_string(matched) + " of " + std::to_string(weights->size()) +
      " weights come from " + path +
      (lacking > 0 ? "; the model's own values stay for " + missing + (lacking > 3 ? ", ..." : "") : ""));
  for (const SafetensorsEntry& entry : entries)
    if (used.count(&entry) == 0 && by_name.count(entry.name) > 0 && entries.size() - used.size() <= 8)
      notes->push_back("weights: tensor " + entry.name + " of " + path + " is not used");
  return {};
}

}  // namespace zo2
