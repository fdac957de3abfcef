#include "runtime/timed_disk.h"

#include <errno.h>
#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cstddef>
#include <cstring>
#include <vector>

#include "runtime/timed_call.h"

namespace zo2 {

Result<DiskTiming> TimeDisk(const std::string& folder) {
  const std::string path = folder + "/.zo2-profile.tmp";
  const int fd = open(path.c_str(), O_CREAT | O_TRUNC | O_RDWR | O_CLOEXEC, 0600);
  if (fd < 0) return Error(Code::kDevice, "cannot measure the disk: ", path, ": ", std::strerror(errno));
  unlink(path.c_str());
  std::vector<std::byte> block(4 << 20, std::byte{5});
  const int blocks = 16;
  bool ok = true;
  double begin = Clock();
  for (int i = 0; i < blocks && ok; ++i)
    ok = write(fd, block.data(), block.size()) == static_cast<ssize_t>(block.size());
  ok = ok && fsync(fd) == 0;
  const double written = Clock() - begin;
  posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
  begin = Clock();
  for (int i = 0; i < blocks && ok; ++i)
    ok = pread(fd, block.data(), block.size(), static_cast<off_t>(block.size()) * i) ==
         static_cast<ssize_t>(block.size());
  const double read = Clock() - begin;
  posix_fadvise(fd, 0, 0, POSIX_FADV_RANDOM);  // no reading ahead
  std::vector<double> small;
  for (int i = 0; i < blocks && ok; ++i) {
    const auto at = static_cast<off_t>(block.size()) * ((7 * i) % blocks) + 8192;
    posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);  // all of it: a page of a larger folio would stay in the cache
    begin = Clock();
    ok = pread(fd, block.data(), 4096, at) == 4096;
    small.push_back(Clock() - begin);
  }
  close(fd);
  if (!ok)
    return Error(Code::kDevice, "cannot measure the disk: writing 64 MiB to ", path,
                 " failed: ", std::strerror(errno));
  const double bytes = static_cast<double>(block.size()) * blocks;
  std::sort(small.begin(), small.end());
  return DiskTiming{bytes / read, bytes / written, small[small.size() / 2]};
}

}  // namespace zo2
