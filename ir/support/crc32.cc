#include "ir/support/crc32.h"

#include <zlib.h>

#include <algorithm>

namespace zo2 {

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

uint32_t Crc32(std::string_view text, uint32_t seed) {
  return Crc32(std::as_bytes(std::span<const char>(text.data(), text.size())), seed);
}

}  // namespace zo2
