// A mounted MountTree: what the kernel asks through /dev/fuse is answered from it.
//
// The kernel checks permissions (default_permissions, with ACLs) by what the tree says of owners and modes;
// it refuses writes, devices, set-id bits and execution (ro, nodev, nosuid, noexec). Every trouble of the
// tree is EIO for the one who asked and a line in the log; no exception reaches libfuse.
#pragma once

#include <memory>
#include <string>

#include "backup/mount/mount_tree.h"
#include "core/log.h"

namespace vs::backup {

struct MountPlace {
  std::string source;        // as mount tables show it
  std::string directory;     // absolute
  bool allow_other = false;  // not only whoever mounts it may look into it
};

class FuseSession {
 public:
  // Mounts it. Throws Error. One a process at a time. Requests wait until serve().
  FuseSession(MountTree& tree, const MountPlace& place, Log& log);
  ~FuseSession();  // unmounts it, also while files are open
  FuseSession(const FuseSession&) = delete;

  // The process that goes on is another, of a session of its own, and the caller's ends with exit code 0. Not
  // where there are threads.
  void to_background();
  // Until it is unmounted, or SIGINT, SIGTERM or SIGHUP comes.
  void serve(unsigned threads);

 private:
  struct Impl;
  std::unique_ptr<Impl> impl_;
};

}  // namespace vs::backup
