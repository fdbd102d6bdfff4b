// Asking a long command to stop at the next safe place: SIGINT, SIGTERM, or its time is up.
#pragma once

#include <atomic>
#include <chrono>
#include <optional>

namespace vs {

class Cancel {
 public:
  // A part of a run, with a time limit of its own, is interrupted when the whole is.
  explicit Cancel(const Cancel* whole = nullptr) : whole_(whole) {}
  void request() { requested_ = true; }
  void limit_runtime(std::chrono::milliseconds limit) {
    deadline_ = std::chrono::steady_clock::now() + limit;
  }
  bool out_of_time() const { return deadline_ && std::chrono::steady_clock::now() >= *deadline_; }
  bool interrupted() const { return requested_ || (whole_ != nullptr && whole_->stop()); }
  bool stop() const { return interrupted() || out_of_time(); }

 private:
  const Cancel* whole_;
  std::atomic<bool> requested_{false};
  std::optional<std::chrono::steady_clock::time_point> deadline_;
};

// SIGINT and SIGTERM request `cancel`; a second SIGINT ends the process at once (recovery copes with that).
// SIGIO (a broken lease) and SIGPIPE are ignored. `cancel` must live as long as the process.
void install_signal_handlers(Cancel& cancel);

}  // namespace vs
