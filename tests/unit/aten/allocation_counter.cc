#include "tests/unit/aten/allocation_counter.h"

#include <errno.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <atomic>
#include <cstddef>

#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__) || !defined(__GLIBC__)
#define ZO2_COUNTS 0
#else
#define ZO2_COUNTS 1
#endif

namespace zo2 {
namespace {

std::atomic<bool> counting{false};
std::atomic<uint64_t> calls{0}, bytes{0}, largest{0};

[[maybe_unused]] void Count(uint64_t n) {
  if (!counting.load(std::memory_order_relaxed)) return;
  calls.fetch_add(1, std::memory_order_relaxed);
  bytes.fetch_add(n, std::memory_order_relaxed);
  uint64_t before = largest.load(std::memory_order_relaxed);
  while (n > before && !largest.compare_exchange_weak(before, n, std::memory_order_relaxed)) {
  }
}

}  // namespace

bool CanCountAllocations() { return ZO2_COUNTS != 0; }
void StartCounting() {
  calls = bytes = largest = 0;
  counting = true;
}
Allocations StopCounting() {
  counting = false;
  return {calls, bytes, largest};
}

}  // namespace zo2

#if ZO2_COUNTS
extern "C" {

void* __libc_malloc(size_t);
void* __libc_calloc(size_t, size_t);
void* __libc_realloc(void*, size_t);
void* __libc_memalign(size_t, size_t);

void* malloc(size_t n) {
  zo2::Count(n);
  return __libc_malloc(n);
}
void* calloc(size_t n, size_t each) {
  zo2::Count(n * each);
  return __libc_calloc(n, each);
}
void* realloc(void* p, size_t n) {
  zo2::Count(n);
  return __libc_realloc(p, n);
}
void* memalign(size_t alignment, size_t n) {
  zo2::Count(n);
  return __libc_memalign(alignment, n);
}
void* aligned_alloc(size_t alignment, size_t n) { return memalign(alignment, n); }
int posix_memalign(void** p, size_t alignment, size_t n) {
  void* got = memalign(alignment, n);
  if (got == nullptr) return ENOMEM;
  *p = got;
  return 0;
}
void* mmap(void* at, size_t n, int protection, int flags, int fd, off_t offset) {
  zo2::Count(n);
  return reinterpret_cast<void*>(syscall(SYS_mmap, at, n, protection, flags, fd, offset));
}
void* mmap64(void* at, size_t n, int protection, int flags, int fd, off64_t offset) {
  return mmap(at, n, protection, flags, fd, offset);
}

}  // extern "C"
#endif
