#include "ir/schedule/schedule.h"

namespace zo2 {

std::string_view Name(Tier tier) {
  switch (tier) {
    case Tier::kDevice:
      return "device";
    case Tier::kHost:
      return "host";
    case Tier::kDisk:
      return "disk";
  }
  return "?";
}

std::string_view Name(BufferKind kind) {
  switch (kind) {
    case BufferKind::kMaster:
      return "master";
    case BufferKind::kSlot:
      return "slot";
    case BufferKind::kBranch:
      return "branch";
    case BufferKind::kActivation:
      return "activation";
    case BufferKind::kInput:
      return "input";
    case BufferKind::kConstant:
      return "constant";
    case BufferKind::kState:
      return "state";
    case BufferKind::kLoss:
      return "loss";
    case BufferKind::kControl:
      return "control";
    case BufferKind::kRecord:
      return "record";
    case BufferKind::kStaging:
      return "staging";
    case BufferKind::kOutput:
      return "output";
    case BufferKind::kWorkspace:
      return "workspace";
    case BufferKind::kCodes:
      return "codes";
  }
  return "?";
}

std::string_view Name(InstrKind kind) {
  switch (kind) {
    case InstrKind::kCopy:
      return "copy";
    case InstrKind::kDiskRead:
      return "disk read";
    case InstrKind::kDiskWrite:
      return "disk write";
    case InstrKind::kPrepare:
      return "prepare";
    case InstrKind::kCall:
      return "call";
    case InstrKind::kGradient:
      return "gradient";
    case InstrKind::kHostUpdate:
      return "host update";
    case InstrKind::kHostCall:
      return "host call";
    case InstrKind::kGather:
      return "gather";
    case InstrKind::kCollective:
      return "collective";
  }
  return "?";
}

std::string_view Name(LaneKind kind) {
  switch (kind) {
    case LaneKind::kCompute:
      return "compute";
    case LaneKind::kH2D:
      return "h2d";
    case LaneKind::kD2H:
      return "d2h";
    case LaneKind::kHost:
      return "host";
    case LaneKind::kDisk:
      return "disk";
    case LaneKind::kNet:
      return "net";
  }
  return "?";
}

std::string_view Name(Purpose purpose) {
  switch (purpose) {
    case Purpose::kTrain:
      return "train";
    case Purpose::kEvaluate:
      return "evaluate";
    case Purpose::kFlush:
      return "flush";
  }
  return "?";
}

int64_t NumInstructions(const Schedule& schedule) {
  int64_t n = 0;
  for (const Program& program : schedule.programs)
    for (const Lane& lane : program.lanes) n += static_cast<int64_t>(lane.instructions.size());
  return n;
}

}  // namespace zo2
