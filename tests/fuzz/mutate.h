// Mutations of inputs: of bytes, of text, of JSON and of protobuf's wire format. Each changes one thing; what a
// format's own structure is (lengths, checksums, records) is the business of its harness.
#ifndef ZO2_TESTS_FUZZ_MUTATE_H_
#define ZO2_TESTS_FUZZ_MUTATE_H_

#include <cstdint>
#include <string>
#include <vector>

#include "tests/fuzz/harness.h"

namespace zo2::fuzz {

// splitmix64 (Steele, Lea, Flood 2014): the same numbers everywhere.
class Random {
 public:
  explicit Random(uint64_t seed) : state_(seed) {}
  uint64_t Next() {
    uint64_t z = state_ += 0x9e3779b97f4a7c15;
    z = (z ^ z >> 30) * 0xbf58476d1ce4e5b9;
    z = (z ^ z >> 27) * 0x94d049bb133111eb;
    return z ^ z >> 31;
  }
  size_t Below(size_t n) { return n == 0 ? 0 : static_cast<size_t>(Next() % n); }
  bool OneIn(size_t n) { return Below(n) == 0; }

 private:
  uint64_t state_;
};

// Mutations let nothing grow past this.
constexpr size_t kMostBytes = 1 << 16;

// Small numbers, powers of two and their neighbours, and what overflows.
uint64_t InterestingNumber(Random& random);

// Flips, overwrites, inserts, deletes, copies, cuts.
void MutateBytes(std::string* bytes, Random& random);
// Numbers, quoted strings and brackets of a text that need not be well-formed.
void MutateText(std::string* text, Random& random);
// One node of a JSON value; what does not parse is changed as text.
void MutateJson(std::string* text, Random& random);
// One field of a protobuf message, at any depth; what does not parse is changed as bytes.
void MutateWire(std::string* bytes, Random& random);

// A mutant of `input`: one to four changes, half of them by the reader's own mutator, then in half of the cases its
// repair. `other` is what pieces are taken from.
std::string Mutant(const Reader& reader, const std::string& input, const std::string& other, Random& random);

// Little-endian numbers in a string.
template <typename T>
void Put(T value, std::string* out) {
  for (size_t i = 0; i < sizeof(T); ++i) *out += static_cast<char>(value >> (8 * i) & 255);
}
template <typename T>
T Get(std::string_view bytes, size_t at) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(static_cast<uint8_t>(bytes[at + i])) << (8 * i);
  return value;
}

}  // namespace zo2::fuzz

#endif  // ZO2_TESTS_FUZZ_MUTATE_H_
