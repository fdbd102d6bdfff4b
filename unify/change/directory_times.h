// Directories keep their modification times, though names in them are exchanged.
//
// Font and icon caches, mandb and backups look at the times of directories. What is in one looks the same
// after an exchange, so its time is put back, unless somebody else changed the directory in between. Times
// cannot tell that (the clock of most filesystems stands still for milliseconds), so the kernel is asked to
// tell of each change (inotify): as many as were ours, and no more, and the time is put back. One that comes
// while it is put back makes it "now". What was not put back, because the run was killed say, has the time of
// the exchange: too new, never too old.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <utility>

#include "core/tree/root_dir.h"
#include "core/unique_fd.h"

namespace vs::unify {

// Of one batch; may be used by several threads.
class DirectoryTimes {
 public:
  class Directory;
  DirectoryTimes();
  ~DirectoryTimes();
  // Before a name in this directory (O_PATH, not owned) is changed for the first time, and whenever one is.
  // What it returns stands for the directory until put_back(); nullptr: its changes are not told, its time
  // stays.
  Directory* before(int dir);
  // We made so many events in it: an exchange makes two, a rename over a name one.
  static void changed(Directory* directory, unsigned events);
  // We changed it in a way that is not counted: its time stays.
  static void give_up(Directory* directory);
  void give_up(int dir);
  // Puts the times back, and forgets all directories.
  void put_back();

 private:
  using Key = std::pair<uint64_t, uint64_t>;  // device and inode
  Directory* find(int dir);
  void read_events();

  std::mutex mutex_;
  UniqueFd inotify_;
  std::map<Key, std::unique_ptr<Directory>> directories_;
  std::map<int, Directory*> by_watch_;
};

}  // namespace vs::unify
