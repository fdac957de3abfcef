// Codes on symbols: which bytes of a tile's wire form depend on which values, and the other way round. Goes
// by wire_format.h alone.
#include "tests/property/machine.h"

namespace zo2::symbolic {
namespace {

// Where an element's code and its scale are in a segment's wire form.
struct Layout {
  Layout(const Component& component, const Segment& g)
      : wire(component.wire),
        cols(g.col_end - g.col_begin),
        rows(g.row_end - g.row_begin),
        bytes(WireBytes(wire, rows, cols)) {}
  bool coded() const { return IsCoded(wire); }
  // First byte of the element, and how many: half a byte is one.
  size_t code(int64_t n) const {
    return U(n / cols) * WireRowBytes(wire, cols) + U(n % cols) * U(BitsOf(wire)) / 8;
  }
  size_t width() const { return U(BitsOf(wire) + 7) / 8; }
  int64_t group(int64_t n) const { return n / cols * WireGroups(cols) + n % cols / kWireGroup; }
  size_t scale(int64_t group) const { return WireScaleOffset(wire, rows, cols) + 4 * U(group); }

  WireFormat wire;
  int64_t cols, rows;
  uint64_t bytes;
};

}  // namespace

std::vector<uint64_t> Encode(const Component& component, const Segment& g,
                             const std::vector<uint64_t>& stored) {
  const Layout layout(component, g);
  const size_t size = U(SizeOf(component.storage));
  std::vector<uint64_t> out(layout.bytes, Hash("padding"));
  std::vector<uint64_t> values, scales;
  if (layout.coded()) scales.assign(U(layout.rows * WireGroups(layout.cols)), Hash("scale", layout.wire));
  for (int64_t n = 0; n < g.elements(); ++n) {
    uint64_t value = Hash("value", component.storage);
    for (size_t k = 0; k < size; ++k) value = Mix(value, stored[U(n) * size + k]);
    values.push_back(value);
    if (layout.coded()) scales[U(layout.group(n))] = Mix(scales[U(layout.group(n))], value);
  }
  for (int64_t n = 0; n < g.elements(); ++n) {
    const uint64_t code =
        Hash("code", layout.wire, values[U(n)], layout.coded() ? scales[U(layout.group(n))] : 0);
    uint64_t* at = &out[layout.code(n)];
    for (size_t k = 0; k < layout.width(); ++k)
      at[k] = layout.wire == WireFormat::kI4 ? Mix(at[k], code) : Mix(code, k);
  }
  for (size_t j = 0; j < scales.size(); ++j)
    for (size_t k = 0; k < 4; ++k) out[layout.scale(static_cast<int64_t>(j)) + k] = Mix(scales[j], k);
  return out;
}

std::vector<uint64_t> Decode(const Component& component, const Segment& g,
                             const std::vector<uint64_t>& codes) {
  const Layout layout(component, g);
  std::vector<uint64_t> values;
  for (int64_t n = 0; n < g.elements(); ++n) {
    uint64_t value = Hash("decoded", layout.wire, layout.wire == WireFormat::kI4 ? n % layout.cols % 2 : 0);
    for (size_t k = 0; k < layout.width(); ++k) value = Mix(value, codes[layout.code(n) + k]);
    for (size_t k = 0; layout.coded() && k < 4; ++k)
      value = Mix(value, codes[layout.scale(layout.group(n)) + k]);
    values.push_back(value);
  }
  return values;
}

}  // namespace zo2::symbolic
