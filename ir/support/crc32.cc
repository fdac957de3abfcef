#include "ir/support/crc32.h"

#ifndef ZO2_NO_ZLIB
#include <zlib.h>
#endif

#include <algorithm>
#include <array>

namespace zo2 {

#ifdef ZO2_NO_ZLIB
namespace {

// [k][b]: what a byte b leaves in the remainder k bytes later.
using Tables = std::array<std::array<uint32_t, 256>, 8>;

Tables MakeTables() {
  Tables t;
  for (uint32_t b = 0; b < 256; ++b) {
    uint32_t c = b;
    for (int bit = 0; bit < 8; ++bit) c = (c >> 1) ^ ((c & 1) != 0 ? 0xEDB88320u : 0);
    t[0][b] = c;
  }
  for (size_t k = 1; k < t.size(); ++k)
    for (size_t b = 0; b < 256; ++b) t[k][b] = (t[k - 1][b] >> 8) ^ t[0][t[k - 1][b] & 0xFF];
  return t;
}

}  // namespace

uint32_t Crc32(std::span<const std::byte> bytes, uint32_t seed) {
  static const Tables t = MakeTables();
  const auto* p = reinterpret_cast<const uint8_t*>(bytes.data());
  const uint8_t* const end = p + bytes.size();
  uint32_t crc = ~seed;
  for (; end - p >= 8; p += 8) {  // eight bytes at once, each by the table of its place
    const uint32_t low = crc ^ (uint32_t{p[0]} | uint32_t{p[1]} << 8 | uint32_t{p[2]} << 16 | uint32_t{p[3]} << 24);
    crc = t[7][low & 0xFF] ^ t[6][low >> 8 & 0xFF] ^ t[5][low >> 16 & 0xFF] ^ t[4][low >> 24] ^ t[3][p[4]] ^
          t[2][p[5]] ^ t[1][p[6]] ^ t[0][p[7]];
  }
  for (; p < end; ++p) crc = (crc >> 8) ^ t[0][(crc ^ *p) & 0xFF];
  return ~crc;
}
#else
uint32_t Crc32(std::span<const std::byte> bytes, uint32_t seed) {
  uLong crc = seed;
  size_t at = 0;
  while (at < bytes.size()) {  // zlib counts in 32 bits
    size_t n = std::min<size_t>(bytes.size() - at, size_t{1} << 30);
    crc = ::crc32(crc, reinterpret_cast<const Bytef*>(bytes.data() + at), static_cast<uInt>(n));
    at += n;
  }
  return static_cast<uint32_t>(crc);
}
#endif

uint32_t Crc32(std::string_view text, uint32_t seed) {
  return Crc32(std::as_bytes(std::span<const char>(text.data(), text.size())), seed);
}

}  // namespace zo2
