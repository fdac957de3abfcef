// Which machine this is, as far as predictions depend on it: a machine file says where it was measured, plans
// made for it keep that, and a run on another machine says so.
#ifndef ZO2_RUNTIME_HOST_ID_H_
#define ZO2_RUNTIME_HOST_ID_H_

#include <map>
#include <string>

#include "ir/schedule/schedule.h"

namespace zo2 {

// processor, cores, instructions (scalar, avx2, avx512), link (the --emulate-link text, "" without); of a device that has
// one (Device::facts) its name as gpu.
std::map<std::string, std::string> ThisMachine(const std::string& link,
                                               const std::map<std::string, std::string>& device = {});

// One sentence where the plan was made for a machine measured elsewhere, or over another link, or for the built-in machine
// of another GPU; otherwise "".
// Goes by the plan's report.
std::string MachineWarning(const Schedule& schedule, const std::map<std::string, std::string>& here);
// The name of the plan's machine where nobody measured it (a built-in one, a file without measured_on);
// otherwise "".
std::string UnmeasuredMachine(const Schedule& schedule);

}  // namespace zo2

#endif  // ZO2_RUNTIME_HOST_ID_H_
