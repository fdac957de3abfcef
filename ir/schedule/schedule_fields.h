// The fields of every struct of a schedule, each named once. A plan file's writers and readers (schedule_json.cc,
// schedule_proto.cc) are archives that these functions walk: archive(name, field, its default). The order of the fields
// of a struct is the order of schedule.proto.
//
// Private to schedule_io.
#ifndef ZO2_IR_SCHEDULE_SCHEDULE_FIELDS_H_
#define ZO2_IR_SCHEDULE_SCHEDULE_FIELDS_H_

#include <array>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "ir/schedule/schedule.h"

namespace zo2::internal {

// Names and count of an enum's values: what a file may hold.
template <typename E>
struct EnumInfo;
template <typename E, int kCount>
struct NamedEnum {
  static constexpr int kValues = kCount;
  static std::string_view NameOf(E value) { return Name(value); }
};
template <>
struct EnumInfo<Tier> : NamedEnum<Tier, 3> {};
template <>
struct EnumInfo<BufferKind> : NamedEnum<BufferKind, 14> {};
template <>
struct EnumInfo<InstrKind> : NamedEnum<InstrKind, 10> {};
template <>
struct EnumInfo<LaneKind> : NamedEnum<LaneKind, 6> {};
template <>
struct EnumInfo<Purpose> : NamedEnum<Purpose, 3> {};
template <>
struct EnumInfo<WeightRole> : NamedEnum<WeightRole, 5> {};
template <>
struct EnumInfo<DType> : NamedEnum<DType, 10> {};
template <>
struct EnumInfo<WireFormat> : NamedEnum<WireFormat, 6> {};
template <>
struct EnumInfo<Op> : NamedEnum<Op, kNumOps> {};
template <>
struct EnumInfo<AccessMode> {
  static constexpr int kValues = 3;
  static std::string_view NameOf(AccessMode value) {
    constexpr std::string_view kNames[] = {"read", "write", "read-write"};
    return kNames[static_cast<int>(value)];
  }
};
template <>
struct EnumInfo<ValueKind> {
  static constexpr int kValues = 4;
  static std::string_view NameOf(ValueKind value) {
    constexpr std::string_view kNames[] = {"input", "activation", "constant", "weight"};
    return kNames[static_cast<int>(value)];
  }
};
template <>
struct EnumInfo<Rounding> {
  static constexpr int kValues = 2;
  static std::string_view NameOf(Rounding value) {
    constexpr std::string_view kNames[] = {"nearest", "stochastic"};
    return kNames[static_cast<int>(value)];
  }
};

// Bytes that are not text (a constant's data).
struct Blob {
  std::string* bytes;
};

#define ZO2_FIELD(field) a(#field, x.field, d.field)

template <typename A>
void Fields(A& a, Arena& x, const Arena& d) {
  ZO2_FIELD(tier), ZO2_FIELD(device), ZO2_FIELD(bytes), ZO2_FIELD(budget);
}
template <typename A>
void Fields(A& a, Buffer& x, const Buffer& d) {
  ZO2_FIELD(name), ZO2_FIELD(arena), ZO2_FIELD(kind), ZO2_FIELD(offset), ZO2_FIELD(bytes), ZO2_FIELD(ring);
  ZO2_FIELD(stride), ZO2_FIELD(live_begin), ZO2_FIELD(live_end);
}
template <typename A>
void Fields(A& a, Component& x, const Component& d) {
  ZO2_FIELD(name), ZO2_FIELD(tensor_id), ZO2_FIELD(storage), ZO2_FIELD(wire), ZO2_FIELD(compute);
  ZO2_FIELD(shape), ZO2_FIELD(trainable);
}
template <typename A>
void Fields(A& a, Place& x, const Place& d) {
  ZO2_FIELD(name), a("file", x.range.file, d.range.file), a("offset", x.range.offset, d.range.offset);
  a("bytes", x.range.bytes, d.range.bytes), ZO2_FIELD(dtype), ZO2_FIELD(transposed), ZO2_FIELD(present);
}
template <typename A>
void Fields(A& a, PlanWeight& x, const PlanWeight& d) {
  ZO2_FIELD(name), ZO2_FIELD(aliases), ZO2_FIELD(shape), ZO2_FIELD(role), ZO2_FIELD(trainable), ZO2_FIELD(decay);
  ZO2_FIELD(eps_mul), ZO2_FIELD(lr_mul), ZO2_FIELD(components), ZO2_FIELD(places), ZO2_FIELD(state);
}
template <typename A>
void Fields(A& a, Segment& x, const Segment& d) {
  ZO2_FIELD(weight), ZO2_FIELD(component), ZO2_FIELD(row_begin), ZO2_FIELD(row_end), ZO2_FIELD(col_begin);
  ZO2_FIELD(col_end), ZO2_FIELD(offset), ZO2_FIELD(wire_offset), ZO2_FIELD(branch_offset);
}
template <typename A>
void Fields(A& a, Tile& x, const Tile& d) {
  ZO2_FIELD(name), ZO2_FIELD(segments), ZO2_FIELD(bytes), ZO2_FIELD(wire_bytes), ZO2_FIELD(branch_bytes);
  ZO2_FIELD(master), ZO2_FIELD(trainable), ZO2_FIELD(tile_class), ZO2_FIELD(codes);
}
template <typename A>
void Fields(A& a, PlanValue& x, const PlanValue& d) {
  Blob blob{&x.data}, none{nullptr};
  ZO2_FIELD(name), ZO2_FIELD(kind), a("dtype", x.type.dtype, d.type.dtype), a("shape", x.type.shape, d.type.shape);
  ZO2_FIELD(weight), ZO2_FIELD(constant), a("data", blob, none);
}
template <typename A>
void Fields(A& a, PlanNode& x, const PlanNode& d) {
  ZO2_FIELD(op), ZO2_FIELD(name), ZO2_FIELD(attrs), ZO2_FIELD(inputs), ZO2_FIELD(outputs);
}
template <typename A>
void Fields(A& a, BranchTerm& x, const BranchTerm& d) {
  ZO2_FIELD(sample), ZO2_FIELD(coefficient);
}
template <typename A>
void Fields(A& a, Branch& x, const Branch& d) {
  ZO2_FIELD(terms);
}
template <typename A>
void Fields(A& a, Operand& x, const Operand& d) {
  ZO2_FIELD(buffer), ZO2_FIELD(offset), a("dtype", x.type.dtype, d.type.dtype), a("shape", x.type.shape, d.type.shape);
  ZO2_FIELD(strides), ZO2_FIELD(access), ZO2_FIELD(tile), ZO2_FIELD(segment);
}
template <typename A>
void Fields(A& a, Instruction& x, const Instruction& d) {
  ZO2_FIELD(kind), ZO2_FIELD(seq), ZO2_FIELD(residues), ZO2_FIELD(pass), ZO2_FIELD(tile), ZO2_FIELD(node);
  ZO2_FIELD(branches), ZO2_FIELD(source_after_write), ZO2_FIELD(part_begin), ZO2_FIELD(part_end);
  ZO2_FIELD(first_part), ZO2_FIELD(last_part), ZO2_FIELD(operands), ZO2_FIELD(seconds), ZO2_FIELD(coded);
}
template <typename A>
void Fields(A& a, Lane& x, const Lane& d) {
  ZO2_FIELD(device), ZO2_FIELD(kind), ZO2_FIELD(threads), ZO2_FIELD(instructions);
}
template <typename A>
void Fields(A& a, Edge& x, const Edge& d) {
  ZO2_FIELD(from_lane), ZO2_FIELD(from), ZO2_FIELD(to_lane), ZO2_FIELD(to), ZO2_FIELD(back);
}
template <typename A>
void Fields(A& a, ProgramInput& x, const ProgramInput& d) {
  ZO2_FIELD(value), ZO2_FIELD(staging), ZO2_FIELD(device);
}
template <typename A>
void Fields(A& a, ProgramOutput& x, const ProgramOutput& d) {
  ZO2_FIELD(value), ZO2_FIELD(staging), ZO2_FIELD(device);
}
template <typename A>
void Fields(A& a, Program& x, const Program& d) {
  ZO2_FIELD(name), ZO2_FIELD(purpose), ZO2_FIELD(period), ZO2_FIELD(samples), ZO2_FIELD(micro_batches);
  ZO2_FIELD(branches), ZO2_FIELD(lanes), ZO2_FIELD(edges), ZO2_FIELD(inputs), ZO2_FIELD(outputs);
  ZO2_FIELD(loss_sum), ZO2_FIELD(loss_count), ZO2_FIELD(loss_sum_host), ZO2_FIELD(loss_count_host);
  ZO2_FIELD(control_staging), ZO2_FIELD(control), ZO2_FIELD(record), ZO2_FIELD(record_host);
  ZO2_FIELD(max_lag_in), ZO2_FIELD(max_lag_out), ZO2_FIELD(predicted_period);
}
template <typename A>
void Fields(A& a, LossInfo& x, const LossInfo& d) {
  ZO2_FIELD(kind), ZO2_FIELD(cause), ZO2_FIELD(node), ZO2_FIELD(labels);
}
template <typename A>
void Fields(A& a, Schedule& x, const Schedule& d) {
  ZO2_FIELD(version), ZO2_FIELD(model_name), ZO2_FIELD(model_digest), ZO2_FIELD(machine), ZO2_FIELD(numerics);
  ZO2_FIELD(fingerprint), ZO2_FIELD(model_dir), ZO2_FIELD(loss), ZO2_FIELD(rounding), ZO2_FIELD(rademacher);
  ZO2_FIELD(arenas), ZO2_FIELD(weights), ZO2_FIELD(tiles), ZO2_FIELD(values), ZO2_FIELD(nodes), ZO2_FIELD(buffers);
  ZO2_FIELD(programs), ZO2_FIELD(notes), ZO2_FIELD(report);
}
#undef ZO2_FIELD

}  // namespace zo2::internal

#endif  // ZO2_IR_SCHEDULE_SCHEDULE_FIELDS_H_
