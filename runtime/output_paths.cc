#include "runtime/output_paths.h"

#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <filesystem>

#include "ir/support/file.h"

namespace zo2 {
namespace {

Status CheckWritable(const OutputPath& output) {
  struct stat info;
  const bool exists = ::stat(output.path.c_str(), &info) == 0;
  if (exists && S_ISDIR(info.st_mode)) return Invalid(output.flag, " ", output.path, " is a folder: name a file");
  if (exists && !S_ISREG(info.st_mode) && !output.streamed)
    return Invalid(output.flag, " ", output.path, " is no regular file, so it cannot be replaced by one");
  const std::string folder = DirName(output.path);
  if (exists && ::access(output.path.c_str(), W_OK) != 0)
    return Invalid("cannot write ", output.flag, " ", output.path, ": ", std::strerror(errno));
  if ((!exists || S_ISREG(info.st_mode)) && ::access(folder.c_str(), W_OK | X_OK) != 0)
    return Invalid("cannot write ", output.flag, " ", output.path, ": folder ", folder, ": ", std::strerror(errno));
  return Status();
}

bool SameFile(const std::string& a, const std::string& b) {
  std::error_code ignored;
  return a == b || std::filesystem::equivalent(a, b, ignored);
}

}  // namespace

Status CheckOutputs(const std::vector<OutputPath>& outputs, const std::vector<std::string>& inputs) {
  for (size_t i = 0; i < outputs.size(); ++i) {
    if (outputs[i].path.empty()) continue;
    ZO2_TRY(CheckWritable(outputs[i]));
    for (size_t j = 0; j < i; ++j)
      if (SameFile(outputs[i].path, outputs[j].path))
        return Invalid(outputs[j].flag, " and ", outputs[i].flag, " are both ", outputs[i].path);
    for (const std::string& input : inputs)
      if (!input.empty() && SameFile(outputs[i].path, input))
        return Invalid(outputs[i].flag, " ", outputs[i].path, " would overwrite a file that is read");
  }
  return Status();
}

}  // namespace zo2
