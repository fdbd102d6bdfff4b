#include "backup/mount/mount.h"

#include <cerrno>
#include <cstdlib>

#include "backup/mount/fuse_session.h"
#include "backup/mount/system_log.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

// The process goes to "/" when it goes to the background, and a set is opened again when it changed.
std::string absolute(const std::string& path) {
  char* found = ::realpath(path.c_str(), nullptr);
  if (found == nullptr) throw Error(problem_from_errno("open", path).message, Exit::usage);
  std::string all = found;
  ::free(found);
  return all;
}

std::string mount_directory(const std::string& path, const std::string& stored) {
  std::string directory = absolute(path);
  struct ::stat stat {};
  if (::stat(directory.c_str(), &stat) != 0 || !S_ISDIR(stat.st_mode))
    throw Error(problem_from(ENOTDIR, "mount on", path).message, Exit::usage);
  // What is stored would be looked for in the mount.
  if (directory == "/" || (stored + "/").starts_with(directory + "/"))
    throw Error("a mount on " + escaped(path) + " would hide what it shows", Exit::usage);
  return directory;
}

}  // namespace

void mount(const MountOptions& options, RunContext& context, const Mounted& mounted) {
  // 1. What is stored, and where to show it. First, because all wrong usage shows here.
  const std::string stored = absolute(options.stored);
  const std::string directory = mount_directory(options.directory, stored);
  MountTree tree(stored);
  for (const auto& problem : tree.stored().problems()) context.log.warning(problem);
  const auto guests = tree.stored().guests();
  size_t states = 0;
  for (const auto& guest : guests) states += tree.stored().stamps(guest).size();

  // 2. The mount. Whoever looks into it from here on waits for the last step.
  FuseSession session(tree, {stored, directory, options.allow_other}, context.log);

  // 3. Told before the background, which has no terminal. After it the command has ended for its caller.
  mounted(guests.size(), states);
  if (!options.foreground) {
    session.to_background();
    send_stderr_to_system_log("vbackup");
  }

  // 4. Answers, until it is unmounted.
  session.serve(context.jobs);
}

}  // namespace vs::backup
