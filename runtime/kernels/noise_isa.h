// What each instruction set's files offer to the dispatchers in noise.cc, codec.cc and prepare.cc.
#ifndef ZO2_RUNTIME_KERNELS_NOISE_ISA_H_
#define ZO2_RUNTIME_KERNELS_NOISE_ISA_H_

#include <cstdint>

#include "runtime/kernels/noise_core.h"

namespace zo2::kernels {

struct EncodeJob;
struct DecodeJob;
struct PrepareJob;
struct PrepareScratch;

// Files compiled for an instruction set define these in its namespace and include nothing that could put a shared
// inline function into them (see ZO2_HD).
#define ZO2_DECLARE_ISA(isa)                                                                           \
  namespace isa {                                                                                      \
  void GaussianFill(NoiseKey key, uint64_t direction, uint64_t start, int64_t count, float* out);      \
  void RademacherFill(NoiseKey key, uint64_t direction, uint64_t start, int64_t count, float* out);    \
  void RoundBitsFill(NoiseKey key, uint64_t step, uint64_t start, int64_t count, uint16_t* out);       \
  uint64_t EncodeRange(const EncodeJob& job);                                                          \
  void DecodeRange(const DecodeJob& job);                                                              \
  uint64_t PrepareRange(const PrepareJob& job, int64_t begin, int64_t end, const PrepareScratch& scratch); \
  }
ZO2_DECLARE_ISA(avx2)
ZO2_DECLARE_ISA(avx512)
#undef ZO2_DECLARE_ISA

}  // namespace zo2::kernels

#endif  // ZO2_RUNTIME_KERNELS_NOISE_ISA_H_
