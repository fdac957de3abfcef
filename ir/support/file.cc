#include "ir/support/file.h"

#include <dirent.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <atomic>
#include <cerrno>
#include <cstdio>
#include <cstring>
#include <utility>

#include "ir/support/last_words.h"

#if defined(__SANITIZE_ADDRESS__)
#define ZO2_ASAN 1
#elif defined(__has_feature)
#if __has_feature(address_sanitizer)
#define ZO2_ASAN 1
#endif
#endif
#ifdef ZO2_ASAN
#include <sanitizer/asan_interface.h>
#endif

namespace zo2 {
namespace {

// The rest of a map's last page reads as zeros. Under AddressSanitizer it is out of bounds, as it is meant to
// be.
void GuardEnd([[maybe_unused]] const std::byte* data, [[maybe_unused]] size_t size,
              [[maybe_unused]] bool on) {
#ifdef ZO2_ASAN
  const size_t page = static_cast<size_t>(::sysconf(_SC_PAGESIZE)), rest = (page - size % page) % page;
  if (on) ASAN_POISON_MEMORY_REGION(data + size, rest);
  if (!on) ASAN_UNPOISON_MEMORY_REGION(data + size, rest);
#endif
}

Status Failed(const char* what, const std::string& path) {
  return Invalid("cannot ", what, " ", path, ": ", std::strerror(errno));
}

// fsync of the folder makes a rename durable; folders that do not support it, or may not be listed, are left
// alone.
Status SyncFolder(const std::string& path) {
  const std::string folder = DirName(path);
  const int fd = ::open(folder.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (fd < 0) return errno == EACCES ? Status() : Failed("open the folder", folder);
  Status status;
  if (::fsync(fd) != 0 && errno != EINVAL && errno != ENOTSUP && errno != EBADF)
    status = Failed("make durable the folder", folder);
  ::close(fd);
  return status;
}

// "run.zoj.tmp.123.4" is a temporary file of "run.zoj": the writer's process id, and how many it had made
// before.
bool IsTemporary(std::string_view file, std::string_view of) {
  constexpr std::string_view kMark = ".tmp.";
  if (!file.starts_with(of) || !file.substr(of.size()).starts_with(kMark)) return false;
  const std::string_view numbers = file.substr(of.size() + kMark.size());
  const size_t dot = numbers.find('.');
  return dot != std::string_view::npos && dot > 0 && dot + 1 < numbers.size() &&
         numbers.find_first_not_of("0123456789") == dot &&
         numbers.find_first_not_of("0123456789", dot + 1) == std::string_view::npos;
}

}  // namespace

Result<uint64_t> FileSize(const std::string& path) {
  struct stat info;
  if (::stat(path.c_str(), &info) != 0) return Failed("open", path);
  if (!S_ISREG(info.st_mode)) return Invalid(path, " is not a regular file");
  return static_cast<uint64_t>(info.st_size);
}

bool FileExists(const std::string& path) {
  struct stat info;
  return ::stat(path.c_str(), &info) == 0;
}

std::string DirName(const std::string& path) {
  size_t slash = path.rfind('/');
  if (slash == std::string::npos) return ".";
  return slash == 0 ? "/" : path.substr(0, slash);
}

std::string JoinPath(const std::string& dir, const std::string& file) {
  if (!file.empty() && file[0] == '/') return file;
  if (dir.empty() || dir == ".") return file;
  return dir.back() == '/' ? dir + file : dir + "/" + file;
}

MappedFile::MappedFile(MappedFile&& other) noexcept { *this = std::move(other); }

MappedFile& MappedFile::operator=(MappedFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(data_, other.data_);
  std::swap(size_, other.size_);
  std::swap(ticket_, other.ticket_);
  return *this;
}

MappedFile::~MappedFile() {
  if (data_ == nullptr) return;
  ForgetMap(ticket_);
  GuardEnd(data_, size_, false);
  ::munmap(const_cast<std::byte*>(data_), size_);
}

Result<MappedFile> MappedFile::Open(const std::string& path) {
  ZO2_ASSIGN(uint64_t size, FileSize(path));
  MappedFile file;
  file.path_ = path;
  if (size == 0) return file;
  int fd = ::open(path.c_str(), O_RDONLY | O_CLOEXEC);
  if (fd < 0) return Failed("open", path);
  void* data = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd, 0);
  int error = errno;
  ::close(fd);
  errno = error;
  if (data == MAP_FAILED) return Failed("map", path);
  file.data_ = static_cast<const std::byte*>(data);
  file.size_ = size;
  file.ticket_ = NameMap(data, size, path);
  GuardEnd(file.data_, size, true);
  return file;
}

void MappedFile::Passed(uint64_t bytes) const {
  constexpr uint64_t kKept = 64 << 20;
  if (passed_.fetch_add(bytes, std::memory_order_relaxed) + bytes < kKept) return;
  passed_.store(0, std::memory_order_relaxed);
  if (data_ != nullptr) ::madvise(const_cast<std::byte*>(data_), size_, MADV_DONTNEED);
}

Result<std::span<const std::byte>> MappedFile::Range(uint64_t offset, uint64_t length) const {
  if (offset > size_ || length > size_ - offset)
    return Invalid(path_, " has ", size_, " bytes, but bytes [", offset, ", ", offset, "+", length,
                   ") are wanted: the file is truncated or belongs to another model");
  return std::span<const std::byte>(data_ + offset, length);
}

Result<std::string> ReadFile(const std::string& path) {
  ZO2_ASSIGN(MappedFile file, MappedFile::Open(path));
  return std::string(reinterpret_cast<const char*>(file.bytes().data()), file.bytes().size());
}

AtomicFile::AtomicFile(AtomicFile&& other) noexcept { *this = std::move(other); }

AtomicFile& AtomicFile::operator=(AtomicFile&& other) noexcept {
  std::swap(path_, other.path_);
  std::swap(temporary_, other.temporary_);
  std::swap(fd_, other.fd_);
  std::swap(size_, other.size_);
  return *this;
}

AtomicFile::~AtomicFile() { Abandon(); }

void AtomicFile::Abandon() {
  if (fd_ < 0) return;
  ::close(fd_);
  if (!temporary_.empty()) ::unlink(temporary_.c_str());
  fd_ = -1;
}

Result<AtomicFile> AtomicFile::Create(const std::string& path) {
  static std::atomic<int> counter{0};
  AtomicFile file;
  file.path_ = path;
  struct stat info;
  if (::stat(path.c_str(), &info) == 0 && !S_ISREG(info.st_mode)) {
    // A device or a pipe (/dev/stdout, /dev/null): written as it is, never replaced by a file.
    file.fd_ = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  } else {
    RemoveUnfinished(path);
    for (int tries = 0; tries < 10; ++tries) {
      file.temporary_ = path + ".tmp." + std::to_string(::getpid()) + "." + std::to_string(counter++);
      file.fd_ = ::open(file.temporary_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0666);
      if (file.fd_ < 0) break;
      // Locked until it is closed: see RemoveUnfinished, which another process may have called in between.
      const bool others = ::flock(file.fd_, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK;
      if (!others && ::fstat(file.fd_, &info) == 0 && info.st_nlink > 0) break;
      ::close(std::exchange(file.fd_, -1));
      errno = EBUSY;
    }
  }
  if (file.fd_ < 0) return Failed("create", path);
  return file;
}

Status AtomicFile::Append(std::span<const std::byte> bytes) {
  if (fd_ < 0) return Internal("a write to ", path_, " after it was finished");
  const std::byte* data = bytes.data();
  size_t left = bytes.size();
  while (left > 0) {
    // Linux writes at most about 2 GiB per call.
    ssize_t written = ::write(fd_, data, left < (size_t{1} << 30) ? left : (size_t{1} << 30));
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return Failed("write", path_);
    data += written;
    left -= static_cast<size_t>(written);
  }
  size_ += bytes.size();
  return Status();
}

Status AtomicFile::Append(std::string_view text) {
  return Append(std::as_bytes(std::span<const char>(text.data(), text.size())));
}

Status AtomicFile::Commit() { return Finish(0); }
Status AtomicFile::CommitNew() { return Finish(RENAME_NOREPLACE); }

Status AtomicFile::Finish(unsigned flags) {
  if (fd_ < 0) return Internal("a second commit of ", path_);
  if (!temporary_.empty()) {
    if (::fsync(fd_) != 0) return Failed("write", path_);
    int failed = ::renameat2(AT_FDCWD, temporary_.c_str(), AT_FDCWD, path_.c_str(), flags);
    if (failed != 0 && (errno == EINVAL || errno == ENOSYS)) failed = ::rename(temporary_.c_str(), path_.c_str());
    if (failed != 0) return Failed("create", path_);
  }
  ::close(fd_);
  fd_ = -1;
  return SyncFolder(path_);
}

void RemoveUnfinished(const std::string& path) {
  const std::string folder = DirName(path), name = path.substr(path.rfind('/') + 1);
  DIR* entries = ::opendir(folder.c_str());
  if (entries == nullptr) return;
  while (const dirent* entry = ::readdir(entries)) {
    if (!IsTemporary(entry->d_name, name)) continue;
    const std::string temporary = folder + "/" + entry->d_name;
    const int fd = ::open(temporary.c_str(), O_RDWR | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) continue;
    if (::flock(fd, LOCK_EX | LOCK_NB) == 0) ::unlink(temporary.c_str());
    ::close(fd);
  }
  ::closedir(entries);
}

Status WriteFile(const std::string& path, std::string_view contents) {
  ZO2_ASSIGN(AtomicFile file, AtomicFile::Create(path));
  if (Status s = file.Append(contents); !s.ok()) return s;
  return file.Commit();
}

}  // namespace zo2
