// What one vserver asks over its socket, and how often it may.
//
// Whoever writes here is root in a hostile guest. So per vserver: one connection at a time, sixteen bytes of
// it, two seconds for them; the next is taken a tenth of a second later, the rest waits in a queue of the
// kernel's that is short. Complaints are counted, not written, after a few. Descriptors that are sent along
// are closed by the kernel.
#pragma once

#include <chrono>
#include <string>

#include "core/error.h"
#include "core/unique_fd.h"

namespace vs::isolation {

enum class RebootWish { none, restart, halt, invalid };

class RebootSocket {
 public:
  using Clock = std::chrono::steady_clock;
  // A fresh socket of mode 0600 in the open directory. Problem where it cannot be made.
  static Expected<RebootSocket> make(int dir, const std::string& shown);
  // What to poll for reading, or -1 until wake_at().
  int waits_for(Clock::time_point now) const;
  Clock::time_point wake_at() const;
  // To be called when that is readable or wake_at() is over. For `invalid`, text() is what came, unescaped.
  RebootWish look(Clock::time_point now);
  const std::string& text() const { return text_; }

 private:
  RebootWish finish(Clock::time_point now);
  UniqueFd listener_, connection_;
  std::string text_;
  Clock::time_point deadline_{}, next_accept_{};
};

}  // namespace vs::isolation
