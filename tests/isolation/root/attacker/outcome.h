// What became of one attempt, in one word: "WORKED", "TIMEOUT", the name of an errno ("EPERM"), or "UNTRIED"
// where the way to the attempt itself was barred. Tests compare the word; stderr is for whoever reads a log.
#pragma once

#include <span>
#include <string>

namespace attacker {

using Outcome = std::string;
inline const Outcome kWorked = "WORKED", kUntried = "UNTRIED";

// "WORKED", or the name of errno if `result` is negative.
Outcome answered(long result);
// UNTRIED; says on stderr what could not be done, with the system's answer.
Outcome untried(const char* what);
// Prints "TIMEOUT" and ends the program when the attempt has waited this long.
void give_up_after(unsigned seconds);

struct Try {
  const char* name;
  Outcome (*attempt)(const char* word, const char* second);
};
// The attempts by what they are aimed at. Each reads its words from the command line; "" if there are none.
std::span<const Try> tries_at_the_kernel();
std::span<const Try> tries_at_files();
std::span<const Try> tries_at_addresses();
std::span<const Try> tries_at_processes();
// Not attempts but the other side of some: programs that serve, on the host or in a guest.
std::span<const Try> servers();

}  // namespace attacker
