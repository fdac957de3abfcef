#include "ir/schedule/schedule_io.h"

#include <cstring>
#include <string_view>

#include "ir/schedule/schedule_codec.h"
#include "ir/support/crc32.h"
#include "ir/support/file.h"

namespace zo2 {

namespace internal {

Status CheckLimits(const Schedule& schedule) {
  const int64_t n = NumInstructions(schedule);
  if (n > kMaxInstructions)
    return Invalid("plan: has ", n, " instructions, more than ", kMaxInstructions,
                   "; plan again with larger tiles (--tile)");
  return Status();
}

}  // namespace internal

namespace {

#ifdef ZO2_HAVE_PROTOBUF
constexpr bool kHaveProtobuf = true;
#else
constexpr bool kHaveProtobuf = false;
#endif

// Head of a plan file; schedule_io.h says what is where.
constexpr std::string_view kMagic("zo2plan\n", 8);
constexpr size_t kHeadBytes = 24;

template <typename T>
void PutLittle(T value, std::string* out) {
  for (size_t i = 0; i < sizeof(T); ++i) *out += static_cast<char>(value >> (8 * i) & 255);
}
template <typename T>
T GetLittle(std::string_view bytes) {
  T value = 0;
  for (size_t i = 0; i < sizeof(T); ++i) value |= static_cast<T>(static_cast<uint8_t>(bytes[i])) << (8 * i);
  return value;
}

bool LooksLikeJson(std::string_view bytes) {
  const size_t first = bytes.find_first_not_of(" \t\r\n");
  return first != std::string_view::npos && bytes[first] == '{';
}

bool EndsWith(const std::string& path, std::string_view suffix) {
  return path.size() >= suffix.size() && path.compare(path.size() - suffix.size(), suffix.size(), suffix) == 0;
}

}  // namespace

std::string ScheduleToBytes(const Schedule& schedule) {
#ifdef ZO2_HAVE_PROTOBUF
  const std::string body = internal::EncodeProto(schedule);
  std::string out(kMagic);
  out.reserve(kHeadBytes + body.size());
  PutLittle(static_cast<uint32_t>(schedule.version), &out);
  PutLittle(Crc32(body), &out);
  PutLittle(static_cast<uint64_t>(body.size()), &out);
  return out + body;
#else
  return ScheduleToJson(schedule);
#endif
}

Result<Schedule> ScheduleFromBytes(const std::string& bytes) {
  if (LooksLikeJson(bytes)) return ScheduleFromJson(bytes);
  const std::string_view view(bytes);
  if (view.size() < kMagic.size() || view.substr(0, kMagic.size()) != kMagic)
    return Invalid("plan: this is no plan of zo2-plan (it begins with neither \"zo2plan\" nor \"{\")");
  if (view.size() < kHeadBytes) return Invalid("plan: is cut off after ", view.size(), " bytes; make it again");
  const auto version = GetLittle<uint32_t>(view.substr(8));
  if (version != static_cast<uint32_t>(kScheduleVersion))
    return Invalid("plan: has version ", version, " but this build reads version ", kScheduleVersion,
                   "; make it again with this build's zo2-plan");
  const std::string_view body = view.substr(kHeadBytes);
  const auto length = GetLittle<uint64_t>(view.substr(16));
  if (body.size() != length)
    return Invalid("plan: has ", body.size(), " bytes after its head but should have ", length,
                   "; it was cut off or mixed up: make it again");
  if (Crc32(body) != GetLittle<uint32_t>(view.substr(12)))
    return Invalid("plan: its checksum does not fit: the file is damaged; make it again");
  if (!kHaveProtobuf)
    return Invalid("plan: is in protobuf, which this build lacks; write it as .json (zo2-plan -o NAME.json)");
#ifdef ZO2_HAVE_PROTOBUF
  ZO2_ASSIGN(Schedule schedule, internal::DecodeProto(body));
  ZO2_TRY(internal::CheckLimits(schedule));
  return schedule;
#else
  return Internal("unreachable");
#endif
}

Result<void> WriteSchedule(const Schedule& schedule, const std::string& path) {
  if (Status limits = internal::CheckLimits(schedule); !limits.ok()) return limits;
  const std::string bytes = EndsWith(path, ".json") ? ScheduleToJson(schedule) : ScheduleToBytes(schedule);
  if (Status status = WriteFile(path, bytes); !status.ok()) return status;
  return {};
}

Result<Schedule> ReadSchedule(const std::string& path) {
  ZO2_ASSIGN(const std::string bytes, ReadFile(path));
  auto schedule = ScheduleFromBytes(bytes);
  if (!schedule.ok()) return Error(schedule.status().code(), path, ": ", schedule.status().message());
  return schedule;
}

}  // namespace zo2
