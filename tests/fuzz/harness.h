// What every fuzz harness stands on. A harness is one function per reader, `int FuzzX(data, size)`: it makes a
// file of the bytes, reads it the way the programs do, looks at everything that was read, and returns 0. What a
// reader must never do ends the process, so that libFuzzer or the driver keeps the input:
//   crash     sanitizers, signals and uncaught exceptions do that by themselves;
//   hang      5 seconds, watched from outside (libFuzzer's -timeout, the driver's timer);
//   memory    MemoryLimit: more live bytes of operator new than a multiple of the input;
//   errors    CheckError: an error that says nothing, or blames the input on us (kInternal).
#ifndef ZO2_TESTS_FUZZ_HARNESS_H_
#define ZO2_TESTS_FUZZ_HARNESS_H_

#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "ir/support/status.h"

namespace zo2::fuzz {

// Says why and aborts.
[[noreturn]] void Fail(const std::string& why);
inline void Require(bool good, const char* what) {
  if (!good) Fail(what);
}
// Of a file that was refused.
void CheckError(const Status& status);
// Reads every byte: under AddressSanitizer a span that is too long is found here.
void Touch(std::span<const std::byte> bytes);

// Files of this process in a folder of its own, in memory where the machine has /dev/shm; gone at exit.
const std::string& Folder();
class InputFile {
 public:
  explicit InputFile(const std::string& name);  // within Folder()
  ~InputFile();
  InputFile(const InputFile&) = delete;
  void Set(std::string_view bytes);
  const std::string& path() const { return path_; }

 private:
  std::string path_;
  int fd_;
};

// The most that a reader may hold at once for an input of n bytes: fixed + multiple * n. docs/RELIABILITY.md
// says why they are what they are.
struct Allowance {
  size_t fixed;
  size_t multiple;
  size_t single = 0;  // one allocation at a time that is no larger than this is not counted
};
// Believing a string's length, protobuf reserves up to 50 MB (and a terminator) before it looks whether the bytes are there.
constexpr size_t kProtobufString = 50'000'064;
// While it lives, an allocation that passes the allowance ends the process. One at a time.
class MemoryLimit {
 public:
  MemoryLimit(const Allowance& allowance, size_t input);
  ~MemoryLimit();
  MemoryLimit(const MemoryLimit&) = delete;
};

// Over all executions of this process.
struct Counts {
  int64_t accepted = 0;  // inputs that were read to the end without an error
  size_t most_bytes = 0;
  double most_share = 0;     // of the allowance
  double most_multiple = 0;  // bytes / size, of inputs of at least 4 KiB
};
Counts& TotalCounts();

// A reader with its harness.
class Random;
struct Reader {
  const char* name;  // also its folder in corpus/
  int (*run)(const uint8_t* data, size_t size);
  // One change that keeps the format's structure; random bytes are everybody's.
  void (*mutate)(std::string* input, Random& random);
  // Makes lengths and checksums right again; nullptr where the format has none.
  void (*repair)(std::string* input);
  int64_t mutants;  // in `make test`
};
const std::vector<Reader>& Readers();

}  // namespace zo2::fuzz

#endif  // ZO2_TESTS_FUZZ_HARNESS_H_
