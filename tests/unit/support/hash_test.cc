#include "ir/support/hash.h"

#include <gtest/gtest.h>

#include <vector>

namespace zo2 {
namespace {

std::vector<std::byte> Bytes(size_t n) {
  std::vector<std::byte> bytes(n);
  uint32_t x = 1;
  for (std::byte& b : bytes) b = static_cast<std::byte>((x = x * 1664525 + 1013904223) >> 24);
  return bytes;
}

TEST(Hash, BothPathsAgree) {
  if (!internal::HasShaInstructions()) GTEST_SKIP() << "this processor has no SHA instructions";
  const std::vector<std::byte> bytes = Bytes(64 * 40 + 1);
  for (size_t count = 0; count < 40; ++count) {
    std::array<uint32_t, 8> portable = {1, 2, 3, 4, 0xFFFFFFFF, 0x80000000, 0x12345678, 0}, hardware = portable;
    internal::Sha256BlocksPortable(portable, bytes.data() + count % 2, count);  // also at odd addresses
    internal::Sha256BlocksHardware(hardware, bytes.data() + count % 2, count);
    EXPECT_EQ(portable, hardware) << count << " blocks";
  }
}

TEST(Hash, PiecesDoNotMatter) {
  const std::vector<std::byte> bytes = Bytes(1000);
  for (size_t length : {0, 1, 55, 56, 63, 64, 65, 127, 128, 1000}) {
    Sha256 whole;
    whole.Update(std::span(bytes).first(length));
    const std::string digest = whole.Hex();
    for (size_t piece : {1, 7, 63, 64, 65, 200}) {
      Sha256 pieces;
      for (size_t at = 0; at < length; at += piece)
        pieces.Update(std::span(bytes).subspan(at, std::min(piece, length - at)));
      EXPECT_EQ(pieces.Hex(), digest) << length << " bytes in pieces of " << piece;
    }
  }
}

}  // namespace
}  // namespace zo2
