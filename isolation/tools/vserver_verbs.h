// The verbs of vserver: one file cmd_VERB.cc each, or one for a few that are alike.
#pragma once

#include <string>
#include <vector>

namespace vs::isolation {

struct VerbOptions {
  bool silent = false, verbose = false, nodev = false;
  std::string name;
  std::vector<std::string> words;  // after the verb
};

struct VserverVerb {
  const char* name;
  const char* words;  // what stands behind it, for help
  const char* help;
  bool runs_command;  // its exit status is a command's
  int (*run)(const VerbOptions&);
};

const std::vector<VserverVerb>& vserver_verbs();

int cmd_start(const VerbOptions& options);
int cmd_stop(const VerbOptions& options);
int cmd_restart(const VerbOptions& options);
int cmd_running(const VerbOptions& options);
int cmd_status(const VerbOptions& options);
int cmd_enter(const VerbOptions& options);
int cmd_exec(const VerbOptions& options);
int cmd_suexec(const VerbOptions& options);
int cmd_service(const VerbOptions& options);
int cmd_freeze(const VerbOptions& options);
int cmd_thaw(const VerbOptions& options);
int cmd_build(const VerbOptions& options);
int cmd_delete(const VerbOptions& options);
int cmd_chkconfig(const VerbOptions& options);

}  // namespace vs::isolation
