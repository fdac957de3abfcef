// NumPy's .npy: "\x93NUMPY", version, length of a header, the header (a Python dict of descr, fortran_order and shape),
// then the data. Versions 1.0, 2.0 and 3.0; see numpy.lib.format.
#ifndef ZO2_RUNTIME_NPY_H_
#define ZO2_RUNTIME_NPY_H_

#include <cstdint>
#include <string>
#include <string_view>

#include "ir/graph/op.h"
#include "ir/support/file.h"
#include "ir/support/status.h"
#include "runtime/number.h"

namespace zo2 {

struct NpyArray {
  Number type = Number::kI64;
  Shape shape;
  uint64_t offset = 0;  // of the data
};

// Integer arrays in C order (|u1 <u2 <u4 <i2 <i4 <i8) whose data are the rest of the file, to the byte.
Result<NpyArray> ParseNpy(const MappedFile& file);

}  // namespace zo2

#endif  // ZO2_RUNTIME_NPY_H_
