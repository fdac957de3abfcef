// Looks at where a command is going to write, before it does anything: nothing here touches a file.
#ifndef ZO2_RUNTIME_OUTPUT_PATHS_H_
#define ZO2_RUNTIME_OUTPUT_PATHS_H_

#include <string>
#include <vector>

#include "ir/support/status.h"

namespace zo2 {

struct OutputPath {
  std::string flag;       // "--metrics"
  std::string path;       // "" = not asked for
  bool streamed = false;  // written as it stands (a device or a pipe will do), not beside it and renamed
};

// kInvalid where an output's folder is missing or closed, where the path is no file, or where two outputs, or an output
// and one of `inputs`, are the same file.
Status CheckOutputs(const std::vector<OutputPath>& outputs, const std::vector<std::string>& inputs);

}  // namespace zo2

#endif  // ZO2_RUNTIME_OUTPUT_PATHS_H_
