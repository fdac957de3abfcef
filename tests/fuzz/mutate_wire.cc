#include <optional>

#include "tests/fuzz/mutate.h"

namespace zo2::fuzz {
namespace {

constexpr int kDeepest = 16;

struct WireField {
  uint32_t number = 0;
  uint32_t type = 0;               // 0 varint, 1 fixed64, 2 bytes or message, 5 fixed32
  uint64_t value = 0;              // 0, 1, 5
  std::string bytes;               // 2, where it is no message
  std::vector<WireField> message;  // 2, where it parses as one
};

bool TakeVarint(std::string_view* text, uint64_t* value) {
  *value = 0;
  for (int shift = 0; shift < 70 && !text->empty(); shift += 7) {
    const uint64_t byte = static_cast<uint8_t>((*text)[0]);
    text->remove_prefix(1);
    if (shift < 64) *value |= (byte & 127) << shift;
    if (byte < 128) return true;
  }
  return false;
}

std::optional<std::vector<WireField>> Parse(std::string_view text, int depth) {
  std::vector<WireField> fields;
  while (!text.empty()) {
    WireField field;
    uint64_t key, size;
    if (!TakeVarint(&text, &key) || key >> 3 == 0 || key >> 3 > 1000) return std::nullopt;
    field.number = static_cast<uint32_t>(key >> 3);
    field.type = key & 7;
    if (field.type == 0) {
      if (!TakeVarint(&text, &field.value)) return std::nullopt;
    } else if (field.type == 1 || field.type == 5) {
      const size_t n = field.type == 1 ? 8 : 4;
      if (text.size() < n) return std::nullopt;
      field.value = n == 8 ? Get<uint64_t>(text, 0) : Get<uint32_t>(text, 0);
      text.remove_prefix(n);
    } else if (field.type == 2) {
      if (!TakeVarint(&text, &size) || size > text.size()) return std::nullopt;
      const std::string_view inside = text.substr(0, size);
      text.remove_prefix(size);
      std::optional<std::vector<WireField>> message;
      if (depth < kDeepest && !inside.empty()) message = Parse(inside, depth + 1);
      if (message) {
        field.message = std::move(*message);
      } else {
        field.bytes = inside;
      }
    } else {
      return std::nullopt;
    }
    fields.push_back(std::move(field));
  }
  return fields;
}

void PutVarint(uint64_t value, std::string* out) {
  for (; value >= 128; value >>= 7) *out += static_cast<char>(value | 128);
  *out += static_cast<char>(value);
}

std::string Encode(const std::vector<WireField>& fields) {
  std::string out;
  for (const WireField& field : fields) {
    PutVarint(uint64_t{field.number} << 3 | field.type, &out);
    if (field.type == 0) PutVarint(field.value, &out);
    if (field.type == 1) Put(field.value, &out);
    if (field.type == 5) Put(static_cast<uint32_t>(field.value), &out);
    if (field.type != 2) continue;
    const std::string inside = field.message.empty() ? field.bytes : Encode(field.message);
    PutVarint(inside.size(), &out);
    out += inside;
  }
  return out;
}

struct Place {
  std::vector<WireField>* list;
  size_t index;
  WireField& field() const { return (*list)[index]; }
};

void Collect(std::vector<WireField>* list, std::vector<Place>* out) {
  for (size_t i = 0; i < list->size(); ++i) {
    out->push_back({list, i});
    Collect(&(*list)[i].message, out);
  }
}

// Another field of the same number and kind, as often as not.
const Place& Like(const std::vector<Place>& places, const Place& place, Random& random) {
  for (int tries = 0; tries < 20; ++tries) {
    const Place& other = places[random.Below(places.size())];
    if (other.field().number == place.field().number && other.field().type == place.field().type &&
        other.field().message.empty() == place.field().message.empty())
      return other;
  }
  return place;
}

void Change(std::vector<WireField>* root, Random& random) {
  std::vector<Place> places;
  Collect(root, &places);
  if (places.empty()) return;
  const Place place = places[random.Below(places.size())];
  WireField& field = place.field();
  switch (random.Below(8)) {
    case 0:
      place.list->erase(place.list->begin() + static_cast<long>(place.index));
      break;
    case 1: {
      WireField copy = field;
      place.list->insert(place.list->begin() + static_cast<long>(random.Below(place.list->size() + 1)),
                         std::move(copy));
      break;
    }
    case 2:
      std::swap(field, (*place.list)[random.Below(place.list->size())]);
      break;
    case 3: {  // moved in from a like field of any message
      WireField copy = Like(places, place, random).field();
      if (random.OneIn(2)) {
        field = std::move(copy);
      } else {
        place.list->push_back(std::move(copy));
      }
      break;
    }
    case 4:
      field.number = static_cast<uint32_t>(1 + random.Below(20));
      break;
    default:
      if (field.type != 2) {
        field.value = random.OneIn(3) ? field.value + random.Below(5) - 2 : InterestingNumber(random);
      } else if (field.message.empty()) {
        if (random.OneIn(2)) {
          std::string bytes = Like(places, place, random).field().bytes;
          field.bytes = std::move(bytes);
        } else {
          MutateBytes(&field.bytes, random);
        }
      } else if (random.OneIn(4)) {
        field.message.clear();
      }
  }
}

}  // namespace

void MutateWire(std::string* bytes, Random& random) {
  std::optional<std::vector<WireField>> fields = Parse(*bytes, 0);
  if (!fields) return MutateBytes(bytes, random);
  Change(&*fields, random);
  std::string changed = Encode(*fields);
  if (changed.size() <= kMostBytes) *bytes = std::move(changed);
}

}  // namespace zo2::fuzz
