// Project ids, by which ext4 and xfs count space for quotas (chattr -p), by descriptor.
//
// A directory can hand its project down. Then the filesystem refuses (EXDEV) to link or rename into it what
// is of another project.
#pragma once

#include <cstdint>

#include "core/error.h"

namespace vs {

// 0, everybody's, also where there are no projects. `fd` open for reading.
uint32_t project_of(int fd);
// Of a directory: what is made in it gets this. 0: it hands nothing down.
uint32_t inherited_project(int dir);
Result set_project(int fd, uint32_t project, const std::string& object);

}  // namespace vs
