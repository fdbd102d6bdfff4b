// Whether a guest's package manager is at work: then nothing of the guest is shared.
//
// dpkg makes a hard link of each file before it replaces it, and rpm renames over it: both are refused for a
// file that is sealed in the midst of it, and a half-done upgrade is worse than a file that is not shared.
// Asked are the locks that dpkg and rpm hold while they change something (as files in the guest's tree; fcntl
// locks are seen from outside), and dpkg's journal, which has entries until all is configured. A guest that
// holds its locks for ever, or that was interrupted and never repaired, is left alone for ever, and named
// each night.
#pragma once

#include <optional>
#include <string>

#include "core/tree/root_dir.h"

namespace vs::unify {

// What is at work, for a message: "dpkg holds var/lib/dpkg/lock". Takes some ten microseconds.
std::optional<std::string> package_work(const RootDir& root);

}  // namespace vs::unify
