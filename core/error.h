// How trouble is told: Error ends the command, Problem ends one object.
//
// Throw Error when the command cannot go on; main turns it into an exit code and nobody else does.
// Return Expected<T> when one file of millions cannot be handled: an exception out of a parallel stage would
// cancel the whole pass.
#pragma once

#include <stdexcept>
#include <string>
#include <utility>
#include <variant>

namespace vs {

// The exit codes of every program of the toolkit.
enum class Exit : int {
  done = 0,
  failed = 1,
  usage = 2,
  skipped = 3,     // done, but some objects could not be handled; each was named on stderr
  stale_plan = 4,  // nothing was changed
  locked = 11,     // another run holds the lock
  interrupted = 130,
};

class Error : public std::runtime_error {
 public:
  explicit Error(const std::string& message, Exit code = Exit::failed)
      : std::runtime_error(message), code_(code) {}
  Exit code() const { return code_; }

 private:
  Exit code_;
};

// What was tried, on what, and what the system answered. `code` is an errno value, 0 where none applies.
struct Problem {
  int code = 0;
  std::string message;
};

// A Problem with the current errno: problem_from_errno("open for reading", "/a/b") ->
// "open for reading /a/b: Permission denied".
Problem problem_from_errno(const std::string& tried, const std::string& object);
Problem problem_from(int errno_value, const std::string& tried, const std::string& object);

// The subset of std::expected we need, with its spelling (g++ 12 has no <expected>).
template <class T>
class [[nodiscard]] Expected {
 public:
  Expected(T value) : state_(std::in_place_index<0>, std::move(value)) {}
  Expected(Problem problem) : state_(std::in_place_index<1>, std::move(problem)) {}
  bool has_value() const { return state_.index() == 0; }
  explicit operator bool() const { return has_value(); }
  T& value() { return std::get<0>(state_); }
  const T& value() const { return std::get<0>(state_); }
  T& operator*() { return value(); }
  const T& operator*() const { return value(); }
  T* operator->() { return &value(); }
  const T* operator->() const { return &value(); }
  const Problem& error() const { return std::get<1>(state_); }

 private:
  std::variant<T, Problem> state_;
};

struct Ok {};
using Result = Expected<Ok>;  // success or a Problem

// The value, or an Error with the problem's text.
template <class T>
T value_or_throw(Expected<T> expected, Exit code = Exit::failed) {
  if (!expected) throw Error(expected.error().message, code);
  return std::move(*expected);
}
inline void ok_or_throw(const Result& result, Exit code = Exit::failed) {
  if (!result) throw Error(result.error().message, code);
}

}  // namespace vs
