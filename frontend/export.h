// Tuned weights back into ONNX: the original's graph, names and layouts with other values.
//
// Every place of a weight gets the tuned values: transposed copies transposed, tied copies alike. Where the
// exporter had merged equal parameters into one initializer and they differ now, each gets an initializer of
// its own, under its own name. Values of another float type are converted to the initializer's. A model with
// external data keeps it external (in OUTPUT.data beside the output); other models stay one file while they
// fit in one.
#ifndef ZO2_FRONTEND_EXPORT_H_
#define ZO2_FRONTEND_EXPORT_H_

#include <cstddef>
#include <string>
#include <vector>

#include "ir/support/status.h"

namespace zo2 {

struct ExportReport {
  size_t replaced = 0;  // weights whose values come from the tuned file
  std::vector<std::string>
      notes;  // splits, conversions, weights that keep their values, tensors nobody wanted
};

// `weights` is what ListSafetensors takes. Neither `model` nor what stands at `output` changes when it fails.
Result<ExportReport> ExportOnnx(const std::string& model, const std::string& weights,
                                const std::string& output);

}  // namespace zo2

#endif  // ZO2_FRONTEND_EXPORT_H_
