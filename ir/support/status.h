// Errors are values: a code, one sentence that says what is wrong with which input, and what to do.
// Library code never aborts, exits or throws across a stage; mains turn a code into an exit status.
#ifndef ZO2_IR_SUPPORT_STATUS_H_
#define ZO2_IR_SUPPORT_STATUS_H_

#include <cassert>
#include <optional>
#include <sstream>
#include <string>
#include <utility>
#include <variant>

namespace zo2 {

// The values are the exit statuses of the programs.
enum class Code : int {
  kOk = 0,
  kInvalid = 2,      // bad input or usage
  kInfeasible = 3,   // no schedule fits the budgets
  kTimeLimit = 4,    // time limit reached, the best plan was written
  kRejected = 5,     // a schedule failed verification
  kDevice = 6,       // missing device, out of device memory, device error
  kInternal = 70,    // a bug of ours
};

class [[nodiscard]] Status {
 public:
  Status() = default;
  Status(Code code, std::string message) : code_(code), message_(std::move(message)) {}
  bool ok() const { return code_ == Code::kOk; }
  Code code() const { return code_; }
  const std::string& message() const { return message_; }

 private:
  Code code_ = Code::kOk;
  std::string message_;
};

// Error(Code::kInvalid, "tensor ", name, " has ", n, " elements") concatenates its arguments.
template <typename... Args>
Status Error(Code code, const Args&... args) {
  std::ostringstream out;
  (out << ... << args);
  return Status(code, out.str());
}
template <typename... Args>
Status Invalid(const Args&... args) {
  return Error(Code::kInvalid, args...);
}
template <typename... Args>
Status Internal(const Args&... args) {
  return Error(Code::kInternal, args...);
}

// A value or an error.
template <typename T>
class [[nodiscard]] Result {
 public:
  Result(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Result(Status status) : state_(std::in_place_index<1>, std::move(status)) { assert(!this->status().ok()); }
  bool ok() const { return state_.index() == 0; }
  const Status& status() const {
    static const Status kOkStatus;
    return ok() ? kOkStatus : std::get<1>(state_);
  }
  T& operator*() & { return std::get<0>(state_); }
  const T& operator*() const& { return std::get<0>(state_); }
  T&& operator*() && { return std::get<0>(std::move(state_)); }
  T* operator->() { return &std::get<0>(state_); }
  const T* operator->() const { return &std::get<0>(state_); }

 private:
  std::variant<T, Status> state_;
};
template <>
class [[nodiscard]] Result<void> {
 public:
  Result() = default;
  Result(Status status) : status_(std::move(status)) {}
  bool ok() const { return status_.ok(); }
  const Status& status() const { return status_; }

 private:
  Status status_;
};

namespace internal {
inline const Status& ToStatus(const Status& status) { return status; }
template <typename T>
const Status& ToStatus(const Result<T>& result) {
  return result.status();
}
}  // namespace internal

}  // namespace zo2

#define ZO2_CONCAT_(a, b) a##b
#define ZO2_CONCAT(a, b) ZO2_CONCAT_(a, b)
// ZO2_TRY(expr): returns the error of a Status or Result from the enclosing function.
#define ZO2_TRY(expr)                                                                  \
  do {                                                                                 \
    if (auto zo2_try = (expr); !zo2_try.ok()) return ::zo2::internal::ToStatus(zo2_try); \
  } while (0)
// ZO2_ASSIGN(lhs, expr): lhs = value of a Result, or returns its error.
#define ZO2_ASSIGN(lhs, expr) ZO2_ASSIGN_(ZO2_CONCAT(zo2_result_, __LINE__), lhs, expr)
#define ZO2_ASSIGN_(tmp, lhs, expr) \
  auto tmp = (expr);                \
  if (!tmp.ok()) return tmp.status(); \
  lhs = std::move(*tmp)

#endif  // ZO2_IR_SUPPORT_STATUS_H_
