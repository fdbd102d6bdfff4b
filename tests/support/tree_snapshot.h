// Everything a guest's owner would call his: what stands under each name of a tree.
//
// Not in it: st_ino, st_nlink, ctime, atime and the immutable flag, which unification changes by design, and
// the mtime of directories, which no exchange of a name inside can leave alone.
#pragma once

#include <cstdint>
#include <limits>
#include <map>
#include <string>
#include <vector>

namespace vs::test {

struct TreeEntry {
  static constexpr int64_t kAnyTime =
      std::numeric_limits<int64_t>::min();  // expected by a model that cannot know
  char type = '?';                          // f d l p s c b
  std::string content;  // SHA-256 of a file's bytes, a symlink's target, a device's "major:minor"
  std::string head;     // the first bytes of a file: only for messages
  uint64_t size = 0;
  uint32_t mode = 0, uid = 0, gid = 0;
  int64_t mtime_ns = kAnyTime;
  std::map<std::string, std::string> xattrs;
  std::string first_name;  // for a file with several names in this tree: the smallest of them
  bool operator==(const TreeEntry&) const = default;
};

using TreeSnapshot = std::map<std::string, TreeEntry>;  // by path relative to the root; "" is the root itself

// Reads the tree by descriptors, so it may be deeper than PATH_MAX. Throws when anything cannot be read.
TreeSnapshot snapshot_of(const std::string& root);

// Fills first_name from groups of names that are one inode: `inode_of` maps each path to any number.
void note_links(TreeSnapshot& tree, const std::map<std::string, uint64_t>& inode_of);

enum class Links {
  exact,      // the same names are one inode
  any,        // not compared
  may_merge,  // equal files may have become one inode; names that were one inode still are
};

// One line a difference, names and bytes escaped; empty when the trees are the same.
std::vector<std::string> differences(const TreeSnapshot& expected, const TreeSnapshot& actual, Links links);
// The same as text for an assertion: "" when equal, at most 12 lines.
std::string difference_text(const TreeSnapshot& expected, const TreeSnapshot& actual, Links links);

}  // namespace vs::test
