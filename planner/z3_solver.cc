#include "planner/z3_solver.h"

#if ZO2_HAVE_Z3

#include <z3++.h>

#include <algorithm>
#include <cmath>
#include <numeric>
#include <optional>

namespace zo2 {
namespace {

constexpr double kUnits = 0x1p44;  // a step is about this many units of time long

// Milliseconds until then; nullopt when it is past.
std::optional<unsigned> Left(Deadline deadline) {
  if (deadline == Deadline::max()) return UINT32_MAX;  // Z3: no limit
  const auto left =
      std::chrono::duration_cast<std::chrono::milliseconds>(deadline - std::chrono::steady_clock::now());
  if (left.count() <= 0) return std::nullopt;
  return static_cast<unsigned>(std::min<int64_t>(left.count(), UINT32_MAX - 1));
}

// The program in Z3's terms, over one sort of number.
class Terms {
 public:
  enum Rounding { kDown, kUp };

  Terms(z3::context* z3, const ClassProgram& p, bool integers, Rounding rounding)
      : z3_(*z3), p_(p), integers_(integers), rounding_(rounding) {
    const std::vector<double> all(p.most.begin(), p.most.end());
    double longest = 0;
    for (const ClassProgram::Lane& lane : p.lanes) {
      double sum = std::fabs(lane.base);
      for (size_t c = 0; c < all.size(); ++c) sum += std::fabs(lane.per_tile[c]) * all[c];
      longest = std::max(longest, sum);
    }
    unit_ = (longest > 0 ? longest : 1) / kUnits;
    for (size_t c = 0; c < p.most.size(); ++c) {
      const std::string name = "x" + std::to_string(c);
      x_.push_back(integers ? z3_.int_const(name.c_str()) : z3_.real_const(name.c_str()));
    }
  }

  double unit() const { return unit_; }
  const z3::expr& x(size_t c) const { return x_[c]; }
  z3::expr Number(double units) const {
    const auto n = static_cast<int64_t>(units);
    return integers_ ? z3_.int_val(n) : z3_.real_val(std::to_string(n).c_str());
  }

  // What holds whatever T is.
  template <typename Solver>
  void AddLimits(Solver* s) const {
    for (size_t c = 0; c < x_.size(); ++c) {
      s->add(x_[c] >= Number(0));
      s->add(x_[c] <= Number(static_cast<double>(p_.most[c])));
    }
    for (const ClassProgram::Limit& l : p_.limits) {
      if (!l.integers) {  // seconds: a unit for each tile is not worth a refusal
        double slack = 0;
        for (int64_t n : p_.most) slack += static_cast<double>(n);
        s->add(Sum(l.per_tile, 0, [&](double seconds) { return std::floor(seconds / unit_); }) <=
               Number(std::floor(l.most / unit_) + slack));
        continue;
      }
      int64_t divisor =
          0;  // of all bytes: small numbers are quick; fractions may use what the division drops
      for (double v : l.per_tile) divisor = integers_ ? std::gcd(divisor, static_cast<int64_t>(v)) : 1;
      const auto d = static_cast<double>(std::max<int64_t>(1, divisor));
      s->add(Sum(l.per_tile, 0, [&](double v) { return v / d; }) <= Number(std::floor(l.most / d)));
    }
  }
  z3::expr Lane(const ClassProgram::Lane& lane) const {
    return Sum(lane.per_tile, Round(lane.base), [&](double seconds) { return Round(seconds); });
  }

 private:
  double Round(double seconds) const {
    return rounding_ == kDown ? std::floor(seconds / unit_) : std::ceil(seconds / unit_);
  }
  template <typename Rounded>
  z3::expr Sum(const std::vector<double>& per_tile, double base, Rounded rounded) const {
    z3::expr_vector terms(z3_);
    terms.push_back(Number(base));
    for (size_t c = 0; c < x_.size(); ++c)
      if (p_.most[c] > 0 && per_tile[c] != 0) terms.push_back(Number(rounded(per_tile[c])) * x_[c]);
    return z3::sum(terms);
  }

  z3::context& z3_;
  const ClassProgram& p_;
  const bool integers_;
  const Rounding rounding_;
  double unit_ = 1;
  std::vector<z3::expr> x_;
};

double Double(const z3::expr& fraction) {
  const auto part = [](const z3::expr& integer) { return std::stod(integer.get_decimal_string(0)); };
  return part(fraction.numerator()) / part(fraction.denominator());
}

Answer From(z3::check_result result) {
  return result == z3::sat ? Answer::kYes : result == z3::unsat ? Answer::kNo : Answer::kUndecided;
}

}  // namespace

struct Z3Solver::Impl {
  z3::context z3;
};

bool Z3Solver::IsBuilt() { return true; }

Z3Solver::Z3Solver() : impl_(std::make_unique<Impl>()) {}
Z3Solver::~Z3Solver() = default;

Answer Z3Solver::Minimise(const ClassProgram& p, Deadline deadline, double* seconds, std::vector<double>* x) {
  const auto left = Left(deadline);
  if (!left) return Answer::kUndecided;
  try {
    z3::context& z3 = impl_->z3;
    const Terms terms(&z3, p, false, Terms::kDown);
    z3::optimize opt(z3);
    z3::params params(z3);
    params.set("timeout", *left);
    opt.set(params);
    const z3::expr t = z3.real_const("t");
    terms.AddLimits(&opt);
    for (const ClassProgram::Lane& lane : p.lanes) opt.add(t >= terms.Lane(lane));
    const z3::optimize::handle least = opt.minimize(t);
    const Answer answer = From(opt.check());
    if (answer != Answer::kYes) return answer;
    const z3::expr value = opt.lower(least);
    if (!value.is_numeral()) return Answer::kUndecided;
    *seconds = Double(value) * terms.unit();
    const z3::model model = opt.get_model();
    x->clear();
    for (size_t c = 0; c < p.most.size(); ++c) x->push_back(Double(model.eval(terms.x(c), true)));
    return Answer::kYes;
  } catch (const z3::exception&) {  // a limit that Z3 reports this way
    return Answer::kUndecided;
  }
}

Answer Z3Solver::Decide(const ClassProgram& p, double seconds, uint32_t effort, Deadline deadline,
                        std::vector<int64_t>* x) {
  const auto left = Left(deadline);
  if (!left) return Answer::kUndecided;
  try {
    z3::context& z3 = impl_->z3;
    const Terms terms(&z3, p, true, Terms::kUp);
    z3::solver solver(z3, z3::solver::simple());
    z3::params params(z3);
    params.set("timeout", *left);
    if (effort > 0) params.set("rlimit", effort);
    solver.set(params);
    terms.AddLimits(&solver);
    for (const ClassProgram::Lane& lane : p.lanes)
      solver.add(terms.Lane(lane) <= terms.Number(std::floor(seconds / terms.unit())));
    const Answer answer = From(solver.check());
    if (answer != Answer::kYes) return answer;
    const z3::model model = solver.get_model();
    x->clear();
    for (size_t c = 0; c < p.most.size(); ++c) x->push_back(model.eval(terms.x(c), true).get_numeral_int64());
    return Answer::kYes;
  } catch (const z3::exception&) {
    return Answer::kUndecided;
  }
}

}  // namespace zo2

#else

namespace zo2 {

struct Z3Solver::Impl {};

bool Z3Solver::IsBuilt() { return false; }
Z3Solver::Z3Solver() = default;
Z3Solver::~Z3Solver() = default;
Answer Z3Solver::Minimise(const ClassProgram&, Deadline, double*, std::vector<double>*) {
  return Answer::kNotBuilt;
}
Answer Z3Solver::Decide(const ClassProgram&, double, uint32_t, Deadline, std::vector<int64_t>*) {
  return Answer::kNotBuilt;
}

}  // namespace zo2

#endif
