// A comparison that looks at everything: what `vbackup` promises to give back of several trees.
#pragma once

#include <map>
#include <string>
#include <vector>

namespace vs::test {

struct EverythingOptions {
  bool holes = true;  // where the data is (SEEK_DATA); filesystems of other block sizes differ
  bool flags = true;  // inode flags and project id
  bool sockets = true;
  bool device_links = true;
};

// By "TREE/path": type, mode, owner, size, mtime (of directories too), symlink target, device, attributes (of
// symlinks too), flags, project id, digest of the bytes, data ranges, and the first name of the inode's group
// over all trees.
using Everything = std::map<std::string, std::string>;

// trees: name -> directory.
Everything everything_of(const std::map<std::string, std::string>& trees,
                         const EverythingOptions& options = {});
// "" when equal, else up to 12 lines.
std::string difference(const Everything& expected, const Everything& actual);

}  // namespace vs::test
