#include "tests/fuzz/harness.h"

#include <fcntl.h>
#include <malloc.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <new>

#include "ir/support/file.h"

namespace zo2::fuzz {
namespace {

std::atomic<int64_t> live{0}, most{0};
std::atomic<int64_t> limit{0};  // of `live`; 0: none
int64_t live_before = 0;
Allowance current{};
size_t current_input = 0;
std::atomic<void*> uncounted{nullptr};  // Allowance::single

void* Allocate(size_t size, size_t alignment) {
  const int64_t ceiling = limit.load(std::memory_order_relaxed);
  constexpr size_t kLarge = 1 << 20;
  if (ceiling != 0 && size >= kLarge && size <= current.single && uncounted == nullptr)
    return uncounted = std::malloc(size);
  if (ceiling != 0 && (size > size_t{1} << 46 || live.load() + static_cast<int64_t>(size) > ceiling)) {
    limit = 0;
    char text[200];
    std::snprintf(text, sizeof text, "%zu bytes are wanted beside %lld, with an input of %zu: allowed are %lld", size,
                  static_cast<long long>(live.load() - live_before), current_input,
                  static_cast<long long>(ceiling - live_before));
    Fail(text);
  }
  void* memory = alignment <= alignof(std::max_align_t)
                     ? std::malloc(size)
                     : std::aligned_alloc(alignment, (size + alignment - 1) / alignment * alignment);
  if (memory == nullptr) return nullptr;
  const int64_t now = live += static_cast<int64_t>(::malloc_usable_size(memory));
  if (ceiling != 0 && now > most.load(std::memory_order_relaxed)) most = now;
  return memory;
}

void Free(void* memory) {
  if (memory == nullptr) return;
  if (memory == uncounted) {
    uncounted = nullptr;
    return std::free(memory);
  }
  live -= static_cast<int64_t>(::malloc_usable_size(memory));
  std::free(memory);
}

// Removed when the process ends well; a crash leaves it for whoever looks into it.
struct OwnFolder {
  std::string path;
  OwnFolder() {
    std::string name = std::string(FileExists("/dev/shm") ? "/dev/shm" : "/tmp") + "/zo2-fuzz.XXXXXX";
    if (::mkdtemp(name.data()) == nullptr) Fail("cannot make the folder " + name);
    path = name;
  }
  ~OwnFolder() {
    std::error_code ignored;
    std::filesystem::remove_all(path, ignored);
  }
};

}  // namespace

void Fail(const std::string& why) {
  limit = 0;
  std::fprintf(stderr, "fuzz: %s\n", why.c_str());
  std::abort();
}

void CheckError(const Status& status) {
  Require(!status.ok(), "an error without an error");
  Require(!status.message().empty(), "an error without a message");
  static const bool verbose = std::getenv("ZO2_FUZZ_VERBOSE") != nullptr;
  if (verbose) std::fprintf(stderr, "refused: %s\n", status.message().c_str());
  if (status.code() != Code::kInvalid && status.code() != Code::kRejected)
    Fail("the input is to blame, but the error has code " + std::to_string(static_cast<int>(status.code())) + ": " +
         status.message());
}

void Touch(std::span<const std::byte> bytes) {
  uint64_t sum = 0;
  for (const std::byte b : bytes) sum += std::to_integer<uint64_t>(b);
  asm volatile("" : : "r"(sum));  // it is needed
}

const std::string& Folder() {
  static const OwnFolder folder;
  return folder.path;
}

InputFile::InputFile(const std::string& name)
    : path_(Folder() + "/" + name), fd_(::open(path_.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0666)) {
  if (fd_ < 0) Fail("cannot write " + path_);
}

InputFile::~InputFile() { ::close(fd_); }

void InputFile::Set(std::string_view bytes) {
  if (::ftruncate(fd_, static_cast<off_t>(bytes.size())) != 0 ||
      ::pwrite(fd_, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size()))
    Fail("cannot write " + path_);
}

MemoryLimit::MemoryLimit(const Allowance& allowance, size_t input) {
  current = allowance;
  current_input = input;
  live_before = most = live.load();
  limit = live_before + static_cast<int64_t>(allowance.fixed + allowance.multiple * input);
}

MemoryLimit::~MemoryLimit() {
  limit = 0;
  Counts& counts = TotalCounts();
  const size_t bytes = static_cast<size_t>(most.load() - live_before);
  const double input = static_cast<double>(current_input == 0 ? 1 : current_input);
  const double allowed = static_cast<double>(current.fixed) + static_cast<double>(current.multiple) * input;
  counts.most_bytes = std::max(counts.most_bytes, bytes);
  counts.most_share = std::max(counts.most_share, static_cast<double>(bytes) / allowed);
  if (current_input >= 4096) counts.most_multiple = std::max(counts.most_multiple, static_cast<double>(bytes) / input);
}

Counts& TotalCounts() {
  static Counts counts;
  return counts;
}

}  // namespace zo2::fuzz

// Everything that C++ code allocates goes through here: the standard library, nlohmann::json, protobuf, ONNX.
void* operator new(size_t size) {
  void* memory = zo2::fuzz::Allocate(size, 1);
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(size_t size, std::align_val_t alignment) {
  void* memory = zo2::fuzz::Allocate(size, static_cast<size_t>(alignment));
  if (memory == nullptr) throw std::bad_alloc();
  return memory;
}
void* operator new(size_t size, const std::nothrow_t&) noexcept { return zo2::fuzz::Allocate(size, 1); }
void* operator new[](size_t size) { return operator new(size); }
void* operator new[](size_t size, std::align_val_t alignment) { return operator new(size, alignment); }
void* operator new[](size_t size, const std::nothrow_t&) noexcept { return zo2::fuzz::Allocate(size, 1); }
void operator delete(void* memory) noexcept { zo2::fuzz::Free(memory); }
void operator delete(void* memory, size_t) noexcept { zo2::fuzz::Free(memory); }
void operator delete(void* memory, std::align_val_t) noexcept { zo2::fuzz::Free(memory); }
void operator delete(void* memory, size_t, std::align_val_t) noexcept { zo2::fuzz::Free(memory); }
void operator delete(void* memory, const std::nothrow_t&) noexcept { zo2::fuzz::Free(memory); }
void operator delete[](void* memory) noexcept { zo2::fuzz::Free(memory); }
void operator delete[](void* memory, size_t) noexcept { zo2::fuzz::Free(memory); }
void operator delete[](void* memory, std::align_val_t) noexcept { zo2::fuzz::Free(memory); }
void operator delete[](void* memory, size_t, std::align_val_t) noexcept { zo2::fuzz::Free(memory); }
void operator delete[](void* memory, const std::nothrow_t&) noexcept { zo2::fuzz::Free(memory); }
