#include "isolation/trees/project_quota.h"

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
#include <vector>

#include "core/store/project.h"
#include "core/tree/dir_reader.h"
#include "core/tree/root_dir.h"

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

Result assign_below(const RootDir& root, const std::string& dir, uint32_t project) {
  auto fd = root.open(dir, O_RDONLY | O_DIRECTORY);
  if (!fd) return fd.error();
  DirReader reader;
  reader.start(fd->get(), root.host_path(dir));
  std::vector<std::string> below;
  for (DirEntry entry; reader.next(entry);) {
    const std::string path = join_path(dir, entry.name);
    const auto stat = stat_at(fd->get(), entry.name.data(), root.host_path(path));
    if (!stat) return stat.error();
    if (S_ISDIR(stat->mode)) below.push_back(path);
    if (!S_ISREG(stat->mode)) continue;  // others take no space of their own
    const auto file = root.open_regular(path);
    if (!file) return file.error();
    if (auto done = assign(file->get(), project, root.host_path(path)); !done) return done;
  }
  if (reader.problem() != nullptr) return *reader.problem();
  for (const auto& path : below)
    if (auto done = assign_below(root, path, project); !done) return done;
  return dir.empty() ? Result(Ok{}) : assign(fd->get(), project, root.host_path(dir));
}

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
  if (auto done = assign_below(root, "", wanted); !done) return done;
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
