// A bad disk and a bad moment, for programs that know nothing of it: preloaded (LD_PRELOAD), this library
// sees every operation on files below one folder, numbers them, and lets one of them go wrong. Environment:
//
//   ZO2_FAULT_FOLDER  the folder; operations on other files are neither seen nor counted
//   ZO2_FAULT_LOG     a file outside of it: one line "number operation file bytes" for each operation
//   ZO2_FAULT_AT      number of the operation that goes wrong, from 0
//   ZO2_FAULT_KIND    how:
//     kill-before, kill-after  SIGKILL, without and with the operation done
//     kill-half                half of a write is done, then SIGKILL
//     kill-later:MICROSECONDS  the operation is done; SIGKILL so long after it, wherever the process is then
//     wait:FILE                it is done when there is such a file (of another folder)
//     EIO, ENOSPC              fails with that error, nothing done (a close closes all the same, as on Linux)
//     half-EIO, half-ENOSPC    half of a write is done and reported; the next operation on that file fails
//     full                     from here on, whatever needs space on the disk fails with ENOSPC
//     short                    half of a write is done and reported; no error
//
// What is an operation: open, write, fsync, ftruncate, rename, unlink, close, mmap. Files that the program
// opens with fopen are opened here with a cookie, because the C library's own streams cannot be seen from
// outside.
#ifndef _GNU_SOURCE
#define _GNU_SOURCE
#endif
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <signal.h>
#include <stdarg.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <sys/uio.h>
#include <time.h>
#include <unistd.h>

#include <mutex>
#include <string>

namespace {

constexpr int kMaxFd = 4096;

struct State {
  std::mutex mutex;
  std::string folder, kind;
  int log = -1;
  long at = -1, count = 0;
  long fails_next = -1;  // the file descriptor whose next operation fails
  int fails_with = 0;
  bool full = false;
  std::string files[kMaxFd];  // by descriptor, below the folder; empty: not ours
};

const char* Environment(const char* name) {
  const char* value = getenv(name);
  return value == nullptr ? "" : value;
}

State& TheState() {
  static State* state = [] {
    State* s = new State;  // never destroyed: files are closed until the very end
    s->folder = Environment("ZO2_FAULT_FOLDER");
    s->kind = Environment("ZO2_FAULT_KIND");
    if (*Environment("ZO2_FAULT_AT") != 0) s->at = atol(Environment("ZO2_FAULT_AT"));
    const char* log = Environment("ZO2_FAULT_LOG");
    if (*log != 0)
      s->log = static_cast<int>(
          syscall(SYS_openat, AT_FDCWD, log, O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC, 0666));
    return s;
  }();
  return *state;
}

// The path below the folder, or "" for a file that is none of ours.
std::string Below(int folder_fd, const char* path) {
  const State& s = TheState();
  if (s.folder.empty() || path == nullptr) return "";
  std::string full = path;
  if (full.empty() || full[0] != '/') {
    char base[PATH_MAX];
    if (folder_fd == AT_FDCWD) {
      if (getcwd(base, sizeof base) == nullptr) return "";
    } else {
      const std::string link = "/proc/self/fd/" + std::to_string(folder_fd);
      const ssize_t n = readlink(link.c_str(), base, sizeof base - 1);
      if (n < 0) return "";
      base[n] = 0;
    }
    full = std::string(base) + "/" + full;
  }
  if (full == s.folder) return ".";
  if (full.compare(0, s.folder.size() + 1, s.folder + "/") != 0) return "";
  return full.substr(s.folder.size() + 1);
}

[[noreturn]] void Die() {
  kill(getpid(), SIGKILL);
  for (;;) pause();
}

void DieIn(long microseconds) {
  sigevent event{};
  event.sigev_notify = SIGEV_SIGNAL;
  event.sigev_signo = SIGKILL;
  timer_t timer;
  if (timer_create(CLOCK_MONOTONIC, &event, &timer) != 0) Die();
  itimerspec when{};
  when.it_value.tv_sec = microseconds / 1000000;
  when.it_value.tv_nsec = microseconds % 1000000 * 1000 + 1;
  if (timer_settime(timer, 0, &when, nullptr) != 0) Die();
}

bool Starts(const std::string& text, const char* with) { return text.rfind(with, 0) == 0; }

// One operation on a file of ours. `real` does it, on part of its bytes where they are given, and returns as
// a system call does (-1 and errno). `space`: a full disk would refuse it.
template <typename Real>
long Operation(const char* what, const std::string& file, long fd, long bytes, bool space, const Real& real) {
  State& s = TheState();
  std::unique_lock<std::mutex> lock(s.mutex);
  const long number = s.count++;
  if (s.log >= 0) {
    const std::string line =
        std::to_string(number) + " " + what + " " + file + " " + std::to_string(bytes) + "\n";
    (void)!syscall(SYS_write, s.log, line.data(), line.size());
  }
  const bool closing = strcmp(what, "close") == 0;
  const auto fail = [&](int error) {
    if (closing) real(bytes);
    errno = error;
    return -1L;
  };
  if (s.fails_next >= 0 && s.fails_next == fd) {
    s.fails_next = -1;
    return fail(s.fails_with);
  }
  if (s.full && space) return fail(ENOSPC);
  if (number != s.at) {
    lock.unlock();
    return real(bytes);
  }
  const bool divisible = strcmp(what, "write") == 0 && bytes > 1;
  if (s.kind == "kill-before") Die();
  if (s.kind == "kill-after") {
    real(bytes);
    Die();
  }
  if (s.kind == "kill-half") {
    if (divisible) real(bytes / 2);
    Die();
  }
  if (Starts(s.kind, "kill-later:")) {
    DieIn(atol(s.kind.c_str() + 11));
    return real(bytes);
  }
  if (Starts(s.kind, "wait:")) {
    lock.unlock();
    while (access(s.kind.c_str() + 5, F_OK) != 0) usleep(5000);
    return real(bytes);
  }
  if (s.kind == "EIO") return fail(EIO);
  if (s.kind == "ENOSPC") return fail(ENOSPC);
  if (s.kind == "full") {
    s.full = true;
    return space ? fail(ENOSPC) : real(bytes);
  }
  if (s.kind == "short") return real(divisible ? bytes / 2 : bytes);
  if (Starts(s.kind, "half-")) {
    const int error = s.kind == "half-EIO" ? EIO : ENOSPC;
    if (!divisible) return fail(error);
    s.fails_next = fd;
    s.fails_with = error;
    return real(bytes / 2);
  }
  fprintf(stderr, "faults.cc does not know the kind %s\n", s.kind.c_str());
  abort();
}

std::string FileOf(long fd) { return fd < 0 || fd >= kMaxFd ? "" : TheState().files[fd]; }

void Opened(long fd, const std::string& file) {
  if (fd >= 0 && fd < kMaxFd) TheState().files[fd] = file;
}

long OpenFile(int folder_fd, const char* path, int flags, unsigned mode) {
  const auto real = [&](long) { return syscall(SYS_openat, folder_fd, path, flags, mode); };
  const std::string file = Below(folder_fd, path);
  if (file.empty()) return real(0);
  const bool writes = (flags & O_ACCMODE) != O_RDONLY;
  const long fd = Operation(writes ? "open-write" : "open-read", file, -1, 0, (flags & O_CREAT) != 0, real);
  Opened(fd, file);
  return fd;
}

long WriteFile(int fd, const char* data, size_t bytes) {
  const auto real = [&](long n) { return syscall(SYS_write, fd, data, n); };
  const std::string file = FileOf(fd);
  return file.empty() ? real(static_cast<long>(bytes))
                      : Operation("write", file, fd, static_cast<long>(bytes), true, real);
}

long CloseFile(int fd) {
  const std::string file = FileOf(fd);
  if (file.empty()) return syscall(SYS_close, fd);
  Opened(fd, "");
  return Operation("close", file, fd, 0, false, [&](long) { return syscall(SYS_close, fd); });
}

long SyncFile(const char* what, int number, int fd) {
  const std::string file = FileOf(fd);
  const auto real = [&](long) { return syscall(number, fd); };
  return file.empty() ? real(0) : Operation(what, file, fd, 0, true, real);
}

long RenameFile(int from_fd, const char* from, int to_fd, const char* to, unsigned flags) {
  const auto real = [&](long) { return syscall(SYS_renameat2, from_fd, from, to_fd, to, flags); };
  const std::string file = Below(to_fd, to);
  return file.empty() ? real(0) : Operation("rename", file, -1, 0, true, real);
}

long UnlinkFile(int folder_fd, const char* path, int flags) {
  const auto real = [&](long) { return syscall(SYS_unlinkat, folder_fd, path, flags); };
  const std::string file = Below(folder_fd, path);
  return file.empty() ? real(0) : Operation("unlink", file, -1, 0, false, real);
}

long TruncateFile(int fd, off_t size) {
  const auto real = [&](long) { return syscall(SYS_ftruncate, fd, size); };
  const std::string file = FileOf(fd);
  return file.empty() ? real(0) : Operation("ftruncate", file, fd, static_cast<long>(size), false, real);
}

FILE* OpenStream(const char* path, const char* mode) {
  int flags = mode[0] == 'r'   ? O_RDONLY
              : mode[0] == 'w' ? O_WRONLY | O_CREAT | O_TRUNC
                               : O_WRONLY | O_CREAT | O_APPEND;
  if (strchr(mode, '+') != nullptr) flags = (flags & ~O_ACCMODE) | O_RDWR;
  const long fd = OpenFile(AT_FDCWD, path, flags | O_CLOEXEC, 0666);
  if (fd < 0) return nullptr;
  if (FileOf(fd).empty()) return fdopen(static_cast<int>(fd), mode);
  cookie_io_functions_t functions{};
  functions.read = [](void* cookie, char* data, size_t bytes) {
    return static_cast<ssize_t>(
        syscall(SYS_read, static_cast<int>(reinterpret_cast<long>(cookie)), data, bytes));
  };
  functions.write = [](void* cookie, const char* data, size_t bytes) {
    const int fd = static_cast<int>(reinterpret_cast<long>(cookie));
    for (size_t done = 0; done < bytes;) {  // as the C library's own streams do
      const long n = WriteFile(fd, data + done, bytes - done);
      if (n < 0) return static_cast<ssize_t>(done);
      done += static_cast<size_t>(n);
    }
    return static_cast<ssize_t>(bytes);
  };
  functions.close = [](void* cookie) {
    return static_cast<int>(CloseFile(static_cast<int>(reinterpret_cast<long>(cookie))));
  };
  return fopencookie(reinterpret_cast<void*>(fd), mode, functions);
}

unsigned ModeOf(int flags, va_list arguments) {
  return (flags & (O_CREAT | O_TMPFILE)) != 0 ? va_arg(arguments, unsigned) : 0;
}

}  // namespace

#pragma GCC diagnostic ignored "-Wnonnull-compare"

extern "C" {

#define ZO2_OPEN(name)                                              \
  int name(const char* path, int flags, ...) {                      \
    va_list arguments;                                              \
    va_start(arguments, flags);                                     \
    const unsigned mode = ModeOf(flags, arguments);                 \
    va_end(arguments);                                              \
    return static_cast<int>(OpenFile(AT_FDCWD, path, flags, mode)); \
  }
ZO2_OPEN(open)
ZO2_OPEN(open64)

#define ZO2_OPENAT(name)                                          \
  int name(int folder, const char* path, int flags, ...) {        \
    va_list arguments;                                            \
    va_start(arguments, flags);                                   \
    const unsigned mode = ModeOf(flags, arguments);               \
    va_end(arguments);                                            \
    return static_cast<int>(OpenFile(folder, path, flags, mode)); \
  }
ZO2_OPENAT(openat)
ZO2_OPENAT(openat64)

FILE* fopen(const char* path, const char* mode) { return OpenStream(path, mode); }
FILE* fopen64(const char* path, const char* mode) { return OpenStream(path, mode); }
ssize_t write(int fd, const void* data, size_t bytes) {
  return WriteFile(fd, static_cast<const char*>(data), bytes);
}

ssize_t pwrite(int fd, const void* data, size_t bytes, off_t offset) {
  const auto real = [&](long n) { return syscall(SYS_pwrite64, fd, data, n, offset); };
  const std::string file = FileOf(fd);
  return file.empty() ? real(static_cast<long>(bytes))
                      : Operation("write", file, fd, static_cast<long>(bytes), true, real);
}

ssize_t writev(int fd, const iovec* parts, int count) {
  if (FileOf(fd).empty() || count < 1) return syscall(SYS_writev, fd, parts, count);
  return WriteFile(fd, static_cast<const char*>(parts[0].iov_base), parts[0].iov_len);  // the caller goes on
}

int fsync(int fd) { return static_cast<int>(SyncFile("fsync", SYS_fsync, fd)); }
int fdatasync(int fd) { return static_cast<int>(SyncFile("fdatasync", SYS_fdatasync, fd)); }
int close(int fd) { return static_cast<int>(CloseFile(fd)); }
int ftruncate(int fd, off_t size) { return static_cast<int>(TruncateFile(fd, size)); }
int ftruncate64(int fd, off_t size) { return static_cast<int>(TruncateFile(fd, size)); }
int rename(const char* from, const char* to) {
  return static_cast<int>(RenameFile(AT_FDCWD, from, AT_FDCWD, to, 0));
}
int renameat(int from_fd, const char* from, int to_fd, const char* to) {
  return static_cast<int>(RenameFile(from_fd, from, to_fd, to, 0));
}
int renameat2(int from_fd, const char* from, int to_fd, const char* to, unsigned flags) {
  return static_cast<int>(RenameFile(from_fd, from, to_fd, to, flags));
}
int unlink(const char* path) { return static_cast<int>(UnlinkFile(AT_FDCWD, path, 0)); }
int unlinkat(int folder, const char* path, int flags) {
  return static_cast<int>(UnlinkFile(folder, path, flags));
}
int remove(const char* path) { return static_cast<int>(UnlinkFile(AT_FDCWD, path, 0)); }

#define ZO2_MMAP(name)                                                                        \
  void* name(void* address, size_t bytes, int protection, int flags, int fd, off_t offset) {  \
    const auto real = [&](long) {                                                             \
      return syscall(SYS_mmap, address, bytes, protection, flags, fd, offset);                \
    };                                                                                        \
    const std::string file = fd < 0 ? "" : FileOf(fd);                                        \
    const long result = file.empty() ? real(0) : Operation("mmap", file, fd, 0, false, real); \
    return result == -1 ? MAP_FAILED : reinterpret_cast<void*>(result);                       \
  }
ZO2_MMAP(mmap)
ZO2_MMAP(mmap64)

}  // extern "C"
