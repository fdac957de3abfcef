#include "planner/shortage.h"

#include <algorithm>

#include "planner/strategy.h"
#include "planner/wire.h"

namespace zo2 {
namespace {

std::string Size(uint64_t bytes) { return FormatSize(static_cast<double>(bytes)); }
std::string Exact(uint64_t bytes) { return Size(bytes) + " (" + std::to_string(bytes) + " bytes)"; }

void LargestFirst(std::vector<MemoryPart>* parts) {
  std::erase_if(*parts, [](const MemoryPart& p) { return p.bytes == 0; });
  std::stable_sort(parts->begin(), parts->end(),
                   [](const MemoryPart& a, const MemoryPart& b) { return a.bytes > b.bytes; });
}

// "; most of it, 13.50 MiB, are activations: fewer rows per micro-batch (--micro) make that less"
std::string MostOfIt(const std::vector<MemoryPart>& parts, uint64_t all) {
  if (parts.empty()) return "";
  const MemoryPart& most = parts.front();
  std::string text = most.bytes * 2 > all ? "; most of it, " : "; the largest part, ";
  text += Size(most.bytes) + (most.bytes * 2 > all ? ", are " : ", is ") + most.name;
  return most.help.empty() ? text : text + ": " + most.help + " that less";
}

}  // namespace

std::vector<MemoryPart> DeviceParts(const PlanInput& in, const MemoryUse& use) {
  std::vector<MemoryPart> parts = {{"resident weights", use.resident, "16-bit storage (--storage) makes"},
                                   {"slots", use.slots, "smaller tiles (--tile) make"},
                                   {"constants", use.constants, ""},
                                   {"step records", use.records, "a smaller --writeback-every makes"}};
  const Layout* larger = in.train != nullptr ? in.train : in.evaluate;
  if (in.train != nullptr && in.evaluate != nullptr && in.evaluate->bytes > in.train->bytes)
    larger = in.evaluate;
  if (larger != nullptr) {
    const auto peak = [&](BufferKind kind) {
      auto it = larger->peak.find(kind);
      return it == larger->peak.end() ? uint64_t{0} : it->second;
    };
    const char* rows = "fewer rows per micro-batch (--micro) make";
    parts.push_back({"activations", peak(BufferKind::kActivation), rows});
    parts.push_back({"branch weights", peak(BufferKind::kBranch), "smaller tiles (--tile) make"});
    parts.push_back({"workspace", peak(BufferKind::kWorkspace), rows});
    parts.push_back({"inputs", peak(BufferKind::kInput), rows});
  }
  LargestFirst(&parts);
  return parts;
}

Status DoesNotFit(const PlanInput& in, const MemoryUse& use, const std::string& with) {
  Shortage s;
  s.use = use;
  const uint64_t budget = in.options->budget, host = in.options->host_budget;
  if (use.device() <= budget) {
    s.limit = "host memory";
    s.needs = use.host();
    s.budget = host;
    s.parts = {{"weights", use.host_masters + use.host_codes, ""}, {"staging", use.host_staging, ""}};
    LargestFirst(&s.parts);
    s.why = "the plan needs " + Size(s.needs) + " of host memory, " + Size(s.needs - host) +
            " more than the host budget of " + Size(host) + "; a --host-budget of " + Exact(s.needs) +
            " is enough, or raise --budget so that more weights stay on the device";
  } else {
    s.limit = "device memory";
    s.needs = use.device();
    s.budget = budget;
    s.parts = DeviceParts(in, use);
    s.why = "the plan needs " + Size(s.needs) + " of device memory, " + Size(s.needs - budget) +
            " more than the budget of " + Size(budget);
    if (use.host() <= host) {
      s.smallest_budget = s.needs;
      s.why += "; the smallest budget that works" + with + " is " + Exact(s.needs);
    } else {  // where the host is short too, no more than a lower limit is known
      s.why += "; no budget below " + Exact(s.needs) + " works" + with + ", and then " + Size(use.host()) +
               " of host memory are needed";
    }
    s.why += MostOfIt(s.parts, s.needs);
    if (const uint64_t free = MeasureMemory(in, Smallest(in, 1, LeastEvery(in))).device();
        !with.empty() && free < s.needs) {
      s.smallest_of_all = free;
      s.why += "; other decisions fit from " + Size(free) + " on (--strategy auto)";
    }
  }
  if (in.shortages != nullptr) in.shortages->push_back(s);
  return Status(Code::kInfeasible, s.why);
}

}  // namespace zo2
