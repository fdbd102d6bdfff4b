#include "backup/source/inode_details.h"

#include <linux/fs.h>
#include <sys/ioctl.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/durable/record_log.h"
#include "core/escape.h"
#include "core/store/inode_flags.h"
#include "core/store/project.h"

namespace vs::backup {
namespace {

std::string proc_path(int fd) {
  return "/proc/self/fd/" + std::to_string(fd);
}

// Whether it is ours to take off. Not so: "system.nfs4_acl" and the like, which a filesystem shows on every
// file, and "security.selinux" and the like, which the host's policy puts on every file.
bool can_be_taken_off(const std::string& name) {
  return name == "system.posix_acl_access" || name == "system.posix_acl_default" ||
         name == "security.capability" || name.starts_with("btrfs.") || name.starts_with("user.") ||
         name.starts_with("trusted.");
}

// The filesystem has no flags, or no projects.
bool has_no_such(const Problem& problem) {
  return problem.code == ENOTTY || problem.code == EOPNOTSUPP || problem.code == ENOSYS;
}

bool has(const std::vector<Xattr>& xattrs, const std::string& name) {
  return std::any_of(xattrs.begin(), xattrs.end(), [&](const Xattr& one) { return one.name == name; });
}

}  // namespace

// Not kept: what the filesystem decides itself (extents, inline data, verity, encryption) or what would
// change how bytes are stored on the target.
const uint32_t kKeptFlags = FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL | FS_SYNC_FL |
                            FS_DIRSYNC_FL | FS_NOCOW_FL | FS_COMPR_FL | FS_TOPDIR_FL | FS_PROJINHERIT_FL |
                            FS_UNRM_FL | FS_SECRM_FL;
const uint32_t kLateFlags = kSealFlags | FS_SYNC_FL;

std::string encode_xattrs(std::vector<Xattr> xattrs) {
  std::sort(xattrs.begin(), xattrs.end(), [](const Xattr& a, const Xattr& b) { return a.name < b.name; });
  std::string out;
  for (const auto& [name, value] : xattrs) {
    put_string(out, name);
    put_string(out, value);
  }
  return out;
}

std::vector<Xattr> decode_xattrs(std::string_view bytes) {
  std::vector<Xattr> xattrs;
  FieldReader in(bytes);
  while (in.ok() && !in.at_end()) {
    Xattr one{std::string(in.string()), std::string(in.string())};
    if (in.ok() && !one.name.empty()) xattrs.push_back(std::move(one));
  }
  return xattrs;
}

Expected<std::string> read_xattrs(int fd, const std::string& object) {
  auto xattrs = vs::read_xattrs(fd, object);
  if (xattrs) return encode_xattrs(std::move(*xattrs));
  if (xattrs.error().code == EPERM || xattrs.error().code == EACCES) return std::string();
  return xattrs.error();
}

Result write_xattrs(int fd, std::string_view encoded, const std::string& object) {
  const std::string path = proc_path(fd);
  const std::vector<Xattr> wanted = decode_xattrs(encoded);
  const auto there = vs::read_xattrs(fd, object);
  if (!there) return there.error();
  Result result = Ok{};
  // xfs has an ACL under two names: the second is gone with the first.
  for (const auto& [name, value] : *there)
    if (can_be_taken_off(name) && !has(wanted, name) && ::removexattr(path.c_str(), name.c_str()) != 0 &&
        errno != ENODATA)
      result = problem_from_errno("remove attribute " + escaped(name) + " of", object);
  for (const auto& [name, value] : wanted)
    if (::setxattr(path.c_str(), name.c_str(), value.data(), value.size(), 0) != 0)
      result = problem_from_errno("set attribute " + escaped(name) + " of", object);
  return result;
}

void read_flags(int fd, uint32_t& flags, uint32_t& project) {
  flags = project = 0;
  long raw = 0;  // the ioctl is declared with long and writes an int
  if (::ioctl(fd, FS_IOC_GETFLAGS, &raw) == 0) flags = static_cast<uint32_t>(raw) & kKeptFlags;
  project = project_of(fd);
}

Result write_project(int fd, uint32_t project, const std::string& object) {
  auto done = set_project(fd, project, object);
  if (!done && project == 0 && (has_no_such(done.error()) || done.error().code == EINVAL)) return Ok{};
  return done;
}

Result write_flags(int fd, uint32_t flags, uint32_t which, const std::string& object) {
  flags &= which;
  const auto there = inode_flags(fd, object);
  if (!there) return flags == 0 && has_no_such(there.error()) ? Result(Ok{}) : Result(there.error());
  const auto set = [&](uint32_t chosen) {
    long wanted = (*there & ~(which & chosen)) | (flags & chosen);
    return static_cast<uint32_t>(wanted) == *there || ::ioctl(fd, FS_IOC_SETFLAGS, &wanted) == 0;
  };
  if (set(kKeptFlags)) return Ok{};
  // A filesystem may lack some; the ones that all have are tried alone.
  if (errno == EOPNOTSUPP && set(FS_IMMUTABLE_FL | FS_APPEND_FL | FS_NODUMP_FL | FS_NOATIME_FL))
    return problem_from(EOPNOTSUPP, "set some of the inode flags of", object);
  return problem_from_errno("set inode flags of", object);
}

Expected<std::string> read_target(int path_fd, const std::string& object) {
  std::string target(4097, '\0');
  const ssize_t size = ::readlinkat(path_fd, "", target.data(), target.size());
  if (size < 0) return problem_from_errno("read symlink", object);
  target.resize(static_cast<size_t>(size));
  return target;
}

void DetailsTable::put(InodeNumber inode, InodeDetails details) {
  if (inode.value / kChunk >= chunks_.size()) chunks_.resize(inode.value / kChunk + 1);
  auto& chunk = chunks_[inode.value / kChunk];
  if (!chunk) chunk = std::make_unique<std::array<Row, kChunk>>();
  Row& row = (*chunk)[inode.value % kChunk];
  row.content = details.content;
  row.flags = details.flags;
  row.inconsistent = details.inconsistent;
  if (!details.target.empty() || !details.xattrs.empty() || details.project != 0) {
    aside_.push_back({std::move(details.target), std::move(details.xattrs), details.project});
    row.aside = static_cast<uint32_t>(aside_.size() - 1);
  }
  row.known = true;
}

InodeDetails DetailsTable::get(InodeNumber inode) const {
  InodeDetails details;
  if (!known(inode)) return details;
  const Row& row = (*chunks_[inode.value / kChunk])[inode.value % kChunk];
  details.content = row.content;
  details.flags = row.flags;
  details.inconsistent = row.inconsistent;
  if (row.aside == kNoAside) return details;
  details.target = aside_[row.aside].target;
  details.xattrs = aside_[row.aside].xattrs;
  details.project = aside_[row.aside].project;
  return details;
}

}  // namespace vs::backup
