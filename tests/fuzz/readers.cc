#include "tests/fuzz/readers.h"

namespace zo2::fuzz {

const std::vector<Reader>& Readers() {
  static const std::vector<Reader> readers = {
      {"safetensors", FuzzSafetensors, MutateSafetensors, RepairSafetensors, 60000},
      {"machine", FuzzMachine, MutateMachine, nullptr, 60000},
      {"journal", FuzzJournal, MutateJournal, RepairJournal, 60000},
      {"snapshot", FuzzSnapshot, MutateSafetensors, RepairSnapshot, 60000},
      {"dataset", FuzzDataset, MutateDataset, RepairDataset, 60000},
      {"plan", FuzzPlan, MutatePlan, RepairPlan, 40000},
#ifdef ZO2_HAVE_ONNX
      {"onnx", FuzzOnnx, MutateOnnx, nullptr, 200000},
#endif
  };
  return readers;
}

}  // namespace zo2::fuzz
