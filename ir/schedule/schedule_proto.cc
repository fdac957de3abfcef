// A schedule as protobuf. The archives walk schedule_fields.h and a message's descriptor side by side: field k of the
// struct is field k of the message. tests/unit/schedule holds both to the same names.
#ifdef ZO2_HAVE_PROTOBUF

#include <limits>
#include <type_traits>
#include <utility>

#include "ir/schedule/schedule_codec.h"
#include "ir/schedule/schedule_fields.h"
#include "schedule.pb.h"

namespace zo2::internal {
namespace {

using google::protobuf::FieldDescriptor;
using google::protobuf::Message;
using google::protobuf::Reflection;

// Message attr has no struct of its own.
struct AttrEntry {
  std::string name;
  uint32_t kind = 0;
  int64_t i = 0;
  double d = 0;
  std::string s;
  std::vector<int64_t> ints;
};
using internal::Fields;
template <typename A>
void Fields(A& a, AttrEntry& x, const AttrEntry& d) {
  a("name", x.name, d.name), a("kind", x.kind, d.kind), a("i", x.i, d.i), a("d", x.d, d.d), a("s", x.s, d.s);
  a("ints", x.ints, d.ints);
}
std::vector<AttrEntry> ToEntries(const Attrs& attrs) {
  std::vector<AttrEntry> entries;
  for (const auto& [name, value] : attrs) {
    AttrEntry entry;
    entry.name = name;
    entry.kind = static_cast<uint32_t>(value.index());
    if (auto* v = std::get_if<int64_t>(&value)) entry.i = *v;
    if (auto* v = std::get_if<double>(&value)) entry.d = *v;
    if (auto* v = std::get_if<std::string>(&value)) entry.s = *v;
    if (auto* v = std::get_if<std::vector<int64_t>>(&value)) entry.ints = *v;
    entries.push_back(std::move(entry));
  }
  return entries;
}

class Writer {
 public:
  explicit Writer(Message* message)
      : message_(message), reflection_(message->GetReflection()), descriptor_(message->GetDescriptor()) {}

  template <typename T>
  void operator()(const char*, T& value, const T&) {
    Set(descriptor_->field(next_++), value);
  }

 private:
  void Set(const FieldDescriptor* f, bool v) { reflection_->SetBool(message_, f, v); }
  void Set(const FieldDescriptor* f, double v) { reflection_->SetDouble(message_, f, v); }
  void Set(const FieldDescriptor* f, int32_t v) { reflection_->SetInt32(message_, f, v); }
  void Set(const FieldDescriptor* f, int64_t v) { reflection_->SetInt64(message_, f, v); }
  void Set(const FieldDescriptor* f, uint32_t v) { reflection_->SetUInt32(message_, f, v); }
  void Set(const FieldDescriptor* f, uint64_t v) { reflection_->SetUInt64(message_, f, v); }
  void Set(const FieldDescriptor* f, const std::string& v) { reflection_->SetString(message_, f, v); }
  void Set(const FieldDescriptor* f, const Blob& v) { reflection_->SetString(message_, f, *v.bytes); }
  void Set(const FieldDescriptor* f, const Attrs& v) { Set(f, ToEntries(v)); }
  template <typename T>
  void Set(const FieldDescriptor* f, const T& v) {
    if constexpr (std::is_enum_v<T>) {
      reflection_->SetUInt32(message_, f, static_cast<uint32_t>(v));
    } else {
      Writer inner(reflection_->MutableMessage(message_, f));
      Fields(inner, const_cast<T&>(v), Default<T>());  // a writer changes nothing
    }
  }
  template <typename T>
  void Set(const FieldDescriptor* f, const std::vector<T>& values) {
    for (const T& v : values) {
      if constexpr (std::is_same_v<T, int32_t>) {
        reflection_->AddInt32(message_, f, v);
      } else if constexpr (std::is_same_v<T, int64_t>) {
        reflection_->AddInt64(message_, f, v);
      } else if constexpr (std::is_same_v<T, std::string>) {
        reflection_->AddString(message_, f, v);
      } else {
        Writer inner(reflection_->AddMessage(message_, f));
        Fields(inner, const_cast<T&>(v), Default<T>());
      }
    }
  }
  template <typename T>
  static const T& Default() {
    static const T kDefault{};
    return kDefault;
  }

  Message* message_;
  const Reflection* reflection_;
  const google::protobuf::Descriptor* descriptor_;
  int next_ = 0;
};

class Reader {
 public:
  Reader(const Message& message, Status* status)
      : message_(message),
        reflection_(message.GetReflection()),
        descriptor_(message.GetDescriptor()),
        status_(status) {}

  template <typename T>
  void operator()(const char*, T& value, const T&) {
    if (status_->ok()) Get(descriptor_->field(next_++), value);
  }

 private:
  void Get(const FieldDescriptor* f, bool& v) { v = reflection_->GetBool(message_, f); }
  void Get(const FieldDescriptor* f, double& v) { v = reflection_->GetDouble(message_, f); }
  void Get(const FieldDescriptor* f, int32_t& v) { v = reflection_->GetInt32(message_, f); }
  void Get(const FieldDescriptor* f, int64_t& v) { v = reflection_->GetInt64(message_, f); }
  void Get(const FieldDescriptor* f, uint32_t& v) { v = reflection_->GetUInt32(message_, f); }
  void Get(const FieldDescriptor* f, uint64_t& v) { v = reflection_->GetUInt64(message_, f); }
  void Get(const FieldDescriptor* f, std::string& v) { v = reflection_->GetString(message_, f); }
  void Get(const FieldDescriptor* f, Blob& v) { *v.bytes = reflection_->GetString(message_, f); }
  void Get(const FieldDescriptor* f, Attrs& attrs) {
    std::vector<AttrEntry> entries;
    Get(f, entries);
    for (AttrEntry& entry : entries) {
      AttrValue& value = attrs[entry.name];
      switch (entry.kind) {
        case 0: value = entry.i; break;
        case 1: value = entry.d; break;
        case 2: value = std::move(entry.s); break;
        case 3: value = std::move(entry.ints); break;
        default: *status_ = Invalid("plan: attribute ", entry.name, " is of kind ", entry.kind, ", unknown here");
      }
    }
  }
  template <typename T>
  void Get(const FieldDescriptor* f, T& v) {
    if constexpr (std::is_enum_v<T>) {
      const uint32_t number = reflection_->GetUInt32(message_, f);
      if (number >= static_cast<uint32_t>(EnumInfo<T>::kValues)) {
        *status_ = Invalid("plan: ", f->full_name(), " is ", number, ", which this build does not know");
      } else {
        v = static_cast<T>(number);
      }
    } else {
      Reader inner(reflection_->GetMessage(message_, f), status_);
      Fields(inner, v, v);
    }
  }
  template <typename T>
  void Get(const FieldDescriptor* f, std::vector<T>& values) {
    const int n = reflection_->FieldSize(message_, f);
    values.resize(static_cast<size_t>(n));
    for (int i = 0; i < n && status_->ok(); ++i) {
      T& v = values[static_cast<size_t>(i)];
      if constexpr (std::is_same_v<T, int32_t>) {
        v = reflection_->GetRepeatedInt32(message_, f, i);
      } else if constexpr (std::is_same_v<T, int64_t>) {
        v = reflection_->GetRepeatedInt64(message_, f, i);
      } else if constexpr (std::is_same_v<T, std::string>) {
        v = reflection_->GetRepeatedString(message_, f, i);
      } else {
        Reader inner(reflection_->GetRepeatedMessage(message_, f, i), status_);
        Fields(inner, v, v);
      }
    }
  }

  const Message& message_;
  const Reflection* reflection_;
  const google::protobuf::Descriptor* descriptor_;
  Status* status_;
  int next_ = 0;
};

}  // namespace

std::string EncodeProto(const Schedule& schedule) {
  google::protobuf::Arena arena;
  auto* message = google::protobuf::Arena::CreateMessage<pb::Schedule>(&arena);
  Writer writer(message);
  Fields(writer, const_cast<Schedule&>(schedule), schedule);
  return message->SerializeAsString();
}

Result<Schedule> DecodeProto(std::string_view bytes) {
  google::protobuf::Arena arena;
  auto* message = google::protobuf::Arena::CreateMessage<pb::Schedule>(&arena);
  if (bytes.size() > static_cast<size_t>(std::numeric_limits<int>::max()) ||
      !message->ParseFromArray(bytes.data(), static_cast<int>(bytes.size())))
    return Invalid("plan: its body is damaged; make it again with zo2-plan");
  if (message->version() != kScheduleVersion)
    return Invalid("plan: has version ", message->version(), " but this build reads version ", kScheduleVersion,
                   "; make it again with this build's zo2-plan");
  Schedule schedule;
  Status status;
  Reader reader(*message, &status);
  Fields(reader, schedule, schedule);
  ZO2_TRY(status);
  return schedule;
}

}  // namespace zo2::internal

#endif  // ZO2_HAVE_PROTOBUF
