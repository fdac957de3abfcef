#include "planner/machine.h"
#include "tests/fuzz/readers.h"

namespace zo2::fuzz {
namespace {

// The whole file as JSON; the worst is a list of empty lists. And the tables that are taken from it.
constexpr Allowance kAllowance{64 << 10, 96};

}  // namespace

int FuzzMachine(const uint8_t* data, size_t size) {
  static InputFile file("machine.json");
  file.Set({reinterpret_cast<const char*>(data), size});
  const MemoryLimit limit(kAllowance, size);
  const Result<Machine> machine = LoadMachine(file.path());
  if (!machine.ok()) {
    CheckError(machine.status());
    return 0;
  }
  ++TotalCounts().accepted;
  for (const DType dtype : {DType::kF32, DType::kBF16, DType::kI64})
    Require(machine->GemmFlops(dtype, 64, 1, 4096) > 0, "a rate that is not above 0");
  Require(machine->compute_threads >= 1 && machine->link_duplex > 0 && machine->link_duplex <= 1,
          "a field out of range");
  const Result<Machine> again = MachineFromJson(MachineToJson(*machine), "again");
  if (!again.ok()) Fail("written as JSON it is refused: " + again.status().message());
  Require(MachineToJson(*again) == MachineToJson(*machine), "written and read again it is another");
  return 0;
}

void MutateMachine(std::string* input, Random& random) { MutateJson(input, random); }

}  // namespace zo2::fuzz
