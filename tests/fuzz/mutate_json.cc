#include <cmath>
#include <nlohmann/json.hpp>
#include <utility>

#include "tests/fuzz/mutate.h"

namespace zo2::fuzz {
namespace {

using Json = nlohmann::json;
constexpr int kDeepest = 64;  // what is deeper is left alone

struct Node {
  Json* value;
  Json* parent;
};

void Collect(Json* value, Json* parent, int depth, std::vector<Node>* out) {
  out->push_back({value, parent});
  if (depth == kDeepest) return;
  if (value->is_structured())
    for (auto& child : *value) Collect(&child, value, depth + 1, out);
}

Json Scalar(Random& random) {
  switch (random.Below(8)) {
    case 0:
      return nullptr;
    case 1:
      return random.OneIn(2);
    case 2:
      return static_cast<int64_t>(InterestingNumber(random));
    case 3:
      return static_cast<double>(static_cast<int64_t>(InterestingNumber(random))) * 0.5;
    case 4:
      return std::ldexp(1.0, static_cast<int>(random.Below(2000)) - 1000);
    case 5:
      return std::string(random.Below(12), static_cast<char>('a' + random.Below(26)));
    case 6:
      return random.OneIn(2) ? Json::array() : Json::object();
    default:
      return InterestingNumber(random);
  }
}

void Remove(const Node& node) {
  for (auto it = node.parent->begin(); it != node.parent->end(); ++it) {
    if (&*it != node.value) continue;
    node.parent->erase(it);
    return;
  }
}

void Change(Json* root, Random& random) {
  std::vector<Node> nodes;
  Collect(root, nullptr, 0, &nodes);
  const auto any = [&]() -> Node& { return nodes[random.Below(nodes.size())]; };
  Node node = any();
  switch (random.Below(9)) {
    case 0:
      *node.value = Scalar(random);
      break;
    case 1:
      *node.value = Json(*any().value);
      break;
    case 2:
      if (node.parent != nullptr) Remove(node);
      break;
    case 3: {
      Json copy = *any().value;
      if (node.value->is_array()) {
        node.value->insert(
            node.value->begin() + static_cast<Json::difference_type>(random.Below(node.value->size() + 1)),
            std::move(copy));
      } else if (node.value->is_object()) {
        (*node.value)[std::string(1 + random.Below(3), static_cast<char>('a' + random.Below(26)))] = std::move(copy);
      }
      break;
    }
    case 4:
    case 5:  // numbers are what most mistakes are about
      for (int tries = 0; tries < 8 && !node.value->is_number(); ++tries) node = any();
      if (node.value->is_number_unsigned()) {
        *node.value = random.OneIn(2) ? node.value->get<uint64_t>() + random.Below(5) - 2 : InterestingNumber(random);
      } else {
        *node.value = Scalar(random);
      }
      break;
    case 6: {  // a name of one thing for another
      for (int tries = 0; tries < 8 && !node.value->is_string(); ++tries) node = any();
      Node other = any();
      for (int tries = 0; tries < 8 && !other.value->is_string(); ++tries) other = any();
      if (node.value->is_string() && other.value->is_string()) *node.value = Json(*other.value);
      break;
    }
    case 7: {  // the same value under another key
      if (!node.value->is_object() || node.value->size() < 2) break;
      auto a = node.value->begin(), b = node.value->begin();
      std::advance(a, static_cast<long>(random.Below(node.value->size())));
      std::advance(b, static_cast<long>(random.Below(node.value->size())));
      std::swap(*a, *b);
      break;
    }
    default: {
      Json wrapped = std::move(*node.value);
      for (size_t left = random.OneIn(8) ? random.Below(40) : 1; left > 0; --left)
        wrapped = Json::array({std::move(wrapped)});
      *node.value = std::move(wrapped);
    }
  }
}

}  // namespace

void MutateJson(std::string* text, Random& random) {
  if (random.OneIn(4)) return MutateText(text, random);
  Json json = Json::parse(*text, nullptr, /*allow_exceptions=*/false);
  if (json.is_discarded()) return MutateText(text, random);
  Change(&json, random);
  std::string changed = json.dump(-1, ' ', false, Json::error_handler_t::replace);
  if (changed.size() <= kMostBytes) *text = std::move(changed);
}

}  // namespace zo2::fuzz
