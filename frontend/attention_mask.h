// Reads what is added to (or chosen by) attention scores: which part is the causal triangle, which is
// padding.
//
// A key that a mask excludes gets -infinity, or a finite number so negative that adding a score to it changes
// nothing. The two differ only in rows where every key is excluded: -infinity gives NaN (or zeros behind a
// guard), a finite mask gives the mean of all values. A triangle is therefore taken out of a mask, as causal
// = 1, only where no row can tell: when it excludes by -infinity, or when it is the whole mask (each row then
// keeps its diagonal).
#ifndef ZO2_FRONTEND_ATTENTION_MASK_H_
#define ZO2_FRONTEND_ATTENTION_MASK_H_

#include <vector>

#include "frontend/rewrite.h"

namespace zo2 {

struct MaskTerms {
  std::vector<ValueId> added;  // floats added to the scores
  std::vector<ValueId> kept;   // bools: where false, the score becomes -infinity
};

struct Mask {
  bool ok = false;
  bool causal = false;
  bool may_be_infinite = false;  // some score may become -infinity, other than by the triangle
  ValueId value = -1;            // bool or float, broadcasts to [batch, heads, queries, keys]; -1: none
};

// Combines `terms` for scores of shape [batch, heads, queries, keys] and type `dtype`; new nodes go before
// node `n`.
Mask CombineMasks(Rewriter& rw, NodeId n, const MaskTerms& terms, const Shape& scores, DType dtype);

// A number that excludes a key: -infinity, or a finite one that absorbs any score of that dtype.
bool Excludes(double number, DType dtype);

}  // namespace zo2

#endif  // ZO2_FRONTEND_ATTENTION_MASK_H_
