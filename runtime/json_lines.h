// .jsonl: one JSON value per line, an array of ids or an object of inputs by name.
#ifndef ZO2_RUNTIME_JSON_LINES_H_
#define ZO2_RUNTIME_JSON_LINES_H_

#include "ir/support/status.h"
#include "runtime/data_file.h"

namespace zo2 {

// Fields, examples and lines of file->file. Numbers for float inputs are kept as float32, others as int32 (true and
// false are 1 and 0). Lists in lists are taken as one. Blank lines are passed over. What one line has every line must
// have; keys that no input has are passed over and said.
Status ReadJsonLines(const DataRequest& request, DataFile* file);

}  // namespace zo2

#endif  // ZO2_RUNTIME_JSON_LINES_H_
