// Hostile guests: processes chrooted into a guest's tree that change it without rest while vunify works on
// it, and remember in their own memory what each name must hold.
//
// Each actor owns one directory of its guest: nobody else changes anything below it. So an actor knows
// exactly what every name in it is, at every moment, whatever it did before: its model is a little filesystem
// of names and inodes that follows each system call that succeeded. It checks by reading while it acts, and
// hands the model over at the end. An operation that was refused (the file was sealed, or leased) is not in
// the model.
#pragma once

#include <sys/types.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "tests/support/tree_snapshot.h"

namespace vs::test {

enum class Role {
  writer,        // pwrite in place, truncate, append, O_TRUNC, rewriting at the same size with the old mtime
  mapper,        // stores through shared mappings, some made long before, their descriptor closed
  holder,        // holds descriptors open for writing and writes later
  renamer,       // rename, exchange, link, unlink, replace as a package manager does
  shapeshifter,  // files become symlinks out of the tree, directories, fifos, devices, sockets, and files
                 // again
  parent_swapper,  // directories become symlinks out of the tree, or other directories, and back
  metadata,        // chmod, chown, forged mtimes, extended attributes
  forger,          // dpkg's database: garbage, forged sums, lists that name what is not there or not theirs
  namer,           // names with newlines, escape codes, invalid UTF-8, of 255 bytes
  reader,          // changes nothing; reads everything again and again
};
const char* role_name(Role role);

struct ActorOptions {
  std::string guest;  // name, in every byte it writes
  std::string root;   // host path of its tree
  std::string dir;    // the directory it owns, relative to the root; "" for all of it
  Role role = Role::writer;
  uint32_t seed = 1;
  std::vector<std::string>
      lure_files;  // where its symlinks point: files and directories that are not its own
  std::vector<std::string> lure_dirs;
  unsigned pause_us = 300;  // the longest rest between two operations: two cores must serve all actors
};

// The permissions and times that one file may have.
struct FileClass {
  uint32_t mode = 0, uid = 0, gid = 0;
  int64_t mtime_ns = TreeEntry::kAnyTime;
  std::map<std::string, std::string> xattrs;
  bool operator==(const FileClass&) const = default;
};

// What one actor says at its end.
struct ActorReport {
  ActorOptions options;
  TreeSnapshot tree;  // below its directory, by guest-relative path
  // Files whose class was changed while they were a master in the unsealed window: vunify puts the class
  // back, and the guest cannot see when. What else, beside the entry of `tree`, the class may be.
  std::map<std::string, std::vector<FileClass>> also;
  uint64_t done = 0;     // operations that succeeded
  uint64_t refused = 0;  // EPERM, EAGAIN, EINTR
  // What no guest must ever see: other bytes than it wrote, a name that vanished, an errno that means nothing
  // to it.
  std::vector<std::string> surprises;
};

class Chaos {
 public:
  ~Chaos();  // kills who still runs
  void add(ActorOptions options) { pending_.push_back(std::move(options)); }
  void start();
  // Lets each actor finish its operation and report. Throws when one died.
  std::vector<ActorReport> stop();

 private:
  struct Running {
    pid_t pid;
    int report_fd;
    ActorOptions options;
  };
  std::vector<ActorOptions> pending_;
  std::vector<Running> running_;
};

// `before`, taken when all was quiet, with what the actors in this guest say instead of what stood in their
// directories.
TreeSnapshot expected_tree(const TreeSnapshot& before, const std::string& guest,
                           const std::vector<ActorReport>& reports);
// The class of files that may have another one (see ActorReport::also) is set to what `actual` has, if
// allowed. Returns how many.
uint64_t settle_classes(TreeSnapshot& expected, const TreeSnapshot& actual, const std::string& guest,
                        const std::vector<ActorReport>& reports);

}  // namespace vs::test
