// vunify: one copy of what is the same in several vservers.
#include "unify/cli/command.h"

int main(int argc, char** argv) {
  using namespace vs::unify;
  vs::CommandLine line(
      "vunify", "Makes identical package files of several vservers one inode that none of them can change.",
      "/etc/vservers/vunify.conf");
  add_scan(line);
  add_plan(line);
  add_apply(line);
  add_run(line);
  add_status(line);
  add_report(line);
  add_explain(line);
  add_check(line);
  add_release(line);
  add_undo(line);
  add_recover(line);
  add_gc(line);
  add_forget(line);
  return line.run(argc, argv);
}
