// How much of a perturbation, and of an update, reaches the numbers that are computed with and kept.
//
// theta + eps z rounded to bf16 is theta itself wherever eps z is less than half a step of bf16 around theta:
// such a weight is hardly perturbed, and its update, if it has one, is noise. So can an update be lost in a
// narrow master. The share is what arrives along what was wanted, <r, d> / <d, d>, where
//
//   of the perturbation   d = eps e z of one direction, r = (x+ - x-) / 2 of the two branches in the compute
//   dtype of the update         d = the change that exact arithmetic makes of one step (decay included), r =
//   theta(t+1) -
//                         theta(t) as stored
//
// summed over elements, and over the steps asked for. 1: all of it arrives on average; stochastic rounding
// keeps the update's share at 1, and adds noise. `error` is the standard error of the share as an estimate of
// the share of many such directions (White's estimator for a regression through the origin, 1980): rounding
// noise and the sample's size.
#ifndef ZO2_RUNTIME_SHARES_H_
#define ZO2_RUNTIME_SHARES_H_

#include <cstdint>
#include <string>

#include "ir/schedule/schedule.h"
#include "ir/support/status.h"
#include "runtime/journal.h"
#include "runtime/weight_reader.h"

namespace zo2 {

// Sums of which a share is made; those of parts add up.
struct Share {
  double dd = 0, rd = 0;                // sums of d d and r d
  double rrdd = 0, rddd = 0, dddd = 0;  // of r^2 d^2, r d^3 and d^4, for the error
  int64_t elements = 0;
  void Add(double wanted, double realised);
  void Add(const Share& other);
  double value() const { return rd / dd; }  // NaN where nothing was wanted
  double error() const;
};

struct WeightShares {
  Share perturbation, update;
};

// Of trainable weight `w`, from `read` (the weights at step `from`) through the records of steps [from, to)
// of `log`: the updates of these steps, and the perturbation of step `to`, first sample. At most about
// `elements` of the weight, in bands of whole rows spread evenly, are looked at. from <= to <= log.steps().
Result<WeightShares> MeasureShares(const Schedule& schedule, int32_t w, const WeightReader& read,
                                   const StepLog& log, int64_t from, int64_t to, int q,
                                   const RunParameters& parameters, int64_t elements);

}  // namespace zo2

#endif  // ZO2_RUNTIME_SHARES_H_
