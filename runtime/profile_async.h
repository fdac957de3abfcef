// zo2-run profile of a device that works through queues: the same machine file as profile.h, timed between events of
// the device and not on the calling thread.
//
// Work of the compute lane that is shorter than giving it is repeated as a captured graph, as runs do it; copies are
// not captured there either. Sizes grow until a piece of work takes a hundredth of `seconds_each`, so that a GPU is
// measured at sizes that fill it and a slow device does not take minutes.
#ifndef ZO2_RUNTIME_PROFILE_ASYNC_H_
#define ZO2_RUNTIME_PROFILE_ASYNC_H_

#include <string>

#include "runtime/async_queue.h"
#include "runtime/profile.h"

namespace zo2 {

// `compute`: a queue of the device's compute lanes, which becomes the calling thread's. `kernels` are the device's own.
// options.threads is not used: kernels run on the device, and masters in host memory are every core's.
Result<std::string> ProfileAsync(Device& device, AsyncQueue& compute, const KernelTable& kernels, const Schedule* plan,
                                 const ProfileOptions& options);

}  // namespace zo2

#endif  // ZO2_RUNTIME_PROFILE_ASYNC_H_
