#include "backup/source/opened_inode.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <cerrno>

#include "core/escape.h"

namespace vs::backup {

bool is_gone(const Problem& problem) {
  return problem.code == ENOENT || problem.code == ENOTDIR || problem.code == ELOOP || problem.code == EXDEV;
}

Expected<OpenedInode> open_inode(const ScannedHost& host, const Inode& inode, GuestNumber guest,
                                 const std::string& path) {
  const RootDir& root = host.guests[guest].root;
  OpenedInode opened{{}, {}, root.host_path(path)};
  const auto became = [&](const char* what) {
    return Problem{ESTALE, fmt::format("{} became another {} while the backup ran: the next run stores it",
                                       escaped(opened.shown), what)};
  };
  auto fd = is_file(inode) ? root.open_regular(path, &opened.stat) : root.open(path, O_PATH);
  if (!fd && is_file(inode) && (fd.error().code == EINVAL || fd.error().code == ELOOP)) {
    const auto other = root.open(path, O_PATH);  // a symlink in the way is no name of anything
    return other ? became("kind of thing") : other.error();
  }
  if (!fd) return fd.error();
  opened.fd = std::move(*fd);
  if (!is_file(inode)) {
    const auto stat = stat_fd(opened.fd.get(), opened.shown);
    if (!stat) return stat.error();
    opened.stat = *stat;
  }
  if ((opened.stat.mode & S_IFMT) != (inode.mode & S_IFMT)) return became("kind of thing");
  if (inode.names > 1 && !host.is_inode(inode, opened.stat)) return became("file");
  return opened;
}

}  // namespace vs::backup
