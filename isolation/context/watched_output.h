// What ps and pstree print in context 1, made fit for a terminal and for people who know contexts.
//
// The names in it were chosen by processes of hostile guests. procps and psmisc escape them, busybox does
// not; so nothing depends on the program: every line is escaped here. A line break in a name is the one thing
// that cannot be told from the program's own.
#pragma once

#include <sys/types.h>

#include <functional>
#include <string>
#include <string_view>
#include <vector>

#include "isolation/context/context.h"

namespace vs::isolation {

// Control characters, invalid UTF-8 and what turns the direction of writing become \xNN; tabs and backslashes
// stay.
std::string safe_line(std::string_view line);

// The columns CONTEXT and NAME behind the column PID of what ps printed, for each line that has a number
// there. `label` gives their text, kLabelWidth wide. Where PID does not stand, or stands behind a column of
// free text in which a guest could write numbers, it is not looked for: `found` is false and the output is as
// ps had it.
constexpr int kLabelWidth = 17;
std::string with_contexts(const std::string& output, const std::function<std::string(pid_t)>& label,
                          bool& found);

// "CONTEXT NAME" of a process: 0 MAIN, 1 ALL_PROCS, a vserver's name, "-" for a context without a name, "?"
// where it cannot be found (an ended process).
class ContextLabels {
 public:
  explicit ContextLabels(Contexts& contexts) : contexts_(contexts), living_(contexts.list()) {}
  std::string of(pid_t pid) const;
  std::string spectator() const;

 private:
  Contexts& contexts_;
  std::vector<ContextInfo> living_;
};

// COMMAND in context 1 with its output caught whole. `spectator` is the number its process had, `status` its
// exit status.
std::string output_in_context_1(Contexts& contexts, const std::string& program,
                                const std::vector<std::string>& command, pid_t& spectator, int& status);

}  // namespace vs::isolation
