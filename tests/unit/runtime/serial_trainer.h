// The model of the tiny schedules (two linears, relu, classification; biases on request), trained step by
// step with whole weights and nothing overlapped; codes value by value (scalar_wire.h).
#ifndef ZO2_TESTS_UNIT_RUNTIME_SERIAL_TRAINER_H_
#define ZO2_TESTS_UNIT_RUNTIME_SERIAL_TRAINER_H_

#include <cmath>
#include <string>
#include <vector>

#include "tests/tools/scalar_noise.h"
#include "tests/tools/scalar_wire.h"
#include "tests/unit/runtime/tiny_run.h"

namespace zo2 {

class SerialTrainer {
 public:
  SerialTrainer(const TinyRun& run, const tiny::Options& options) : run_(run), o_(options) {
    Add("W0", 4, 4, true, !o_.freeze_first, o_.first, 0, o_.wire);
    if (o_.bias) Add("b0", 1, 4, false, !o_.freeze_first, o_.first, 0, WireFormat::kBF16);
    Add("W1", 3, 4, true, true, o_.second, 1, o_.wire);
    if (o_.bias) Add("b1", 1, 3, false, true, o_.second, 1, WireFormat::kBF16);
  }

  TinyResult Run() {
    for (int64_t t = 0; t < run_.steps; ++t) {
      Step(t);
      const int64_t end = t + 1;
      if (run_.eval_every > 0 && (end % run_.eval_every == 0 || end == run_.steps))
        for (int64_t i = 0; i < 2; ++i) {
          std::vector<std::vector<float>> w;
          for (const Param& p : params_) w.push_back(Value(p, end, false));
          result_.eval.push_back(Loss(w, 100 + i, 2));
        }
    }
    for (const Param& p : params_)
      if (p.trained || p.codes.empty()) result_.weights[p.name] = p.v;
    return result_;
  }

 private:
  struct Param {
    std::string name;
    uint32_t id;
    int64_t rows, cols;
    bool decay, trained;
    tiny::Keep keep;
    int tile;
    WireFormat wire;
    std::vector<float> v;        // exact, of this step
    std::vector<uint8_t> codes;  // empty: not coded
    int64_t codes_version = 0;
  };

  void Add(const char* name, int64_t rows, int64_t cols, bool decay, bool trained, tiny::Keep keep, int tile,
           WireFormat wire) {
    const uint32_t id = static_cast<uint32_t>(17 + params_.size());
    params_.push_back({name, id, rows, cols, decay, trained, keep, tile, wire, {}, {}, 0});
    for (int64_t i = 0; i < rows * cols; ++i) params_.back().v.push_back(MasterValue(id, i));
    if (keep == tiny::Keep::kFrozenCodes || keep == tiny::Keep::kResidentCodes ||
        keep == tiny::Keep::kHostUpdate || keep == tiny::Keep::kRefresh)
      Encode(&params_.back(), 0);
  }
  static void Encode(Param* p, int64_t version) {
    uint64_t bad;
    p->codes = scalar::Encoded(p->wire, p->rows, p->cols, p->v, &bad);
    p->codes_version = version;
  }
  bool Due(const Param& p, int64_t t) const {
    return p.keep == tiny::Keep::kRefresh && t % o_.period == (o_.period - 1 + p.tile) % o_.period;
  }
  void Update(const Param& p, int64_t t, std::vector<float>* v) const {
    const std::vector<double>& g = g_[static_cast<size_t>(t)];
    const int64_t q = static_cast<int64_t>(g.size());
    for (size_t n = 0; n < v->size(); ++n) {
      if (p.decay) (*v)[n] = static_cast<float>(1 - run_.lr * run_.parameters.weight_decay) * (*v)[n];
      for (int64_t i = 0; i < q; ++i)
        (*v)[n] = std::fma(
            static_cast<float>(-((run_.lr * g[static_cast<size_t>(i)]) / static_cast<double>(q))),
            scalar::Gaussian(run_.parameters.seed, static_cast<uint64_t>(t * q + i), p.id, n), (*v)[n]);
    }
  }
  // What kernels see of it at step t, before the perturbation.
  std::vector<float> Value(const Param& p, int64_t t, bool exact) const {
    if (p.codes.empty() || exact) return p.v;
    std::vector<float> v;
    for (int64_t n = 0; n < p.rows * p.cols; ++n)
      v.push_back(scalar::DecodedAt(p.wire, p.rows, p.cols, p.codes.data(), n / p.cols, n % p.cols));
    for (int64_t s = p.codes_version; p.trained && s < t; ++s) Update(p, s, &v);
    return v;
  }
  double Loss(const std::vector<std::vector<float>>& w, int64_t t, int64_t examples) const {
    const bool bias = o_.bias;
    double sum = 0, count = 0;
    for (int64_t e = 0; e < examples; ++e) {
      float h[4], y[3];
      for (int j = 0; j < 4; ++j) {
        h[j] = bias ? w[1][static_cast<size_t>(j)] : 0;
        for (int k = 0; k < 4; ++k) h[j] += InputValue(t, e * 4 + k) * w[0][static_cast<size_t>(j * 4 + k)];
        h[j] = std::max(0.0f, h[j]);
      }
      double exps = 0;
      for (int j = 0; j < 3; ++j) {
        y[j] = bias ? w[3][static_cast<size_t>(j)] : 0;
        for (int k = 0; k < 4; ++k) y[j] += h[k] * w[bias ? 2 : 1][static_cast<size_t>(j * 4 + k)];
        exps += std::exp(static_cast<double>(y[j]));
      }
      sum += std::log(exps) - static_cast<double>(y[LabelValue(t, e)]);
      count += 1;
    }
    return sum / count;
  }

  void Step(int64_t t) {
    const double eps = run_.parameters.eps;
    std::vector<double> row;
    g_.emplace_back();
    for (int i = 0; i < o_.samples; ++i) {
      const uint64_t direction = static_cast<uint64_t>(t * o_.samples + i);
      double loss[2];
      for (int side = 0; side < 2; ++side) {
        std::vector<std::vector<float>> w;
        for (const Param& p : params_) {
          w.push_back(Value(p, t, Due(p, t)));
          for (size_t n = 0; p.trained && n < p.v.size(); ++n)
            w.back()[n] = std::fma(static_cast<float>(side == 0 ? eps : -eps),
                                   scalar::Gaussian(run_.parameters.seed, direction, p.id, n), w.back()[n]);
        }
        loss[side] = Loss(w, t, 2 * o_.micro_batches);
      }
      g_.back().push_back((loss[0] - loss[1]) / (2 * eps));
      row.insert(row.end(), {loss[0], loss[1], g_.back().back()});
    }
    result_.records.push_back(row);
    for (Param& p : params_) {
      if (p.keep == tiny::Keep::kHostUpdate || Due(p, t)) Encode(&p, t);
      if (p.trained) Update(p, t, &p.v);
    }
  }

  const TinyRun run_;
  const tiny::Options o_;
  std::vector<Param> params_;
  std::vector<std::vector<double>> g_;  // per step
  TinyResult result_;
};

}  // namespace zo2

#endif  // ZO2_TESTS_UNIT_RUNTIME_SERIAL_TRAINER_H_
