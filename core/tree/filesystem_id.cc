#include "core/tree/filesystem_id.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <sys/ioctl.h>
#include <sys/statfs.h>

#include <cstring>

#include "core/tree/root_dir.h"

namespace vs {
namespace {

// xfs makes f_fsid of the device number. Its geometry has the UUID: the first form of that call, which every
// kernel knows (XFS_IOC_FSGEOMETRY_V1 of xfs_fs.h).
struct XfsGeometry {
  uint32_t sizes[8];
  uint64_t counts[4];
  unsigned char uuid[16];
  uint32_t rest[7];
};
static_assert(sizeof(XfsGeometry) == 112);
constexpr unsigned long kXfsGeometry = _IOR('X', 100, XfsGeometry);
static_assert(XFS_SUPER_MAGIC == 0x58465342);

uint64_t xfs_id(int dir) {
  const UniqueFd fd(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  XfsGeometry geometry{};
  if (!fd || ::ioctl(fd.get(), kXfsGeometry, &geometry) != 0) return 0;
  uint64_t halves[2];
  std::memcpy(halves, geometry.uuid, sizeof halves);
  return halves[0] ^ halves[1];
}

}  // namespace

uint64_t filesystem_id(int dir) {
  struct statfs fs {};
  uint64_t id = 0;
  static_assert(sizeof fs.f_fsid == sizeof id);
  if (::fstatfs(dir, &fs) == 0) std::memcpy(&id, &fs.f_fsid, sizeof id);
  if (fs.f_type == XFS_SUPER_MAGIC)
    if (const uint64_t own = xfs_id(dir); own != 0) return own;
  if (id != 0) return id;
  const auto stat = stat_fd(dir, "");
  return stat ? stat->dev : 0;
}

}  // namespace vs
