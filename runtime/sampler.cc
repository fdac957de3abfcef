#include <bit>

#include "runtime/dataset.h"

namespace zo2 {
namespace {

// The finaliser of splitmix64 (Steele, Lea and Flood, "Fast splittable pseudorandom number generators", 2014).
uint64_t Mix(uint64_t x) {
  x += 0x9E3779B97F4A7C15;
  x = (x ^ (x >> 30)) * 0xBF58476D1CE4E5B9;
  x = (x ^ (x >> 27)) * 0x94D049BB133111EB;
  return x ^ (x >> 31);
}

constexpr int kRounds = 8;

// A keyed bijection of [0, 2^bits): a Feistel network whose halves may differ by a bit (Luby and Rackoff, 1988).
uint64_t Scramble(uint64_t x, int bits, uint64_t key) {
  const int low_bits = bits / 2, high_bits = bits - low_bits;
  const uint64_t low_mask = (uint64_t{1} << low_bits) - 1, high_mask = (uint64_t{1} << high_bits) - 1;
  uint64_t low = x & low_mask, high = x >> low_bits;
  for (int round = 0; round < kRounds; round += 2) {
    high ^= Mix(key ^ Mix(low << 8 | static_cast<uint64_t>(round))) & high_mask;
    low ^= Mix(key ^ Mix(high << 8 | static_cast<uint64_t>(round + 1))) & low_mask;
  }
  return high << low_bits | low;
}

}  // namespace

Result<DataOrder> ParseDataOrder(const std::string& name) {
  if (name == "random") return DataOrder::kRandom;
  if (name == "sequential") return DataOrder::kSequential;
  return Invalid("--order ", name, ": use random or sequential");
}

Sampler::Sampler(DataOrder order, uint64_t seed, int64_t examples, int64_t batch_rows)
    : order_(order), seed_(seed), examples_(examples), rows_(batch_rows) {}

int64_t Sampler::At(int64_t step, int64_t row) const {
  const int64_t position = step * rows_ + row, index = position % examples_;
  if (order_ == DataOrder::kSequential || examples_ == 1) return index;
  const uint64_t epoch = static_cast<uint64_t>(position / examples_), key = Mix(Mix(seed_) + epoch);
  // The smallest power of two that holds the file is less than twice as large. Walking the cycle on until it is back
  // inside keeps the bijection and takes less than two turns on average.
  const int bits = std::bit_width(static_cast<uint64_t>(examples_ - 1));
  uint64_t x = static_cast<uint64_t>(index);
  do x = Scramble(x, bits, key);
  while (x >= static_cast<uint64_t>(examples_));
  return static_cast<int64_t>(x);
}

}  // namespace zo2
