#include "core/store/project.h"

#include <linux/fs.h>
#include <sys/ioctl.h>

namespace vs {

uint32_t project_of(int fd) {
  fsxattr attributes{};
  return ::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) == 0 ? attributes.fsx_projid : 0;
}

uint32_t inherited_project(int dir) {
  fsxattr attributes{};
  return ::ioctl(dir, FS_IOC_FSGETXATTR, &attributes) == 0 &&
                 (attributes.fsx_xflags & FS_XFLAG_PROJINHERIT) != 0
             ? attributes.fsx_projid
             : 0;
}

Result set_project(int fd, uint32_t project, const std::string& object) {
  fsxattr attributes{};
  if (::ioctl(fd, FS_IOC_FSGETXATTR, &attributes) != 0)
    return problem_from_errno("ask for the project of", object);
  if (attributes.fsx_projid == project) return Ok{};
  attributes.fsx_projid = project;
  if (::ioctl(fd, FS_IOC_FSSETXATTR, &attributes) != 0)
    return problem_from_errno("set the project of", object);
  return Ok{};
}

}  // namespace vs
