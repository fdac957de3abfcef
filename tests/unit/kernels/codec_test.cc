// The wire formats' codecs to the bit: numpy's rectangles, every code, every bf16, ties, rectangles at random.
#include "runtime/kernels/codec.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstring>
#include <random>

#include "tests/tools/scalar_wire.h"
#include "tests/unit/kernels/golden.h"

namespace zo2::kernels {
namespace {

constexpr WireFormat kFormats[] = {WireFormat::kF32,  WireFormat::kBF16, WireFormat::kF16,
                                   WireFormat::kE4M3, WireFormat::kI8,   WireFormat::kI4};
constexpr WireFormat kCoded[] = {WireFormat::kE4M3, WireFormat::kI8, WireFormat::kI4};

uint32_t Bits(float v) { return std::bit_cast<uint32_t>(v); }

// Bytes at a multiple of 64, with sentinels behind.
class Aligned {
 public:
  static constexpr size_t kBehind = 64;
  explicit Aligned(size_t size) : size_(size), bytes_(size + 64 + kBehind, 0xA5) {}
  uint8_t* data() { return bytes_.data() + (64 - reinterpret_cast<uintptr_t>(bytes_.data()) % 64) % 64; }
  std::vector<uint8_t> get() { return {data(), data() + size_}; }
  bool Intact() {
    return std::all_of(data() + size_, data() + size_ + kBehind, [](uint8_t b) { return b == 0xA5; });
  }

 private:
  size_t size_;
  std::vector<uint8_t> bytes_;
};

// Storage bits as values, and where values lie.
float Widened(DType storage, uint32_t bits) {
  return scalar::Widen(storage == DType::kF32    ? scalar::Storage::kF32
                       : storage == DType::kBF16 ? scalar::Storage::kBf16
                                                 : scalar::Storage::kFp16,
                       bits);
}

std::vector<uint8_t> EncodeAll(WireFormat format, int64_t rows, int64_t cols, const std::vector<float>& values, Isa isa,
                               uint64_t* not_finite) {
  Aligned coded(WireBytes(format, rows, cols));
  EncodeArgs args{format, rows, cols, 0, rows, DType::kF32, values.data(), cols, coded.data()};
  *not_finite = Encode(args, isa);
  EXPECT_TRUE(coded.Intact());
  return coded.get();
}

std::vector<float> DecodeAll(WireFormat format, int64_t rows, int64_t cols, const std::vector<uint8_t>& bytes,
                             Isa isa) {
  Aligned coded(bytes.size());
  std::copy(bytes.begin(), bytes.end(), coded.data());
  std::vector<float> values(static_cast<size_t>(rows * cols));
  Decode({format, rows, cols, 0, rows, coded.data(), values.data(), cols}, isa);
  return values;
}

std::string Hex(const std::vector<uint8_t>& bytes) {
  std::string out;
  char two[3];
  for (const uint8_t b : bytes) {
    std::snprintf(two, sizeof(two), "%02x", b);
    out += two;
  }
  return out;
}

// ---- numpy's vectors (golden/wire/make_wire.py) ----

Json Vectors() { return Golden(std::string(ZO2_SOURCE_DIR) + "/tests/golden/wire/wire.json"); }

TEST(Codec, GoldenSmall) {
  const Json file = Vectors();
  ASSERT_GE(file["small"].size(), 70u);
  for (const Json& c : file["small"]) {
    const WireFormat format = *ParseWireFormat(c["format"].get<std::string>());
    std::vector<float> values;
    for (const uint32_t word : HexWords(c["values"])) values.push_back(std::bit_cast<float>(word));
    const auto cols = static_cast<int64_t>(values.size());
    for (const Isa isa : Isas()) {
      SCOPED_TRACE(c.dump() + " " + std::string(Name(isa)));
      uint64_t not_finite = 0;
      const std::vector<uint8_t> coded = EncodeAll(format, 1, cols, values, isa, &not_finite);
      EXPECT_EQ(Hex(coded), c["coded"]);
      EXPECT_EQ(not_finite, c["not_finite"].get<uint64_t>());
      std::vector<uint32_t> decoded;
      for (const float v : DecodeAll(format, 1, cols, coded, isa)) decoded.push_back(Bits(v));
      EXPECT_EQ(decoded, HexWords(c["decoded"]));
    }
  }
}

uint64_t SplitMix(uint64_t seed, uint64_t i) {
  uint64_t z = seed + (i + 1) * 0x9E3779B97F4A7C15;
  z = (z ^ (z >> 30)) * 0xBF58476D1CE4E5B9;
  z = (z ^ (z >> 27)) * 0x94D049BB133111EB;
  return z ^ (z >> 31);
}

TEST(Codec, GoldenLarge) {
  const Json file = Vectors();
  ASSERT_GE(file["large"].size(), 500u);
  for (const Json& c : file["large"]) {
    const WireFormat format = *ParseWireFormat(c["format"].get<std::string>());
    const DType storage = *ParseDType(c["storage"].get<std::string>());
    const int64_t rows = c["rows"], cols = c["cols"];
    const auto bytes = static_cast<size_t>(SizeOf(storage)), count = static_cast<size_t>(rows * cols);
    std::vector<std::byte> values(count * bytes);
    for (size_t i = 0; i < count; ++i) {
      const uint64_t h = SplitMix(c["seed"], i);
      const uint64_t exponent = c["low"].get<uint64_t>() + (h & 0xFF) % c["span"].get<uint64_t>();
      uint64_t bits = storage == DType::kF16 ? ((h >> 48) & 0x83FF) | exponent << 10
                                             : ((h >> 32) & 0x807FFFFF) | exponent << 23;
      if (storage == DType::kBF16) bits >>= 16;
      std::memcpy(values.data() + i * bytes, &bits, bytes);  // little endian
    }
    for (const Isa isa : Isas()) {
      SCOPED_TRACE(c.dump() + " " + std::string(Name(isa)));
      Aligned coded(WireBytes(format, rows, cols));
      EXPECT_EQ(Encode({format, rows, cols, 0, rows, storage, values.data(), cols, coded.data()}, isa),
                c["not_finite"].get<uint64_t>());
      EXPECT_EQ(Checksum(coded.get()), Number(c["coded"], 16));
      EXPECT_EQ(Checksum(DecodeAll(format, rows, cols, coded.get(), isa)), Number(c["decoded"], 16));
    }
  }
}

// ---- exhaustive ----

// Every code with scales of every size, in rows whose lengths are not multiples of anything.
TEST(Codec, EveryCode) {
  const float scales[] = {1.0f, 0x1.23456p-7f, -3.0f, 0.0f, 0x1p-149f, 0x1.8p-140f, 0x1.fffffep+127f, 7e-5f};
  for (const WireFormat format : kCoded) {
    const int64_t cols = format == WireFormat::kI4 ? 16 * 9 + 1 : 256 + 21, rows = std::ssize(scales);
    std::vector<uint8_t> coded(WireBytes(format, rows, cols));
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        uint8_t& byte = coded[static_cast<size_t>(r) * WireRowBytes(format, cols) +
                              static_cast<size_t>(format == WireFormat::kI4 ? c / 2 : c)];
        byte = static_cast<uint8_t>(format == WireFormat::kI4 ? byte | (c % 16) << (4 * (c % 2)) : c);
      }
      for (int64_t g = 0; g < WireGroups(cols); ++g)
        std::memcpy(coded.data() + WireScaleOffset(format, rows, cols) + 4 * (r * WireGroups(cols) + g), &scales[r], 4);
    }
    for (const Isa isa : Isas()) {
      const std::vector<float> values = DecodeAll(format, rows, cols, coded, isa);
      for (int64_t r = 0; r < rows; ++r) {
        for (int64_t c = 0; c < cols; ++c) {
          const float got = values[static_cast<size_t>(r * cols + c)];
          const float want = scalar::DecodedAt(format, rows, cols, coded.data(), r, c);
          if (std::isnan(want)) {
            ASSERT_TRUE(std::isnan(got)) << Name(format) << " code " << c;
          } else {
            ASSERT_EQ(Bits(got), Bits(want)) << Name(format) << " code " << c << " scale " << scales[r];
          }
        }
      }
    }
  }
}

// What a code stands for is encoded as that code again, where the group's largest is a largest code.
TEST(Codec, CodesAreFixedPoints) {
  for (const WireFormat format : kCoded) {
    const uint32_t bits = static_cast<uint32_t>(BitsOf(format));
    for (uint32_t code = 0; code < (1u << bits); ++code) {
      const float value = scalar::CodeValue(format, code);
      if (std::isnan(value) || std::fabs(value) > LargestCode(format)) continue;  // not used
      const std::vector<float> values = {value * 0.125f, -LargestCode(format) * 0.125f};
      for (const Isa isa : Isas()) {
        uint64_t not_finite = 0;
        const std::vector<uint8_t> coded = EncodeAll(format, 1, 2, values, isa, &not_finite);
        EXPECT_EQ(coded[0] & ((1u << bits) - 1), code) << Name(format) << " " << Name(isa);
        EXPECT_EQ(DecodeAll(format, 1, 2, coded, isa), values) << Name(format) << " " << code;
      }
    }
  }
}

void ExpectAsJudged(WireFormat format, int64_t rows, int64_t cols, const std::vector<float>& values) {
  uint64_t want_count = 0;
  const std::vector<uint8_t> want = scalar::Encoded(format, rows, cols, values, &want_count);
  for (const Isa isa : Isas()) {
    uint64_t count = 0;
    const std::vector<uint8_t> got = EncodeAll(format, rows, cols, values, isa, &count);
    ASSERT_EQ(count, want_count) << Name(format) << " " << Name(isa);
    if (got != want) {
      const auto at = std::mismatch(got.begin(), got.end(), want.begin()).first - got.begin();
      FAIL() << Name(format) << " " << Name(isa) << ": byte " << at << " of " << got.size();
    }
  }
}

// Rows of the given values, each group beginning with `first`.
std::vector<float> Led(float first, const std::vector<float>& values, int64_t* rows) {
  std::vector<float> out;
  for (size_t i = 0; i < values.size(); i += 127) {
    out.push_back(first);
    for (size_t k = 0; k < 127; ++k) out.push_back(values[std::min(i + k, values.size() - 1)]);
  }
  *rows = std::ssize(out) / 128;
  return out;
}

// Every bf16 through every format, at scale 1 as far as that reaches, and with whatever scale its own group has.
TEST(Codec, EveryBf16) {
  for (const WireFormat format : kFormats) {
    std::vector<float> within, all;
    for (uint32_t half = 0; half <= 0xFFFF; ++half) {
      const float value = std::bit_cast<float>(half << 16);
      if (!std::isfinite(value)) continue;
      all.push_back(value);
      if (std::fabs(value) <= LargestCode(format)) within.push_back(value);
    }
    int64_t rows = 0;
    if (!within.empty()) {
      const std::vector<float> values = Led(LargestCode(format), within, &rows);
      ExpectAsJudged(format, rows, 128, values);
    }
    ExpectAsJudged(format, std::ssize(all) / 120, 120, all);
  }
}

// Half way between two codes, and a last place to either side.
TEST(Codec, Ties) {
  for (const WireFormat format : kCoded) {
    std::vector<float> codes, values;
    for (uint32_t code = 0; code < (1u << BitsOf(format)); ++code) {
      const float value = scalar::CodeValue(format, code);
      if (value >= 0 && value <= LargestCode(format)) codes.push_back(value);
    }
    std::sort(codes.begin(), codes.end());
    for (size_t i = 0; i + 1 < codes.size(); ++i) {
      const float middle = (codes[i] + codes[i + 1]) / 2;  // exact
      for (const float v : {middle, std::nextafter(middle, 0.0f), std::nextafter(middle, 1e9f)})
        for (const float sign : {1.0f, -1.0f}) values.push_back(sign * v);
    }
    for (const float scale : {1.0f, 0x1p-20f, 0x1p+100f, 0x1p-140f}) {
      std::vector<float> scaled = values;
      for (float& v : scaled) v *= scale;
      int64_t rows = 0;
      const std::vector<float> led = Led(LargestCode(format) * scale, scaled, &rows);
      ExpectAsJudged(format, rows, 128, led);
    }
  }
}

// Groups whose largest value is one of the smallest: scales that are subnormal, too coarse, or vanish.
TEST(Codec, SmallestScales) {
  std::mt19937_64 random(4);
  for (const WireFormat format : kCoded) {
    for (uint32_t largest = 1; largest < 4000; largest += largest < 1200 ? 1 : 37) {
      std::vector<float> values = {std::bit_cast<float>(largest), std::bit_cast<float>(largest | 0x80000000)};
      while (values.size() < 40)
        values.push_back(
            std::bit_cast<float>(static_cast<uint32_t>(random() % (largest + 1) | (random() & 0x80000000))));
      ExpectAsJudged(format, 1, 40, values);
    }
  }
}

// ---- at random ----

// Values of every kind: a few sizes in one rectangle, zeros of both signs, rarely something that is not finite.
uint32_t RandomBits(std::mt19937_64& random, DType storage, int kind) {
  const uint64_t h = random();
  if (kind == 0 && h % 7 == 0) return storage == DType::kF32 ? (h & 0x100 ? 0x80000000u : 0) : h & 0x100 ? 0x8000u : 0;
  if (kind == 1) return static_cast<uint32_t>(storage == DType::kF32 ? h : h & 0xFFFF);
  const float value = std::ldexp(static_cast<float>(h % 4001) - 2000, static_cast<int>((h >> 32) % 14) - 20);
  if (storage == DType::kF32) return Bits(value);
  return storage == DType::kBF16 ? scalar::Narrow(scalar::kBf16, value) : scalar::Narrow(scalar::kFp16, value);
}

TEST(Codec, RandomRectangles) {
  constexpr DType kStorage[] = {DType::kF32, DType::kBF16, DType::kF16};
  const std::vector<Isa> isas = Isas();
  std::mt19937_64 random(12);
  const auto below = [&](int64_t n) { return static_cast<int64_t>(random() % static_cast<uint64_t>(n)); };
  uint64_t not_finite = 0;
  for (int n = 0; n < 6000; ++n) {
    const WireFormat format = kFormats[below(6)];
    const DType storage = kStorage[below(3)];
    const int64_t rows = below(6), cols = below(4) == 0 ? 128 * below(4) : below(400);
    const int64_t stride = cols + below(2) * below(50);
    const int kind = static_cast<int>(below(4));
    const auto bytes = static_cast<size_t>(SizeOf(storage));
    const size_t lead = bytes * static_cast<size_t>(below(9));
    std::vector<std::byte> source(lead + static_cast<size_t>(rows * stride) * bytes);
    std::vector<float> values;
    for (int64_t r = 0; r < rows; ++r) {
      for (int64_t c = 0; c < cols; ++c) {
        const uint32_t bits = RandomBits(random, storage, kind);
        std::memcpy(source.data() + lead + static_cast<size_t>(r * stride + c) * bytes, &bits, bytes);
        // The judge of 16-bit values knows finite ones only.
        const uint32_t infinity = storage == DType::kBF16 ? 0x7F80 : 0x7C00;
        const bool finite = storage == DType::kF32 || (bits & 0x7FFF) < infinity;
        values.push_back(finite ? Widened(storage, bits) : std::numeric_limits<float>::infinity());
      }
    }
    uint64_t want_count = 0;
    const std::vector<uint8_t> want = scalar::Encoded(format, rows, cols, values, &want_count);
    not_finite += want_count;
    for (const Isa isa : isas) {
      SCOPED_TRACE(std::to_string(n) + ": " + std::string(Name(format)) + " of " + std::string(Name(storage)) + ", " +
                   std::to_string(rows) + " x " + std::to_string(cols) + ", " + std::string(Name(isa)));
      Aligned coded(want.size());
      // In two or three ranges of rows, the last ones first.
      int64_t end = rows;
      uint64_t count = 0;
      for (const int64_t begin : {below(rows + 1), below(rows + 1), int64_t{0}}) {
        if (begin > end) continue;
        count += Encode({format, rows, cols, begin, end, storage, source.data() + lead, stride, coded.data()}, isa);
        end = begin;
      }
      ASSERT_EQ(count, want_count);
      ASSERT_EQ(coded.get(), want);
      ASSERT_TRUE(coded.Intact());
      // Back, into rows with gaps that stay as they are.
      const int64_t gap = below(3);
      std::vector<float> decoded(static_cast<size_t>(rows * (cols + gap)), 77.0f);
      const int64_t middle = below(rows + 1);
      Decode({format, rows, cols, middle, rows, coded.data(), decoded.data(), cols + gap}, isa);
      Decode({format, rows, cols, 0, middle, coded.data(), decoded.data(), cols + gap}, isa);
      for (int64_t r = 0; r < rows; ++r)
        for (int64_t c = 0; c < cols + gap; ++c)
          ASSERT_EQ(Bits(decoded[static_cast<size_t>(r * (cols + gap) + c)]),
                    Bits(c < cols ? scalar::DecodedAt(format, rows, cols, want.data(), r, c) : 77.0f))
              << r << " " << c;
    }
  }
  EXPECT_GT(not_finite, 1000u);
}

}  // namespace
}  // namespace zo2::kernels
