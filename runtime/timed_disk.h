// Rates of a disk, through a file without a name that is gone afterwards.
#ifndef ZO2_RUNTIME_TIMED_DISK_H_
#define ZO2_RUNTIME_TIMED_DISK_H_

#include <string>

#include "ir/support/status.h"

namespace zo2 {

struct DiskTiming {
  double read_bytes_per_s = 0,
         write_bytes_per_s = 0;  // of 64 MiB in pieces of 4 MiB; written means on the disk
  double latency = 0;            // seconds of reading 4 KiB, median
};

// kDevice where the folder cannot be written or has no room.
Result<DiskTiming> TimeDisk(const std::string& folder);

}  // namespace zo2

#endif  // ZO2_RUNTIME_TIMED_DISK_H_
