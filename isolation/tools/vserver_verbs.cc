#include "isolation/tools/vserver_verbs.h"

namespace vs::isolation {

const std::vector<VserverVerb>& vserver_verbs() {
  static const std::vector<VserverVerb> verbs = {
      {"start", "", "start it; nothing to do if it runs", false, cmd_start},
      {"stop", "", "let it shut down, end it, give back what it held", false, cmd_stop},
      {"restart", "", "stop and start", false, cmd_restart},
      {"running", "", "say whether it runs; 0 if it does", false, cmd_running},
      {"status", "", "processes, uptime, context, addresses, guards in force", false, cmd_status},
      {"enter", "", "a login shell of root in it", true, cmd_enter},
      {"exec", "COMMAND [WORD...]", "run a command in it as root", true, cmd_exec},
      {"suexec", "USER COMMAND [WORD...]", "run a command in it as one of its users", true, cmd_suexec},
      {"service", "SERVICE VERB", "run /etc/init.d/SERVICE in it", true, cmd_service},
      {"build", "[OPTION...]", "make it; vserver NAME build --help", false, cmd_build},
      {"delete", "", "remove its tree and configuration, sealed files too", false, cmd_delete},
      {"freeze", "", "let all its processes stand still", false, cmd_freeze},
      {"thaw", "", "let them go on", false, cmd_thaw},
      {"chkconfig", "[WORD...]", "run chkconfig in it", true, cmd_chkconfig},
  };
  return verbs;
}

}  // namespace vs::isolation
