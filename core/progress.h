// A progress line with rate and time left on a terminal; a plain line now and then otherwise; nothing with
// `never`. add() is cheap enough for every file (one atomic add; drawing is by time).
//
// Our own: no progress bar for C++ is packaged in Debian 12.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <mutex>
#include <string>

#include "core/log.h"

namespace vs {

enum class ProgressMode { automatic, always, never };

class Progress {
 public:
  Progress(Log& log, ProgressMode mode);
  ~Progress();
  // A new pass: its name, what is counted, how many there will be (0: not known).
  void start(std::string pass, std::string unit, uint64_t total);
  void add(uint64_t count = 1);
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  void draw(Clock::time_point now);
  void clear();
  Log& log_;
  bool terminal_ = false;
  bool enabled_ = false;
  std::mutex mutex_;
  std::string pass_, unit_;
  std::atomic<uint64_t> done_{0};
  uint64_t total_ = 0;
  Clock::time_point started_;
  std::atomic<int64_t> next_draw_{0};  // steady clock, ms
  bool drawn_ = false;
};

}  // namespace vs
