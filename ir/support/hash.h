// SHA-256 (FIPS 180-4), with the processor's SHA instructions where it has them.
#ifndef ZO2_IR_SUPPORT_HASH_H_
#define ZO2_IR_SUPPORT_HASH_H_

#include <array>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

namespace zo2 {

class Sha256 {
 public:
  void Update(std::span<const std::byte> bytes);
  void Update(std::string_view text);
  // The digest as 64 hex digits. Call once.
  std::string Hex();

 private:
  std::array<uint32_t, 8> state_ = {0x6a09e667, 0xbb67ae85, 0x3c6ef372, 0xa54ff53a,
                                    0x510e527f, 0x9b05688c, 0x1f83d9ab, 0x5be0cd19};
  std::array<std::byte, 64> buffer_;
  uint64_t length_ = 0;  // bytes so far
};

std::string Sha256Hex(std::string_view text);

namespace internal {
// The compression of `count` blocks of 64 bytes into a state, in portable code and with SHA instructions (call it only
// where HasShaInstructions says so). Sha256 takes the faster one; both are here for the test that compares them.
void Sha256BlocksPortable(std::array<uint32_t, 8>& state, const std::byte* blocks, size_t count);
void Sha256BlocksHardware(std::array<uint32_t, 8>& state, const std::byte* blocks, size_t count);
bool HasShaInstructions();
}  // namespace internal

}  // namespace zo2

#endif  // ZO2_IR_SUPPORT_HASH_H_
