// Mutations of schedules: each changes one thing at random and says what, or changes nothing and says
// nothing.
#ifndef ZO2_TESTS_PROPERTY_MUTATOR_H_
#define ZO2_TESTS_PROPERTY_MUTATOR_H_

#include <cstddef>
#include <cstdint>
#include <random>
#include <string>
#include <utility>
#include <vector>

#include "ir/schedule/schedule.h"

namespace zo2 {

class Mutator {
 public:
  explicit Mutator(uint64_t seed) : random_(seed) {}
  using Mutation = std::string (Mutator::*)(Schedule*);
  static const std::vector<std::pair<const char*, Mutation>>& All();

 private:
  size_t Pick(size_t n) { return std::uniform_int_distribution<size_t>(0, n - 1)(random_); }
  int64_t Sign() { return Pick(2) == 0 ? -1 : 1; }
  Program& AnyProgram(Schedule* s);  // mostly train
  // Null when the draw fails.
  Lane* AnyLane(Schedule* s, Program** program = nullptr);
  Instruction* AnyInstruction(Schedule* s);
  Instruction* AnyOf(Schedule* s, InstrKind kind);
  Operand* AnyOperand(Schedule* s);
  Edge* AnyEdge(Schedule* s, Program** program = nullptr);

  // ---- order ----
  std::string DropEdge(Schedule* s);
  std::string DropEdgesInto(Schedule* s);
  std::string EdgeBack(Schedule* s);
  std::string MoveEdge(Schedule* s);
  std::string SwapInstructions(Schedule* s);
  std::string MoveInstruction(Schedule* s);
  std::string OtherLane(Schedule* s);
  std::string ChangeSeq(Schedule* s);
  std::string ChangeResidues(Schedule* s);
  std::string ChangePeriod(Schedule* s);
  std::string DropInstruction(Schedule* s);
  std::string RepeatInstruction(Schedule* s);
  // ---- memory ----
  std::string ShiftBuffer(Schedule* s);
  std::string AliasBuffers(Schedule* s);
  std::string ShrinkArena(Schedule* s);
  std::string ChangeRing(Schedule* s);
  std::string RecordRing(Schedule* s);
  std::string ChangeStride(Schedule* s);
  std::string SwapMasters(Schedule* s);
  std::string SwapCodes(Schedule* s);
  std::string HostSide(Schedule* s);
  // ---- what an instruction does ----
  std::string ShiftOperand(Schedule* s);
  std::string RedirectOperand(Schedule* s);
  std::string SwapOperands(Schedule* s);
  std::string DropOperand(Schedule* s);
  std::string DropMasterOut(Schedule* s);
  std::string OperandTile(Schedule* s);
  std::string OperandView(Schedule* s);
  std::string CopySize(Schedule* s);
  std::string ChangeSlot(Schedule* s);
  std::string FlipAfterWrite(Schedule* s);
  std::string FlipCoded(Schedule* s);
  std::string OtherForm(Schedule* s);
  std::string ChangePart(Schedule* s);
  std::string ChangeTile(Schedule* s);
  std::string ChangeNode(Schedule* s);
  std::string SwapBranches(Schedule* s);
  // ---- what the tables say ----
  std::string ChangeCoefficient(Schedule* s);
  std::string ChangeSegment(Schedule* s);
  std::string FlipTrainable(Schedule* s);
  std::string ChangeCounts(Schedule* s);

  std::mt19937_64 random_;
};

}  // namespace zo2

#endif  // ZO2_TESTS_PROPERTY_MUTATOR_H_
