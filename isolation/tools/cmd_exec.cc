// enter, exec, suexec, service, chkconfig: a command inside.
#include "core/error.h"
#include "isolation/tools/vserver_verbs.h"
#include "isolation/vserver/lifecycle.h"

namespace vs::isolation {
namespace {

int run_inside(const VerbOptions& options, const ExecOptions& what) {
  Log log(Verbosity::normal, "vserver");
  Runtime runtime = make_runtime(log);
  return exec_in_vserver(runtime, options.name, what);
}

void need_words(const VerbOptions& options, size_t least, const char* expected) {
  if (options.words.size() < least) throw Error(std::string("expected ") + expected, Exit::usage);
}

}  // namespace

int cmd_enter(const VerbOptions& options) {
  return run_inside(options, {"root", true, {}});
}

int cmd_exec(const VerbOptions& options) {
  need_words(options, 1, "a command");
  return run_inside(options, {"root", false, options.words});
}

int cmd_suexec(const VerbOptions& options) {
  need_words(options, 2, "a user and a command");
  return run_inside(options, {options.words[0], false, {options.words.begin() + 1, options.words.end()}});
}

int cmd_service(const VerbOptions& options) {
  need_words(options, 2, "a service and what to do with it");
  if (options.words[0].find('/') != std::string::npos)
    throw Error("a service has no '/' in its name", Exit::usage);
  std::vector<std::string> command = options.words;
  command[0] = "/etc/init.d/" + command[0];
  return run_inside(options, {"root", false, command});
}

int cmd_chkconfig(const VerbOptions& options) {
  std::vector<std::string> command = {"chkconfig"};
  command.insert(command.end(), options.words.begin(), options.words.end());
  return run_inside(options, {"root", false, command});
}

}  // namespace vs::isolation
