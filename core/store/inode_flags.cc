#include "core/store/inode_flags.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

namespace vs {

const uint32_t kImmutableFlag = FS_IMMUTABLE_FL;
const uint32_t kSealFlags = FS_IMMUTABLE_FL | FS_APPEND_FL;
const uint32_t kOtherFlags = FS_SECRM_FL | FS_UNRM_FL | FS_COMPR_FL | FS_SYNC_FL | FS_NODUMP_FL |
                             FS_NOATIME_FL | FS_JOURNAL_DATA_FL | FS_NOTAIL_FL | FS_DIRSYNC_FL |
                             FS_TOPDIR_FL | FS_NOCOW_FL | FS_DAX_FL | FS_PROJINHERIT_FL;

Expected<uint32_t> inode_flags(int fd, const std::string& object) {
  long flags = 0;  // the ioctl is declared with long and writes an int
  if (::ioctl(fd, FS_IOC_GETFLAGS, &flags) != 0) return problem_from_errno("read inode flags of", object);
  return static_cast<uint32_t>(flags);
}

Result change_inode_flags(int fd, uint32_t mask, bool set, const std::string& object) {
  const auto flags = inode_flags(fd, object);
  if (!flags) return flags.error();
  long wanted = set ? *flags | mask : *flags & ~mask;
  if (static_cast<uint32_t>(wanted) == *flags) return Ok{};
  if (::ioctl(fd, FS_IOC_SETFLAGS, &wanted) != 0)
    return problem_from_errno(set ? "set inode flags of" : "clear inode flags of", object);
  return Ok{};
}

}  // namespace vs
