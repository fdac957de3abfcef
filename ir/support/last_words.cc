#include "ir/support/last_words.h"

#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <atomic>
#include <exception>
#include <new>
#include <system_error>

#include "ir/support/status.h"

namespace zo2 {
namespace {

constexpr int kMaps = 256, kPathBytes = 1024;

// `size` is written last and cleared first: 0 means that the rest is not to be read.
struct Map {
  std::atomic<bool> taken{false};
  std::atomic<size_t> size{0};
  const char* data = nullptr;
  char path[kPathBytes] = "";
};
Map g_maps[kMaps];
const char* g_program = "";

// Without memory and without locks: this may be a signal's handler, or memory may be what is missing.
template <typename... Texts>
[[noreturn]] void Say(Code code, Texts... texts) {
  char line[kPathBytes + 512] = "";
  size_t end = 0;
  for (const char* text : {g_program, ": ", static_cast<const char*>(texts)..., "\n"}) {
    const size_t n = strnlen(text, sizeof line - 1 - end);
    memcpy(line + end, text, n);
    end += n;
  }
  (void)!write(STDERR_FILENO, line, end);
  _exit(static_cast<int>(code));
}

void OnBusError(int signal_number, siginfo_t* info, void*) {
  const char* where = static_cast<const char*>(info->si_addr);
  for (const Map& map : g_maps) {
    const size_t size = map.size.load(std::memory_order_acquire);
    if (size > 0 && where >= map.data && where < map.data + size)
      Say(Code::kInvalid, map.path,
          " cannot be read any more: it was cut while it was in use, or its disk fails");
  }
  signal(signal_number, SIG_DFL);  // not about a file: as if there were no handler, at the same instruction
  if (info->si_code <= 0) raise(signal_number);  // sent by somebody
}

[[noreturn]] void OnTerminate() {
  try {
    if (const std::exception_ptr error = std::current_exception()) std::rethrow_exception(error);
  } catch (const std::bad_alloc&) {
    Say(Code::kDevice,
        "out of memory: the process needs more than it is given; raise its limit or free memory, or ",
        "plan again with a smaller budget");
  } catch (const std::system_error& e) {
    if (e.code() == std::errc::resource_unavailable_try_again)
      Say(Code::kDevice, "the system gives no more threads: raise the limits of processes and address space");
    Say(Code::kInternal, "a bug of ours: ", e.what());
  } catch (const std::exception& e) {
    Say(Code::kInternal, "a bug of ours: ", e.what());
  } catch (...) {
  }
  Say(Code::kInternal, "a bug of ours: ended by no error that it knows");
}

}  // namespace

void InstallLastWords(const char* program) {
  g_program = program;
  std::set_terminate(OnTerminate);
  struct sigaction action {};
  action.sa_sigaction = OnBusError;
  action.sa_flags = SA_SIGINFO;
  sigaction(SIGBUS, &action, nullptr);
}

int NameMap(const void* data, size_t size, const std::string& path) {
  for (int i = 0; i < kMaps; ++i) {
    Map& map = g_maps[i];
    if (map.taken.exchange(true, std::memory_order_acquire)) continue;
    map.data = static_cast<const char*>(data);
    strncpy(map.path, path.c_str(), kPathBytes - 1);
    map.size.store(size, std::memory_order_release);
    return i;
  }
  return -1;
}

void ForgetMap(int ticket) {
  if (ticket < 0) return;
  g_maps[ticket].size.store(0, std::memory_order_release);
  g_maps[ticket].taken.store(false, std::memory_order_release);
}

}  // namespace zo2
