#include "tests/fuzz/readers.h"

namespace zo2::fuzz {

const std::vector<Reader>& Readers() {
  static const std::vector<Reader> readers = {
      {"safetensors", FuzzSafetensors, MutateSafetensors, RepairSafetensors, 20000},
      {"machine", FuzzMachine, MutateMachine, nullptr, 20000},
      {"journal", FuzzJournal, MutateJournal, RepairJournal, 20000},
      {"snapshot", FuzzSnapshot, MutateSafetensors, RepairSnapshot, 20000},
      {"dataset", FuzzDataset, MutateDataset, RepairDataset, 20000},
      {"plan", FuzzPlan, MutatePlan, RepairPlan, 20000},
#ifdef ZO2_HAVE_ONNX
      {"onnx", FuzzOnnx, MutateOnnx, nullptr, 20000},
#endif
  };
  return readers;
}

}  // namespace zo2::fuzz
