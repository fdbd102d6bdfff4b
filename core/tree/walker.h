// One walk through a hostile tree, in one thread: for what removes, changes, copies or counts it.
//
// Order. A directory is entered, its entries are visited while it is read, in the order of the filesystem;
// then each subdirectory that the visitor asked for is walked the same way; then the directory is left. So
// what is in a directory is done when it is left, which is what removing needs.
//
// Descriptors. At most kOpenLevels directories are open, and two more for a moment, however deep the tree is.
// Upper directories are closed on the way down and opened again on the way up: through ".." of the directory
// that is left, or else by the path from the top. What is found so is compared with what was remembered
// (device, inode number, time of birth, mount); if it is not that, because a guest moved directories, it is a
// Problem (ESTALE) and nothing more is done in that level. Nothing recurses.
//
// Nothing outside the tree is opened. Each step down is made by RootDir from the directory that is held, for
// one name: no symbolic link, no other mount (openat2, or step by step without it). A step up by ".." pins
// the directory without opening it (O_PATH) and compares before anything is read or written there. A
// directory that a guest moves is in its tree still, since it can reach no other. The path from the top goes
// by RootDir.
//
// Mounts are not entered. They are visited as entries with `foreign` set. A btrfs subvolume is on the same
// mount and is entered; stat->dev tells.
//
// Meanwhile. What is gone when its turn comes is passed over in silence. A directory that became something
// else since it was visited is a Problem and is not followed.
//
// Depth and length have no limit but memory (about 150 bytes a level, and the names of directories that wait)
// unless WalkOptions::max_depth sets one; paths may be longer than PATH_MAX.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <string_view>
#include <vector>

#include "core/cancel.h"
#include "core/error.h"
#include "core/tree/dir_reader.h"
#include "core/tree/root_dir.h"

namespace vs {

// The limit of a process may be 256 descriptors, and the caller has its own.
inline constexpr size_t kOpenLevels = 64;

// All of this is valid during the call only.
struct WalkEntry {
  const RootDir& dir;              // the directory that it is in: go on from here, by the name alone
  std::string_view in;             // path of that directory from the top
  std::string_view name;           // NUL-terminated
  uint8_t type = 0;                // DT_*
  const FileStat* stat = nullptr;  // of directories; of everything with WalkOptions::stat_all
  bool foreign = false;            // a mount, or on one (known where there is a stat)
};

struct WalkDirectory {
  const RootDir& dir;     // itself, open for reading
  std::string_view path;  // from the top; "" for the top
  const RootDir* above;   // where its name is; nullptr for the top
  std::string_view name;  // NUL-terminated; "" for the top
};

class TreeVisitor {
 public:
  virtual ~TreeVisitor() = default;
  // For a directory that is not foreign: true = walk it too. A Problem goes to failed().
  virtual Expected<bool> visit(const WalkEntry& entry) = 0;
  // Before its entries are read. A Problem goes to failed(), and the directory is neither read nor left.
  virtual Result enter(const WalkDirectory&) { return Ok{}; }
  // After everything below. With WalkOptions::leaves only.
  virtual Result leave(const WalkDirectory&) { return Ok{}; }
  // Trouble with one object, of the walk or of the calls above. false ends the walk.
  virtual bool failed(const Problem& problem) = 0;
};

struct WalkOptions {
  bool stat_all = false;
  bool leaves = false;             // leave() is wanted: costs reopening upper directories of deep trees
  size_t max_depth = 0;            // 0: none. What is deeper is a Problem (too_deep) each
  const Cancel* cancel = nullptr;  // asked before each directory
};

class TreeWalk {
 public:
  // `root` and `visitor` outlive it.
  TreeWalk(const RootDir& root, TreeVisitor& visitor, WalkOptions options = {});
  // The Problem that ended it: one for which failed() said false, or ECANCELED.
  Result run();

 private:
  // What a directory is known by again.
  struct Identity {
    uint64_t dev = 0, ino = 0, mount_id = 0;
    int64_t btime_ns = 0;
    bool operator==(const Identity&) const = default;
  };
  struct Pending {
    std::string name;
    Identity identity;
  };
  // One directory on the way from the top to where the walk is.
  struct Level {
    std::string name;
    Identity identity;
    std::vector<RootDir> dir;  // one, or none while it is closed
    std::vector<Pending> pending = {};
  };

  static Identity identity_of(const FileStat& stat);
  bool foreign(const FileStat& stat) const;
  void trouble(const Problem& problem);
  void check(const Result& result);
  void open_top();
  void go_into(std::string name, UniqueFd fd);
  void list();
  void visit(const DirEntry& entry);
  void go_down();
  void go_up();
  void come_back(const Level& child);
  bool reopen(Level& level, Expected<UniqueFd> fd);

  const RootDir& root_;
  TreeVisitor& visitor_;
  const WalkOptions options_;
  DirReader reader_;
  std::vector<Level> levels_;
  std::string path_;      // of the last level
  Result result_ = Ok{};  // a Problem ends the walk
};

// The common case.
inline Result walk_tree(const RootDir& root, TreeVisitor& visitor, WalkOptions options = {}) {
  return TreeWalk(root, visitor, options).run();
}

}  // namespace vs
