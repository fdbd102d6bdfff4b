// vbackup: archives of vservers, straight from the host.
#include "backup/command.h"

int main(int argc, char** argv) {
  using namespace vs::backup;
  vs::CommandLine line("vbackup", "Archives vservers straight from the host, reading what they share once, and restores them.", "/etc/vservers/vbackup.conf");
  add_create(line);
  add_list(line);
  add_show(line);
  add_restore(line);
  add_check(line);
  add_diff(line);
  add_forget(line);
  add_prune(line);
  return line.run(argc, argv);
}
