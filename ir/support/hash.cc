#include "ir/support/hash.h"

#include <algorithm>
#include <bit>
#include <cstring>
#if defined(__x86_64__)
#include <cpuid.h>
#include <immintrin.h>
#endif

namespace zo2 {
namespace {

// First 32 bits of the fractional parts of the cube roots of the first 64 primes.
constexpr uint32_t kRound[64] = {
    0x428a2f98, 0x71374491, 0xb5c0fbcf, 0xe9b5dba5, 0x3956c25b, 0x59f111f1, 0x923f82a4, 0xab1c5ed5,
    0xd807aa98, 0x12835b01, 0x243185be, 0x550c7dc3, 0x72be5d74, 0x80deb1fe, 0x9bdc06a7, 0xc19bf174,
    0xe49b69c1, 0xefbe4786, 0x0fc19dc6, 0x240ca1cc, 0x2de92c6f, 0x4a7484aa, 0x5cb0a9dc, 0x76f988da,
    0x983e5152, 0xa831c66d, 0xb00327c8, 0xbf597fc7, 0xc6e00bf3, 0xd5a79147, 0x06ca6351, 0x14292967,
    0x27b70a85, 0x2e1b2138, 0x4d2c6dfc, 0x53380d13, 0x650a7354, 0x766a0abb, 0x81c2c92e, 0x92722c85,
    0xa2bfe8a1, 0xa81a664b, 0xc24b8b70, 0xc76c51a3, 0xd192e819, 0xd6990624, 0xf40e3585, 0x106aa070,
    0x19a4c116, 0x1e376c08, 0x2748774c, 0x34b0bcb5, 0x391c0cb3, 0x4ed8aa4a, 0x5b9cca4f, 0x682e6ff3,
    0x748f82ee, 0x78a5636f, 0x84c87814, 0x8cc70208, 0x90befffa, 0xa4506ceb, 0xbef9a3f7, 0xc67178f2};

}  // namespace

namespace internal {

void Sha256BlocksPortable(std::array<uint32_t, 8>& state, const std::byte* blocks, size_t count) {
  for (const std::byte* block = blocks; block != blocks + 64 * count; block += 64) {
    uint32_t w[64];
    for (int i = 0; i < 16; ++i)
      w[i] = std::to_integer<uint32_t>(block[4 * i]) << 24 | std::to_integer<uint32_t>(block[4 * i + 1]) << 16 |
             std::to_integer<uint32_t>(block[4 * i + 2]) << 8 | std::to_integer<uint32_t>(block[4 * i + 3]);
    for (int i = 16; i < 64; ++i) {
      uint32_t s0 = std::rotr(w[i - 15], 7) ^ std::rotr(w[i - 15], 18) ^ (w[i - 15] >> 3);
      uint32_t s1 = std::rotr(w[i - 2], 17) ^ std::rotr(w[i - 2], 19) ^ (w[i - 2] >> 10);
      w[i] = w[i - 16] + s0 + w[i - 7] + s1;
    }
    auto [a, b, c, d, e, f, g, h] = state;
    for (int i = 0; i < 64; ++i) {
      uint32_t s1 = std::rotr(e, 6) ^ std::rotr(e, 11) ^ std::rotr(e, 25);
      uint32_t t1 = h + s1 + ((e & f) ^ (~e & g)) + kRound[i] + w[i];
      uint32_t s0 = std::rotr(a, 2) ^ std::rotr(a, 13) ^ std::rotr(a, 22);
      uint32_t t2 = s0 + ((a & b) ^ (a & c) ^ (b & c));
      h = g, g = f, f = e, e = d + t1, d = c, c = b, b = a, a = t1 + t2;
    }
    const uint32_t step[8] = {a, b, c, d, e, f, g, h};
    for (size_t i = 0; i < 8; ++i) state[i] += step[i];
  }
}

#if defined(__x86_64__)

bool HasShaInstructions() {
  uint32_t a, b, c, d;
  if (!__get_cpuid(1, &a, &b, &c, &d) || (c & bit_SSE4_1) == 0 || (c & bit_SSSE3) == 0) return false;
  return __get_cpuid_count(7, 0, &a, &b, &c, &d) && (b & bit_SHA) != 0;
}

// sha256rnds2 makes two rounds on the state as (a, b, e, f) and (c, d, g, h); sha256msg1 and sha256msg2 make four words
// of the message schedule of the sixteen before them. See Gulley et al., "Intel SHA Extensions" (2013).
__attribute__((target("sha,sse4.1,ssse3"))) void Sha256BlocksHardware(std::array<uint32_t, 8>& state,
                                                                      const std::byte* blocks, size_t count) {
  const __m128i big_endian = _mm_set_epi64x(0x0C0D0E0F08090A0B, 0x0405060700010203);
  const auto load = [](const uint32_t* from) { return _mm_loadu_si128(reinterpret_cast<const __m128i*>(from)); };
  const __m128i badc = _mm_shuffle_epi32(load(state.data()), 0xB1),
                hgfe = _mm_shuffle_epi32(load(state.data() + 4), 0x1B);
  __m128i abef = _mm_alignr_epi8(badc, hgfe, 8), cdgh = _mm_blend_epi16(hgfe, badc, 0xF0);
  for (; count > 0; --count, blocks += 64) {
    const __m128i abef_before = abef, cdgh_before = cdgh;
    __m128i w[4];  // the last sixteen words
    for (int i = 0; i < 4; ++i)
      w[i] = _mm_shuffle_epi8(_mm_loadu_si128(reinterpret_cast<const __m128i*>(blocks + 16 * i)), big_endian);
#pragma GCC unroll 16
    for (int i = 0; i < 16; ++i) {
      if (i >= 4) {
        __m128i& next = w[i % 4];
        const __m128i last = w[(i + 3) % 4], seven_back = _mm_alignr_epi8(last, w[(i + 2) % 4], 4);
        next = _mm_sha256msg2_epu32(_mm_add_epi32(_mm_sha256msg1_epu32(next, w[(i + 1) % 4]), seven_back), last);
      }
      const __m128i words = _mm_add_epi32(w[i % 4], load(kRound + 4 * i));
      cdgh = _mm_sha256rnds2_epu32(cdgh, abef, words);
      abef = _mm_sha256rnds2_epu32(abef, cdgh, _mm_shuffle_epi32(words, 0x0E));
    }
    abef = _mm_add_epi32(abef, abef_before);
    cdgh = _mm_add_epi32(cdgh, cdgh_before);
  }
  const __m128i feba = _mm_shuffle_epi32(abef, 0x1B), dchg = _mm_shuffle_epi32(cdgh, 0xB1);
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state.data()), _mm_blend_epi16(feba, dchg, 0xF0));
  _mm_storeu_si128(reinterpret_cast<__m128i*>(state.data() + 4), _mm_alignr_epi8(dchg, feba, 8));
}

#else

bool HasShaInstructions() { return false; }
void Sha256BlocksHardware(std::array<uint32_t, 8>& state, const std::byte* blocks, size_t count) {
  Sha256BlocksPortable(state, blocks, count);
}

#endif

}  // namespace internal

namespace {

void Compress(std::array<uint32_t, 8>& state, const std::byte* blocks, size_t count) {
  static const bool hardware = internal::HasShaInstructions();
  if (hardware) return internal::Sha256BlocksHardware(state, blocks, count);
  internal::Sha256BlocksPortable(state, blocks, count);
}

}  // namespace

void Sha256::Update(std::span<const std::byte> bytes) {
  size_t fill = length_ % 64;
  length_ += bytes.size();
  while (!bytes.empty()) {
    if (fill == 0 && bytes.size() >= 64) {
      Compress(state_, bytes.data(), bytes.size() / 64);
      bytes = bytes.subspan(bytes.size() / 64 * 64);
      continue;
    }
    size_t n = std::min<size_t>(64 - fill, bytes.size());
    std::memcpy(buffer_.data() + fill, bytes.data(), n);
    bytes = bytes.subspan(n);
    fill += n;
    if (fill == 64) {
      Compress(state_, buffer_.data(), 1);
      fill = 0;
    }
  }
}

void Sha256::Update(std::string_view text) { Update(std::as_bytes(std::span<const char>(text.data(), text.size()))); }

std::string Sha256::Hex() {
  const uint64_t bits = length_ * 8;
  size_t fill = length_ % 64;
  buffer_[fill++] = std::byte{0x80};
  if (fill > 56) {
    std::fill(buffer_.begin() + static_cast<long>(fill), buffer_.end(), std::byte{0});
    Compress(state_, buffer_.data(), 1);
    fill = 0;
  }
  std::fill(buffer_.begin() + static_cast<long>(fill), buffer_.end(), std::byte{0});
  for (size_t i = 0; i < 8; ++i) buffer_[63 - i] = static_cast<std::byte>(bits >> (8 * i));
  Compress(state_, buffer_.data(), 1);
  std::string hex;
  for (uint32_t word : state_)
    for (int shift = 28; shift >= 0; shift -= 4) hex += "0123456789abcdef"[(word >> shift) & 15];
  return hex;
}

std::string Sha256Hex(std::string_view text) {
  Sha256 hash;
  hash.Update(text);
  return hash.Hex();
}

}  // namespace zo2
