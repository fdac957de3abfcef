// What schedule_io.cc, schedule_json.cc and schedule_proto.cc share.
#ifndef ZO2_IR_SCHEDULE_SCHEDULE_CODEC_H_
#define ZO2_IR_SCHEDULE_SCHEDULE_CODEC_H_

#include <string>
#include <string_view>

#include "ir/schedule/schedule.h"
#include "ir/schedule/schedule_io.h"
#include "ir/support/status.h"

namespace zo2::internal {

// Refuses what is too long to be a plan, before anybody walks it.
Status CheckLimits(const Schedule& schedule);

// The body of a plan file, protobuf of schedule.proto. Only in builds that have protobuf.
std::string EncodeProto(const Schedule& schedule);
Result<Schedule> DecodeProto(std::string_view bytes);

}  // namespace zo2::internal

#endif  // ZO2_IR_SCHEDULE_SCHEDULE_CODEC_H_
