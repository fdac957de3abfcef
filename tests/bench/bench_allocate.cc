// Time that MiniMalloc's published instances take to pack within their capacity.
//
//   bench_allocate FILE.csv ... [--rounds N]
//
// A file is `id,lower,upper,size`, half-open lifetimes. Of N runs of each the least time counts. Every packing is judged
// here, without the packer's code: all pairs of items that live together must be apart.
#include <algorithm>
#include <chrono>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <fstream>
#include <string>
#include <vector>

#include "planner/allocate.h"

namespace zo2 {
namespace {

constexpr double kCapacity = 1048576;  // of the published instances

bool Valid(const std::vector<ArenaItem>& items, const ArenaPacking& p) {
  for (size_t i = 0; i < items.size(); ++i) {
    if (p.offsets[i] + items[i].size > p.height) return false;
    for (size_t j = 0; j < i; ++j) {
      const bool together = items[i].begin < items[j].end && items[j].begin < items[i].end;
      if (together && p.offsets[i] < p.offsets[j] + items[j].size && p.offsets[j] < p.offsets[i] + items[i].size)
        return false;
    }
  }
  return true;
}

int Run(const std::string& path, int rounds) {
  std::ifstream in(path);
  std::vector<ArenaItem> items;
  std::string line;
  std::getline(in, line);
  while (std::getline(in, line)) {
    long long id, lower, upper, size;
    if (std::sscanf(line.c_str(), "%lld,%lld,%lld,%lld", &id, &lower, &upper, &size) == 4)
      items.push_back({lower, upper, static_cast<uint64_t>(size), 1});
  }
  if (items.empty()) {
    std::fprintf(stderr, "%s: no items\n", path.c_str());
    return 1;
  }
  double best = 1e9;
  ArenaPacking p;
  for (int i = 0; i < rounds; ++i) {
    const auto start = std::chrono::steady_clock::now();
    p = AllocateArena(items, static_cast<uint64_t>(kCapacity));
    best = std::min(best, std::chrono::duration<double, std::milli>(std::chrono::steady_clock::now() - start).count());
  }
  std::printf("%-40s %4zu items  height / capacity %.4f  bound %.4f  %8.1f ms  %s\n", path.c_str(), items.size(),
              static_cast<double>(p.height) / kCapacity, static_cast<double>(p.lower_bound) / kCapacity, best,
              Valid(items, p) ? "valid" : "WRONG");
  return Valid(items, p) && static_cast<double>(p.height) <= kCapacity ? 0 : 1;
}

}  // namespace
}  // namespace zo2

int main(int argc, char** argv) {
  int rounds = 5, failed = 0;
  std::vector<std::string> files;
  for (int i = 1; i < argc; ++i) {
    if (std::strcmp(argv[i], "--rounds") == 0 && i + 1 < argc) rounds = std::max(1, std::atoi(argv[++i]));
    else files.push_back(argv[i]);
  }
  for (const std::string& f : files) failed += zo2::Run(f, rounds);
  return failed == 0 ? 0 : 1;
}
