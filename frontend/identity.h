// Which initializers are weights, and which weight each of them is.
//
// Weights or constants. A floating-point initializer of one axis or more is a weight when it is used as the
// matrix of a MatMul or Gemm, as the table of a Gather, as scale or bias of a norm, as the bias of a Gemm, or
// elementwise under a parameter's name (something.weight, .bias, gamma, ...). Buffers by name (inv_freq,
// masks, caches, running statistics), anonymous elementwise operands (folded tables) and scalars are
// constants.
//
// Names. A meaningful name of the file's own is canonical. An anonymous initializer is the exporter's folded
// transpose of a Linear weight: its name is its module's (frontend/scope.h) + ".weight", its logical layout
// the transpose.
//
// One or several. An initializer used by several modules is one weight with aliases, except where all its
// elements are equal: exporters merge equal parameters of fresh models (ones, zeros), so then each module has
// a weight of its own. Two initializers are one weight where they have one name, or where one is an
// embedding's table, the other an output projection, and their bytes are equal as is or transposed.
// Everything of this kind is in `notes`.
#ifndef ZO2_FRONTEND_IDENTITY_H_
#define ZO2_FRONTEND_IDENTITY_H_

#include <map>
#include <set>
#include <string>
#include <utility>
#include <vector>

#include "frontend/onnx_file.h"
#include "ir/graph/graph.h"
#include "ir/support/safetensors.h"
#include "ir/support/status.h"

namespace zo2 {

// What an operand of an ONNX node is, where it is a weight.
struct OperandWeight {
  WeightId weight = -1;
  bool transposed = false;  // the operand is the transpose of the weight's logical layout
  std::string root;         // the initializer it comes from
  std::vector<int> chain;   // nodes (Identity, Cast, Transpose) between the two
};

struct Identity {
  std::vector<Weight> weights;  // places name initializers; tensor ids are not assigned yet
  std::map<std::pair<int, int>, OperandWeight> operands;  // (node, operand) -> weight
  std::set<int> views;  // nodes that only forward a weight: not to be lowered
  std::vector<std::string> notes;
};

Result<Identity> Identify(const OnnxFile& file);

// The tensor that overrides a weight: exact match of the canonical name, an alias or a place's name; else the
// canonical name or an alias without leading components, where that is unambiguous (m.model.x -> model.x).
// nullptr: none. An error when the shape fits neither way, or when two matches of one weight have different
// bytes.
struct Override {
  const SafetensorsEntry* entry = nullptr;
  bool transposed = false;  // holds the transpose of the logical layout
};
Result<Override> FindOverride(const Weight& weight,
                              const std::map<std::string, const SafetensorsEntry*>& by_name);

// Puts the tensors of `path` (see ListSafetensors) in front of the places of the weights they name, notes
// what it did.
Result<void> ApplyOverrides(const std::string& path, std::vector<Weight>* weights,
                            std::vector<std::string>* notes);

}  // namespace zo2

#endif  // ZO2_FRONTEND_IDENTITY_H_
