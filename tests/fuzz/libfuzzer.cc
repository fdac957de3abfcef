// A reader for libFuzzer: ZO2_FUZZ_READER is its name. Half of the mutations are libFuzzer's own, half the reader's;
// half of all are repaired.
#include <cstdio>
#include <cstdlib>
#include <cstring>

#include "tests/fuzz/mutate.h"
#include "tests/fuzz/readers.h"

extern "C" size_t LLVMFuzzerMutate(uint8_t* data, size_t size, size_t max_size);

namespace zo2::fuzz {
namespace {

const Reader& TheReader() {
  static const Reader& reader = [&]() -> const Reader& {
    for (const Reader& one : Readers())
      if (std::strcmp(one.name, ZO2_FUZZ_READER) == 0) return one;
    Fail("there is no reader " ZO2_FUZZ_READER);
  }();
  return reader;
}

// Said at the end: what docs/RELIABILITY.md needs.
void Report() {
  const Counts& counts = TotalCounts();
  std::fprintf(stderr, "accepted %lld; most memory %zu bytes, %.1f times the input, %.0f %% of what is allowed\n",
               static_cast<long long>(counts.accepted), counts.most_bytes, counts.most_multiple,
               100 * counts.most_share);
}

}  // namespace
}  // namespace zo2::fuzz

extern "C" int LLVMFuzzerInitialize(int*, char***) {
  zo2::fuzz::Folder();
  std::atexit(zo2::fuzz::Report);
  return 0;
}

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  return zo2::fuzz::TheReader().run(data, size);
}

extern "C" size_t LLVMFuzzerCustomMutator(uint8_t* data, size_t size, size_t max_size, unsigned int seed) {
  const zo2::fuzz::Reader& reader = zo2::fuzz::TheReader();
  zo2::fuzz::Random random(seed);
  std::string input;
  if (random.OneIn(2)) {
    size = LLVMFuzzerMutate(data, size, max_size);
    input.assign(reinterpret_cast<const char*>(data), size);
  } else {
    input.assign(reinterpret_cast<const char*>(data), size);
    reader.mutate(&input, random);
  }
  if (reader.repair != nullptr && random.OneIn(2)) reader.repair(&input);
  if (input.size() > max_size) return size;
  std::memcpy(data, input.data(), input.size());
  return input.size();
}
