// What root inside a guest would try, compiled statically and put into its tree. `attacker NAME [WORD...]`
// makes one attempt and prints what became of it as the last line of its output (outcome.h). Exit code 0: it
// was denied. 1: it worked. 2: it could not be tried.
//
// The same attempts are made outside of a guest to show that they can succeed. So none may harm the machine:
// they leave nothing behind, and what would change the kernel for everybody asks for something impossible
// that is refused only after the permission has been checked.
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstring>

#include "tests/isolation/root/attacker/outcome.h"

namespace attacker {

Outcome answered(long result) {
  if (result >= 0) return kWorked;
  const char* name = strerrorname_np(errno);
  return name != nullptr ? name : "errno " + std::to_string(errno);
}

Outcome untried(const char* what) {
  std::fprintf(stderr, "%s: %s\n", what, std::strerror(errno));
  return kUntried;
}

void give_up_after(unsigned seconds) {
  signal(SIGALRM, [](int) {
    if (write(1, "TIMEOUT\n", 8) == 8) _exit(0);
    _exit(2);
  });
  alarm(seconds);
}

namespace {

Outcome run(const char* name, const char* word, const char* second) {
  for (const auto& tries :
       {tries_at_the_kernel(), tries_at_files(), tries_at_addresses(), tries_at_processes(), servers()})
    for (const auto& one : tries)
      if (std::strcmp(one.name, name) == 0) return one.attempt(word, second);
  errno = EINVAL;
  return untried(name);
}

}  // namespace
}  // namespace attacker

int main(int argc, char** argv) {
  if (argc < 2) return 2;
  const auto outcome = attacker::run(argv[1], argc > 2 ? argv[2] : "", argc > 3 ? argv[3] : "");
  std::printf("%s\n", outcome.c_str());
  return outcome == attacker::kWorked ? 1 : outcome == attacker::kUntried ? 2 : 0;
}
