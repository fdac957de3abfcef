#include "ir/schedule/schedule_io.h"
#include "ir/schedule/verify.h"
#include "ir/support/crc32.h"
#include "tests/fuzz/readers.h"
#include "tests/tools/tiny_schedules.h"

namespace zo2::fuzz {
namespace {

constexpr size_t kHeadBytes = 24;
// Two bytes of protobuf make an empty instruction, which is some 200 bytes as a message and as many again in the
// schedule; JSON needs three bytes for one.
constexpr Allowance kReading{64 << 10, 512, kProtobufString};
// The verifier unrolls a program over a window of iterations and keeps, for each edge (ten bytes), the clocks of 64
// lanes over 65 iterations. Its own bounds are absolute: 1 GiB of clocks, 2e8 unrolled instructions.
constexpr Allowance kVerifying{1 << 20, 4096};

}  // namespace

int FuzzPlan(const uint8_t* data, size_t size) {
  static InputFile file("input.plan");
  // protobuf builds its tables of messages, some 80 KB, when they are used first.
  static const bool once = ScheduleFromBytes(ScheduleToBytes(tiny::MakeSchedule({}))).ok();
  Require(once, "a tiny schedule cannot be read");
  file.Set({reinterpret_cast<const char*>(data), size});
  const Result<Schedule> schedule = [&] {
    const MemoryLimit limit(kReading, size);
    return ReadSchedule(file.path());
  }();
  if (!schedule.ok()) {
    CheckError(schedule.status());
    return 0;
  }
  {
    const MemoryLimit limit(kVerifying, size);
    const Result<VerifyStats> verified = Verify(*schedule);
    if (!verified.ok()) CheckError(verified.status());
    TotalCounts().accepted += verified.ok();
  }
  // Whatever was read is written as it is.
  const std::string bytes = ScheduleToBytes(*schedule);
  const Result<Schedule> again = ScheduleFromBytes(bytes);
  if (!again.ok()) Fail("written it is refused: " + again.status().message());
  Require(ScheduleToBytes(*again) == bytes, "written and read again it is another");
  return 0;
}

void MutatePlan(std::string* input, Random& random) {
  if (input->size() < kHeadBytes || input->substr(0, 3) != "zo2") return MutateJson(input, random);
  std::string body = input->substr(kHeadBytes);
  MutateWire(&body, random);
  *input = input->substr(0, kHeadBytes) + body;
  if (!random.OneIn(8)) RepairPlan(input);
}

void RepairPlan(std::string* input) {
  if (input->size() < kHeadBytes || input->substr(0, 3) != "zo2") return;
  const std::string body = input->substr(kHeadBytes);
  std::string head = "zo2plan\n";
  Put(static_cast<uint32_t>(kScheduleVersion), &head);
  Put(Crc32(body), &head);
  Put(static_cast<uint64_t>(body.size()), &head);
  *input = head + body;
}

}  // namespace zo2::fuzz
