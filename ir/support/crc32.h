// CRC-32 (IEEE 802.3, reflected, as in zip, PNG and zlib): crc32("123456789") = 0xcbf43926.
#ifndef ZO2_IR_SUPPORT_CRC32_H_
#define ZO2_IR_SUPPORT_CRC32_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string_view>

namespace zo2 {

// `seed` continues an earlier checksum: Crc32(b, Crc32(a)) = Crc32(a + b).
uint32_t Crc32(std::span<const std::byte> bytes, uint32_t seed = 0);
uint32_t Crc32(std::string_view text, uint32_t seed = 0);

}  // namespace zo2

#endif  // ZO2_IR_SUPPORT_CRC32_H_
