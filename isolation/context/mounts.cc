#include "isolation/context/mounts.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cerrno>
#include <utility>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/tree/mount_table.h"
#include "core/tree/new_filesystem.h"
#include "core/tree/root_dir.h"
#include "core/unique_fd.h"

namespace vs::isolation {
namespace {

constexpr unsigned kPlain = MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV;

using Parameters = MountParameters;

Result attach(int mount, int target, const std::string& shown) {
  if (::move_mount(mount, "", target, "", MOVE_MOUNT_F_EMPTY_PATH | MOVE_MOUNT_T_EMPTY_PATH) != 0)
    return problem_from_errno("mount on", shown);
  return Ok{};
}

// A directory beneath `root`, made if it is missing. A symbolic link is refused: see the head of mounts.h.
Expected<UniqueFd> target_dir(const RootDir& root, const std::string& path) {
  const auto [above, name] = split_path(path);
  auto dir = root.open_dir(above);
  if (!dir) return dir.error();
  if (::mkdirat(dir->get(), std::string(name).c_str(), 0755) != 0 && errno != EEXIST)
    return problem_from_errno("create in the guest", "/" + escaped(path));
  auto found = root.open_dir(path);
  if (!found)
    return problem_from(found.error().code,
                        "open as a place to mount on (a symbolic link is refused) the guest's",
                        "/" + escaped(path));
  return found;
}

Result attach_new(const RootDir& root, const std::string& path, int mount) {
  auto target = target_dir(root, path);
  return target ? attach(mount, target->get(), "/" + path) : Result(target.error());
}

Result mount_new(const RootDir& root, const std::string& path, const char* type, const Parameters& parameters,
                 unsigned attributes, UniqueFd* keep) {
  auto mount = new_filesystem(type, parameters, attributes);
  if (!mount) return mount.error();
  if (auto done = attach_new(root, path, mount->get()); !done) return done;
  *keep = std::move(*mount);
  return Ok{};
}

// --- /dev --------------------------------------------------------------------------------------------------

struct Node {
  const char* name;
  unsigned major, minor;
};
constexpr Node kNodes[] = {{"null", 1, 3},   {"zero", 1, 5},    {"full", 1, 7},
                           {"random", 1, 8}, {"urandom", 1, 9}, {"tty", 5, 0}};
constexpr std::pair<const char*, const char*> kLinks[] = {
    {"fd", "/proc/self/fd"},       {"stdin", "/proc/self/fd/0"}, {"stdout", "/proc/self/fd/1"},
    {"stderr", "/proc/self/fd/2"}, {"ptmx", "pts/ptmx"},         {"console", "null"},
    {"reboot", "vserver/reboot"}};

// All of it belongs to `owner`, the host's id of the guest's root.
Result fill_dev(int dev, uint32_t owner) {
  for (const auto& node : kNodes)
    if (::mknodat(dev, node.name, S_IFCHR | 0666, ::makedev(node.major, node.minor)) != 0)
      return problem_from_errno("make the device", std::string("/dev/") + node.name);
  for (const auto& [name, to] : kLinks)
    if (::symlinkat(to, dev, name) != 0)
      return problem_from_errno("make the link", std::string("/dev/") + name);
  for (const char* dir : {"pts", "shm", "vserver"})
    if (::mkdirat(dev, dir, 0755) != 0) return problem_from_errno("create", std::string("/dev/") + dir);
  if (owner == 0) return Ok{};
  std::vector<const char*> names = {"", "pts", "shm", "vserver"};
  for (const auto& node : kNodes) names.push_back(node.name);
  for (const auto& [name, to] : kLinks) names.push_back(name);
  for (const char* name : names)
    if (::fchownat(dev, name, owner, owner, AT_SYMLINK_NOFOLLOW | AT_EMPTY_PATH) != 0)
      return problem_from_errno("give to the guest's root", std::string("/dev/") + name);
  return Ok{};
}

Result mount_in(int dir, const char* name, const char* type, const Parameters& parameters,
                unsigned attributes) {
  const UniqueFd target(::openat(dir, name, O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!target) return problem_from_errno("open", name);
  auto mount = new_filesystem(type, parameters, attributes);
  return mount ? attach(mount->get(), target.get(), name) : Result(mount.error());
}

// --- /proc -------------------------------------------------------------------------------------------------

// A guest has no capability for most of these; that must not be the only lock.
constexpr const char* kReadOnly[] = {"sys", "irq", "bus", "fs", "sysrq-trigger", "acpi", "scsi", "tty"};
constexpr const char* kHidden[] = {"kcore",      "kallsyms",    "keys",        "key-users",
                                   "kmsg",       "timer_list",  "sched_debug", "latency_stats",
                                   "interrupts", "kpagecount",  "kpageflags",  "kpagecgroup",
                                   "slabinfo",   "vmallocinfo", "modules",     "mtrr"};

Result cover(int proc, const char* name, int with, bool read_only_clone) {
  const UniqueFd target(::openat(proc, name, O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!target) return errno == ENOENT ? Result(Ok{}) : Result(problem_from_errno("open /proc/", name));
  const UniqueFd clone(::open_tree(read_only_clone ? target.get() : with, "",
                                   AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC));
  if (!clone) return problem_from_errno("clone to cover /proc/", name);
  struct mount_attr attributes {};
  attributes.attr_set = MOUNT_ATTR_RDONLY | MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC;
  if (::mount_setattr(clone.get(), "", AT_EMPTY_PATH, &attributes, sizeof attributes) != 0)
    return problem_from_errno("make read-only /proc/", name);
  return attach(clone.get(), target.get(), std::string("/proc/") + name);
}

Result restrict_proc(int proc, int dev) {
  for (const char* name : kReadOnly)
    if (auto done = cover(proc, name, -1, true); !done) return done;
  const UniqueFd null(::openat(dev, "null", O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!null) return problem_from_errno("open", "/dev/null");
  for (const char* name : kHidden)
    if (auto done = cover(proc, name, null.get(), false); !done) return done;
  return Ok{};
}

// --- the root ----------------------------------------------------------------------------------------------

Expected<UniqueFd> clone_tree(const std::string& path, bool read_only, const IdMapping& ids) {
  const RootDir root(path);
  UniqueFd clone(
      ::open_tree(root.fd(), "", AT_EMPTY_PATH | OPEN_TREE_CLONE | OPEN_TREE_CLOEXEC | AT_RECURSIVE));
  if (!clone) return problem_from_errno("clone the mount of", path);
  struct mount_attr attributes {};
  attributes.attr_set = MOUNT_ATTR_NODEV | (read_only ? MOUNT_ATTR_RDONLY : 0);
  attributes.propagation = MS_PRIVATE;
  if (::mount_setattr(clone.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) != 0)
    return problem_from_errno("forbid devices on", path);
  if (ids.first == 0) return clone;
  attributes = {};
  attributes.attr_set = MOUNT_ATTR_IDMAP;
  attributes.userns_fd = static_cast<uint64_t>(ids.mapping);
  if (::mount_setattr(clone.get(), "", AT_EMPTY_PATH | AT_RECURSIVE, &attributes, sizeof attributes) != 0)
    return problem_from(errno,
                        fmt::format("map the ids of a filesystem of type {} (or of one mounted below), which "
                                    "USERNS needs: it must allow idmapped mounts, at",
                                    filesystem_type(root.stat().mount_id)),
                        path);
  return clone;
}

// A process in a chroot (a rescue system, an image build, RootDirectory= of systemd) does not stand at the
// root of its mount namespace. pivot_root would move the chroot only, and the namespace's root would remain
// the machine's: a second chroot gets out to it, and setns(2), by which `exec` enters, leads straight there.
// Joining the namespace that one is in already goes to its root.
Result go_to_namespace_root(int own_namespace) {
  if (::setns(own_namespace, CLONE_NEWNS) != 0)
    return problem_from_errno("go to the root of", "the mount namespace");
  return Ok{};
}

// Proved, not assumed: who joins this namespace must arrive at the guest's tree.
Result prove_root(int own_namespace, const FileStat& tree) {
  if (auto done = go_to_namespace_root(own_namespace); !done) return done;
  const auto root = stat_at(AT_FDCWD, "/", "/");
  if (!root) return root.error();
  if (root->dev != tree.dev || root->ino != tree.ino || root->mount_id != tree.mount_id)
    return Problem{EXDEV,
                   "the guest's tree did not become the root of its whole mount namespace: something else is "
                   "still mounted there, so the guest would not be confined"};
  return Ok{};
}

// Onto the old root: any other place might be one that the user namespace may not look at.
Result pivot(int tree) {
  const UniqueFd top(::open("/", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!top) return problem_from_errno("open", "/");
  if (auto done = attach(tree, top.get(), "/"); !done) return done;
  if (::fchdir(tree) != 0 || ::syscall(SYS_pivot_root, ".", ".") != 0 || ::umount2(".", MNT_DETACH) != 0 ||
      ::chroot(".") != 0 || ::chdir("/") != 0)
    return problem_from_errno("make the root of", "the guest");
  return Ok{};
}

Result attach_binds(const RootDir& root, const MountPlan& plan, std::vector<UniqueFd>& clones) {
  for (size_t i = 0; i < clones.size(); ++i) {
    std::string path = plan.binds[i].guest;
    path.erase(0, path.find_first_not_of('/'));
    auto target = target_dir(root, path);
    if (!target) return target.error();
    if (auto done = attach(clones[i].get(), target->get(), plan.binds[i].guest); !done) return done;
  }
  return Ok{};
}

// /dev with its terminals, the place where the guest asks for a restart, and shared memory.
Result fill_guest_dev(const RootDir& root, int dev, int reboot) {
  if (auto done = attach_new(root, "dev", dev); !done) return done;
  if (auto done = mount_in(dev, "pts", "devpts",
                           {{"newinstance", nullptr}, {"ptmxmode", "0666"}, {"mode", "0620"}, {"gid", "5"}},
                           MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
      !done)
    return done;
  const UniqueFd asking(::openat(dev, "vserver", O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!asking) return problem_from_errno("open", "/dev/vserver");
  if (auto done = attach(reboot, asking.get(), "/dev/vserver"); !done) return done;
  return mount_in(dev, "shm", "tmpfs", {{"mode", "1777"}}, kPlain);
}

// /sys, with nothing of the firmware, and the guest's own cgroups where the kernel has version 2.
Result fill_guest_sys(const RootDir& root, int sys) {
  if (auto done = attach_new(root, "sys", sys); !done) return done;
  if (auto done = mount_in(sys, "firmware", "tmpfs", {{"size", "0"}}, kPlain | MOUNT_ATTR_RDONLY);
      !done && done.error().code != ENOENT)
    return done;
  if (auto done = mount_in(sys, "fs/cgroup", "cgroup2", {}, kPlain | MOUNT_ATTR_NOEXEC);
      !done && done.error().code != ENOENT)
    return done;
  return Ok{};
}

Result fill_guest_run(const RootDir& root) {
  UniqueFd run;
  if (auto done = mount_new(root, "run", "tmpfs", {{"mode", "755"}}, kPlain, &run); !done) return done;
  // Writable by all, so it must not fill /run; and Debian's systemd ends when it cannot mount it.
  if (::mkdirat(run.get(), "lock", 0755) != 0) return problem_from_errno("create in the guest", "/run/lock");
  return mount_in(run.get(), "lock", "tmpfs", {{"mode", "1777"}, {"size", "5m"}}, kPlain | MOUNT_ATTR_NOEXEC);
}

// The tree becomes the root of the whole mount namespace, and that is looked at.
Result move_into_tree(int own_namespace, UniqueFd tree, const std::string& shown) {
  if (auto done = pivot(tree.get()); !done) return done;
  const auto stat = stat_fd(tree.get(), shown);
  return stat ? prove_root(own_namespace, *stat) : Result(stat.error());
}

}  // namespace

Expected<GuestMounts> prepare_guest_mounts(const MountPlan& plan, const IdMapping& ids, bool own_network) {
  GuestMounts mounts;
  for (const auto& bind : plan.binds) {
    auto clone = clone_tree(bind.host, bind.read_only, ids);
    if (!clone) return clone.error();
    mounts.binds.push_back(std::move(*clone));
  }
  auto reboot = clone_tree(plan.reboot, true, {});
  if (!reboot) return reboot.error();
  auto tree = clone_tree(plan.root, false, ids);
  if (!tree) return tree.error();
  auto dev = new_filesystem("tmpfs", {{"mode", "755"}, {"size", "1m"}, {"nr_inodes", "4096"}},
                            MOUNT_ATTR_NOSUID | MOUNT_ATTR_NOEXEC);
  if (!dev) return dev.error();
  const mode_t before = ::umask(0);
  const auto filled = fill_dev(dev->get(), ids.first);
  ::umask(before);
  if (!filled) return filled.error();
  if (!own_network) {
    auto sys = new_filesystem("sysfs", {}, kPlain | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY);
    if (!sys) return sys.error();
    mounts.sys = std::move(*sys);
  }
  mounts.reboot = std::move(*reboot);
  mounts.tree = std::move(*tree);
  mounts.dev = std::move(*dev);
  return mounts;
}

Result enter_guest_root(const MountPlan& plan, GuestMounts mounts) {
  ::umask(0);
  const UniqueFd own(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!own) return problem_from_errno("open", "/proc/self/ns/mnt");
  if (auto done = go_to_namespace_root(own.get()); !done) return done;
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
    return problem_from_errno("make private", "the mounts of the host");
  // Of the guest's namespaces, and before the host's are out of sight: a user namespace may have new ones
  // only as long as it sees old ones.
  auto proc = new_filesystem("proc", {}, kPlain | MOUNT_ATTR_NOEXEC);
  if (!proc) return proc.error();
  if (!mounts.sys) {
    auto sys = new_filesystem("sysfs", {}, kPlain | MOUNT_ATTR_NOEXEC | MOUNT_ATTR_RDONLY);
    if (!sys) return sys.error();
    mounts.sys = std::move(*sys);
  }
  if (auto done = move_into_tree(own.get(), std::move(mounts.tree), plan.root); !done) return done;

  const RootDir root("/");
  if (auto done = fill_guest_dev(root, mounts.dev.get(), mounts.reboot.get()); !done) return done;
  if (auto done = attach_new(root, "proc", proc->get()); !done) return done;
  if (auto done = restrict_proc(proc->get(), mounts.dev.get()); !done) return done;
  if (auto done = fill_guest_sys(root, mounts.sys.get()); !done) return done;
  if (auto done = fill_guest_run(root); !done) return done;
  if (auto done = attach_binds(root, plan, mounts.binds); !done) return done;
  ::umask(022);
  return Ok{};
}

Result fresh_proc() {
  const UniqueFd own(::open("/proc/self/ns/mnt", O_RDONLY | O_CLOEXEC));
  if (!own) return problem_from_errno("open", "/proc/self/ns/mnt");
  const UniqueFd here(::open(".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  const auto root = stat_at(AT_FDCWD, "/", "/");
  if (!root) return root.error();
  if (auto done = prove_root(own.get(), *root); !done && done.error().code == EXDEV)
    return Problem{
        EXDEV,
        "this was called in a chroot. Commands enter a context at the root of its mount namespace, "
        "which lies outside of the chroot; call it there"};
  else if (!done)
    return done;
  if (here && ::fchdir(here.get()) != 0) return problem_from_errno("go back to", "the working directory");
  if (::mount(nullptr, "/", nullptr, MS_REC | MS_SLAVE, nullptr) != 0)
    return problem_from_errno("separate", "the mounts of the host");
  if (::mount("proc", "/proc", "proc", MS_NOSUID | MS_NODEV | MS_NOEXEC, nullptr) != 0)
    return problem_from_errno("mount", "/proc");
  return Ok{};
}

Result hide_register(const std::string& run) {
  const auto host = read_whole(run + "/ctx/.lock", 64);
  if (!host) return Ok{};  // a context of an ordinary user, before any of root's
  auto empty = new_filesystem("tmpfs", {{"mode", "755"}, {"size", "64k"}},
                              MOUNT_ATTR_NOSUID | MOUNT_ATTR_NODEV | MOUNT_ATTR_NOEXEC);
  if (!empty) return empty.error();
  if (::mkdirat(empty->get(), "ctx", 0755) != 0) return problem_from_errno("create", run + "/ctx");
  const UniqueFd lock(::openat(empty->get(), "ctx/.lock", O_WRONLY | O_CREAT | O_CLOEXEC, 0600));
  if (!lock) return problem_from_errno("create", run + "/ctx/.lock");
  if (auto done = write_all(lock.get(), *host, run + "/ctx/.lock"); !done) return done;
  const UniqueFd target(::open(run.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  return target ? attach(empty->get(), target.get(), run) : Result(problem_from_errno("open", run));
}

}  // namespace vs::isolation
