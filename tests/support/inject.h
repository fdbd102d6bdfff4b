// Failures and kills at an exact system call, by strace's injection: the real program on a real filesystem.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/support/run.h"
#include "tests/support/skip.h"

namespace vs::test {

std::optional<Obstacle> injection_impossible();  // no strace, or tracing is not allowed

// The command with `action` ("signal=KILL", "error=ENOSPC", "delay_enter=2000") at `syscall`; `when` as
// strace takes it: "5" the fifth call of each thread, "5+" from then on, "1+3" every third. `log` is for
// first_injected().
Command with_injection(const Command& command, const std::string& syscall, const std::string& action,
                       const std::string& when, const std::string& log = "/dev/null");

// The first call that failed so, as strace writes it; "" when none did. How many calls a run makes before one
// of a kind depends on how fast it is: an ordinal of call_ordinals() may be another call of this run.
std::string first_injected(const std::string& log);

// How often a thread of the command calls `syscall` on something whose line in the trace holds one of
// `paths`: the ordinals that are worth injecting at, so not the loader's opens of libraries. Runs the command
// to its end.
std::vector<unsigned> call_ordinals(const Command& command, const std::string& syscall,
                                    const std::vector<std::string>& paths);

// At most `most` of them: the first half of that many, the rest evenly spread to the last.
std::vector<unsigned> sample(const std::vector<unsigned>& ordinals, size_t most);

}  // namespace vs::test
