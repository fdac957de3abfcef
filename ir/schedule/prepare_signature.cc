#include "ir/schedule/prepare_signature.h"

namespace zo2 {

std::string PrepareSignature(const Tile& tile, const std::vector<PlanWeight>& weights) {
  std::string text;
  for (const Segment& s : tile.segments) {
    const Component& c = weights[static_cast<size_t>(s.weight)].components[0];
    if (!text.empty()) text += ',';
    text += std::string(Name(c.storage)) + ">" + std::string(Name(c.compute)) + "[" +
            std::to_string(s.row_end - s.row_begin) + "," + std::to_string(s.col_end - s.col_begin) + "]";
  }
  return "prepare(" + text + ")";
}

}  // namespace zo2
