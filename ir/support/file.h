// Files: read-only memory maps, and writes that leave either the old file or the whole new one.
#ifndef ZO2_IR_SUPPORT_FILE_H_
#define ZO2_IR_SUPPORT_FILE_H_

#include <atomic>
#include <cstddef>
#include <cstdint>
#include <span>
#include <string>
#include <string_view>

#include "ir/support/status.h"

namespace zo2 {

// Bytes of a regular file; an error that names the path and the reason otherwise.
Result<uint64_t> FileSize(const std::string& path);
bool FileExists(const std::string& path);
// "a/b.onnx" -> "a"; "b.onnx" -> "."
std::string DirName(const std::string& path);
// dir + "/" + file, or file alone where it is absolute.
std::string JoinPath(const std::string& dir, const std::string& file);

// A whole file mapped read-only. Moves, unmaps when destroyed. An empty file maps to an empty span.
class MappedFile {
 public:
  MappedFile() = default;
  MappedFile(MappedFile&& other) noexcept;
  MappedFile& operator=(MappedFile&& other) noexcept;
  MappedFile(const MappedFile&) = delete;
  MappedFile& operator=(const MappedFile&) = delete;
  ~MappedFile();

  static Result<MappedFile> Open(const std::string& path);

  std::span<const std::byte> bytes() const { return {data_, size_}; }
  // bytes [offset, offset + length); an error (also on overflow) where the file is shorter.
  Result<std::span<const std::byte>> Range(uint64_t offset, uint64_t length) const;
  const std::string& path() const { return path_; }
  // `bytes` of it have been read and are not needed soon: from time to time the pages are given back, which
  // would otherwise count as this process's memory. What is read again comes from the page cache. Any thread.
  void Passed(uint64_t bytes) const;

 private:
  std::string path_;
  const std::byte* data_ = nullptr;
  size_t size_ = 0;
  int ticket_ = -1;                          // of NameMap
  mutable std::atomic<uint64_t> passed_{0};  // since pages were given back
};

// The whole file as text.
Result<std::string> ReadFile(const std::string& path);

// Writes a file under a temporary name in the same folder; Commit makes it durable (fsync) and renames it.
// Destroyed without Commit, it leaves nothing behind and what stood at `path` is untouched. A process that is
// killed leaves the temporary file, locked by nobody; the next one that writes `path` removes it. A `path`
// that is no regular file (a device, a pipe) is written to directly.
class AtomicFile {
 public:
  AtomicFile() = default;
  AtomicFile(AtomicFile&& other) noexcept;
  AtomicFile& operator=(AtomicFile&& other) noexcept;
  AtomicFile(const AtomicFile&) = delete;
  AtomicFile& operator=(const AtomicFile&) = delete;
  ~AtomicFile();

  static Result<AtomicFile> Create(const std::string& path);
  Status Append(std::span<const std::byte> bytes);
  Status Append(std::string_view text);
  Status Commit();
  // Commit, but kInvalid where `path` exists by now, whoever made it: of two processes one succeeds. (A file system that
  // cannot do that replaces it.)
  Status CommitNew();
  uint64_t size() const { return size_; }

 private:
  Status Finish(unsigned flags);  // of renameat2
  void Abandon();
  std::string path_, temporary_;
  int fd_ = -1;
  uint64_t size_ = 0;
};

// Removes temporary files of `path` whose writers were killed. AtomicFile::Create does it too.
void RemoveUnfinished(const std::string& path);

// AtomicFile in one call.
Status WriteFile(const std::string& path, std::string_view contents);

}  // namespace zo2

#endif  // ZO2_IR_SUPPORT_FILE_H_
