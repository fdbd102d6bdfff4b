#include "isolation/trees/project_quota.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <linux/dqblk_xfs.h>
#include <linux/fs.h>
#include <linux/quota.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

#include "core/store/project.h"
#include "core/tree/root_dir.h"
#include "core/tree/walker.h"

namespace vs::isolation {
namespace {

constexpr uint64_t kQuotaBlock = 1024;  // what if_dqblk counts limits in

int quota(int fd, unsigned command, uint32_t project, void* what) {
  return ::syscall(SYS_quotactl_fd, fd, static_cast<unsigned>(QCMD(command, PRJQUOTA)), project, what) == 0
             ? 0
             : errno;
}

Result need_quota(int fd, const std::string& tree) {
  fs_quota_stat state{};
  state.qs_version = FS_QSTAT_VERSION;
  const int failed = quota(fd, Q_XGETQSTAT, 0, &state);
  if (failed == 0 && (state.qs_flags & FS_QUOTA_PDQ_ENFD) != 0) return Ok{};
  return Problem{failed == 0 ? ENOTSUP : failed,
                 fmt::format("DISK needs project quota, which the filesystem of {} has not in force: ext4 "
                             "made with -O quota,project or xfs, mounted with prjquota",
                             tree)};
}

// Gives one open file or directory the project, unless it is sealed and shared.
Result assign(int fd, uint32_t project, const std::string& shown) {
  fsxattr attributes{};
  struct stat found {};
  if (::fstat(fd, &found) != 0 || ::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) != 0)
    return problem_from_errno("ask for the project of", shown);
  const bool dir = S_ISDIR(found.st_mode),
             sealed = (attributes.fsx_xflags & (FS_XFLAG_IMMUTABLE | FS_XFLAG_APPEND)) != 0;
  if (!dir && sealed) return Ok{};
  const uint32_t flags = dir && project != 0
                             ? attributes.fsx_xflags | FS_XFLAG_PROJINHERIT
                             : attributes.fsx_xflags & ~static_cast<uint32_t>(FS_XFLAG_PROJINHERIT);
  if (attributes.fsx_projid == project && attributes.fsx_xflags == flags) return Ok{};
  attributes.fsx_projid = project;
  attributes.fsx_xflags = flags;
  if (::ioctl(fd, FS_IOC_FSSETXATTR, &attributes) != 0)
    return problem_from_errno("set the project of", shown);
  return Ok{};
}

// All regular files, others take no space of their own, and all directories but the top.
class Assignment final : public TreeVisitor {
 public:
  explicit Assignment(uint32_t project) : project_(project) {}

  Expected<bool> visit(const WalkEntry& entry) override {
    if (entry.foreign) return false;
    if (entry.type != DT_REG) return entry.type == DT_DIR;
    const auto file = entry.dir.open_regular(entry.name);
    if (!file) return file.error();
    if (auto done = assign(file->get(), project_, entry.dir.host_path(entry.name)); !done)
      return done.error();
    return false;
  }
  Result leave(const WalkDirectory& dir) override {
    return dir.above == nullptr ? Result(Ok{}) : assign(dir.dir.fd(), project_, dir.dir.path());
  }
  bool failed(const Problem&) override { return false; }

 private:
  uint32_t project_;
};

Result set_limit(int fd, uint32_t project, uint64_t bytes, const std::string& tree) {
  if_dqblk limit{};
  limit.dqb_bhardlimit = (bytes + kQuotaBlock - 1) / kQuotaBlock;
  limit.dqb_valid = QIF_BLIMITS;
  const int failed = quota(fd, Q_SETQUOTA, project, &limit);
  return failed == 0 ? Result(Ok{}) : Result(problem_from(failed, "limit the disk space of", tree));
}

}  // namespace

uint32_t project_of_vserver(const std::string& name) {
  uint32_t hash = 0x811c9dc5;  // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x01000193;
  return hash | 0x10000000;  // small numbers are what administrators choose
}

Result limit_disk(const std::string& tree, const std::string& name, uint64_t bytes) {
  const RootDir root(tree);
  auto top = root.open("", O_RDONLY | O_DIRECTORY);
  if (!top) return top.error();
  const uint32_t own = project_of_vserver(name), has = inherited_project(top->get());
  if (bytes == 0 && has != own) return Ok{};
  if (bytes != 0)
    if (auto done = need_quota(top->get(), tree); !done) return done;
  if (auto done = set_limit(top->get(), own, bytes, tree); !done && bytes != 0) return done;
  const uint32_t wanted = bytes == 0 ? 0 : own;
  if (has == wanted) return Ok{};
  Assignment assignment(wanted);
  if (auto done = walk_tree(root, assignment, {.stat_all = true, .leaves = true}); !done) return done;
  return assign(top->get(), wanted, tree);
}

std::optional<DiskUse> disk_use(const std::string& tree, const std::string& name) {
  const UniqueFd top(::open(tree.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if_dqblk found{};
  if (!top || inherited_project(top.get()) != project_of_vserver(name) ||
      quota(top.get(), Q_GETQUOTA, project_of_vserver(name), &found) != 0)
    return std::nullopt;
  return DiskUse{found.dqb_curspace, found.dqb_bhardlimit * kQuotaBlock};
}

}  // namespace vs::isolation
