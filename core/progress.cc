#include "core/progress.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cstdio>

namespace vs {
namespace {

int64_t milliseconds(std::chrono::steady_clock::time_point t) {
  return std::chrono::duration_cast<std::chrono::milliseconds>(t.time_since_epoch()).count();
}

constexpr int64_t kTerminalEvery = 100;  // ms: smooth, and cheap
constexpr int64_t kPlainEvery = 30'000;  // ms: what a log of a nightly job can bear

}  // namespace

Progress::Progress(Log& log, ProgressMode mode) : log_(log) {
  terminal_ = ::isatty(STDERR_FILENO) == 1;
  enabled_ =
      mode == ProgressMode::always || (mode == ProgressMode::automatic && log.shows(Verbosity::normal));
  if (enabled_ && terminal_)
    log_.before_line([this] {
      const std::lock_guard guard(mutex_);  // taken after the log's own; nothing here logs
      clear();
    });
}

Progress::~Progress() {
  if (enabled_ && terminal_) log_.before_line({});
}

void Progress::start(std::string pass, std::string unit, uint64_t total) {
  const std::lock_guard guard(mutex_);
  pass_ = std::move(pass);
  unit_ = std::move(unit);
  total_ = total;
  done_ = 0;
  started_ = Clock::now();
  next_draw_ = milliseconds(started_) + (terminal_ ? kTerminalEvery : kPlainEvery);
}

void Progress::add(uint64_t count) {
  done_ += count;
  if (!enabled_) return;
  const auto now = Clock::now();
  int64_t due = next_draw_;
  if (milliseconds(now) < due) return;
  if (!next_draw_.compare_exchange_strong(due,
                                          milliseconds(now) + (terminal_ ? kTerminalEvery : kPlainEvery)))
    return;
  draw(now);
}

void Progress::draw(Clock::time_point now) {
  const std::lock_guard guard(mutex_);
  const double seconds = std::chrono::duration<double>(now - started_).count();
  const auto done = static_cast<double>(done_.load());
  const double rate = seconds > 0 ? done / seconds : 0;
  std::string text = fmt::format("{}: {} {}", pass_, done_.load(), unit_);
  if (total_ != 0) text = fmt::format("{}: {} of {} {}", pass_, done_.load(), total_, unit_);
  text += fmt::format(", {:.0f}/s", rate);
  if (total_ != 0 && rate > 0)
    text += fmt::format(", {:.0f} s left", (static_cast<double>(total_) - done) / rate);
  if (terminal_) {
    std::fprintf(stderr, "\r\033[K%s", text.c_str());
    std::fflush(stderr);
    drawn_ = true;
  } else {
    std::fprintf(stderr, "%s\n", text.c_str());
  }
}

void Progress::clear() {
  if (drawn_) std::fputs("\r\033[K", stderr);
  drawn_ = false;
}

void Progress::finish() {
  const std::lock_guard guard(mutex_);
  if (enabled_ && terminal_) clear();
}

}  // namespace vs
