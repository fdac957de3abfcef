// What each input of a program takes from a data file, and which numbers it accepts.
#ifndef ZO2_RUNTIME_DATA_INPUT_H_
#define ZO2_RUNTIME_DATA_INPUT_H_

#include <cstdint>
#include <string>
#include <vector>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/data_file.h"

namespace zo2 {

struct DataInput {
  std::string name;
  TensorType row;             // of one example
  int64_t elements = 1;       // of a row
  int64_t step = 1;           // elements per index of the row's first axis
  bool labels = false;        // the loss's, or called so
  bool exact = false;         // every number must be there: nothing is filled up or cut
  int64_t fill = 0;           // what shorter rows are filled up with
  int64_t low = 0, high = 0;  // accepted integers
  bool no_label = false;      // -100 is accepted too
  std::string range_of;       // what [low, high] is, for messages: "the vocabulary", "i32", ...
};

struct DataInputs {
  std::vector<DataInput> inputs;  // as program.inputs
  int ids = -1;                   // index of the token ids; -1 = the model has none
  DataRequest Request() const;
};

// Errors: a program without inputs, or an input without an axis of examples.
Result<DataInputs> FindDataInputs(const Schedule& schedule, const Program& program);

}  // namespace zo2

#endif  // ZO2_RUNTIME_DATA_INPUT_H_
