// Plan files: protobuf (private to schedule_proto.cc) or JSON of the same information; the content tells which.
//
// A protobuf plan is a head of 24 bytes, little endian - "zo2plan\n", u32 kScheduleVersion, u32 CRC-32 of the body, u64
// bytes of the body - and the body, a zo2.pb.Schedule (schedule.proto). A JSON plan is one object whose fields are named
// like those of schedule.h; a field that is absent has its default. docs/SCHEDULE_FORMAT.md is for readers.
#ifndef ZO2_IR_SCHEDULE_SCHEDULE_IO_H_
#define ZO2_IR_SCHEDULE_SCHEDULE_IO_H_

#include <string>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"

namespace zo2 {

// Writes protobuf, or JSON when `path` ends in ".json" or this build has no protobuf. Written to a temporary name and
// renamed: an existing file is replaced whole or not at all.
Result<void> WriteSchedule(const Schedule& schedule, const std::string& path);
// Reads either form. Refuses a version it does not know and anything malformed; the result still has to be verified.
Result<Schedule> ReadSchedule(const std::string& path);

std::string ScheduleToJson(const Schedule& schedule);
Result<Schedule> ScheduleFromJson(const std::string& json);
std::string ScheduleToBytes(const Schedule& schedule);
Result<Schedule> ScheduleFromBytes(const std::string& bytes);

}  // namespace zo2

#endif  // ZO2_IR_SCHEDULE_SCHEDULE_IO_H_
