// vbackup: archives of vservers, straight from the host.
#include <malloc.h>

#include "backup/cli/command.h"

int main(int argc, char** argv) {
  // Blocks of some MiB come and go in every worker; kept by a heap for each thread they cost a quarter of the
  // memory of a run. (As mappings of their own, M_MMAP_THRESHOLD, they cost less still, and a quarter more
  // time in the kernel: see bench/README.md.)
  ::mallopt(M_ARENA_MAX, 2);
  using namespace vs::backup;
  vs::CommandLine line(
      "vbackup", "Archives vservers straight from the host, reading what they share once, and restores them.",
      "/etc/vservers/vbackup.conf");
  add_init(line);
  add_create(line);
  add_list(line);
  add_show(line);
  add_dump(line);
  add_restore(line);
  add_check(line);
  add_diff(line);
  add_protect(line);
  add_forget(line);
  add_prune(line);
  add_mount(line);
  return line.run(argc, argv);
}
