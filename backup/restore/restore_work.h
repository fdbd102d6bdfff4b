// What the passes of a restore work on: what is to be made (RestorePlan), and where (RestoreWork).
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "backup/restore/restore_options.h"
#include "backup/restore/restore_place.h"
#include "backup/restore/stored_backups.h"
#include "core/run_context.h"
#include "core/unique_fd.h"

namespace vs::backup {

// One inode to be: what it is, and its names beneath the target.
struct PlannedObject {
  Entry entry;
  std::shared_ptr<FramedFile> archive;  // of a file with bytes to read
  std::vector<std::string> names;
  bool shared = false;
  bool made = false;  // under names[0]
};

struct PlannedDirectory {
  std::string path;
  Entry entry;
  bool way = false;  // while it is planned: it is not wanted but as the way to what is
};

struct RestorePlan {
  std::vector<PlannedDirectory>
      directories;  // sorted by path, each once: a parent stands before what is in it
  std::vector<PlannedObject> objects;
  std::string identity;  // what is restored, as of when
  RestoreCounts counts;
};

// What the selections ask for. Throws Error(Exit::usage) for a state or path that is not there; what makes no
// sense is named and left out.
RestorePlan plan_restore(StoredBackups& backups, const std::vector<Selection>& selections,
                         const RestoreOptions& options, RunContext& context);

struct RestoreWork {
  const RestoreOptions& options;
  RunContext& context;
  RestorePlace& place;
  const RootDir& root;  // the work directory: where all is made

  std::string shown(const std::string& path) const { return options.target + "/" + path; }
  void fail(const std::string& path, const Problem& problem) const;
  void check(const std::string& path, const Result& result) const {
    if (!result) fail(path, result.error());
  }
  // To be thrown: says what becomes of what is restored so far.
  Error incomplete(const std::string& why, Exit code = Exit::failed) const;
};

// The directory that a path is in. The one opened last is mostly the one wanted next. One per thread.
class ParentDirs {
 public:
  explicit ParentDirs(const RootDir& root) : root_(root) {}
  Expected<int> of(std::string_view path);

 private:
  const RootDir& root_;
  UniqueFd fd_;
  std::string path_;
};

// The project, and all inode flags but the late ones. To a file before its first byte: btrfs heeds some flags
// only then, and a project's limit holds for root only while bytes are written.
Result give_project_and_flags(int fd, const Entry& entry, const std::string& shown);
// Owner, mode, attributes and times, in an order in which none undoes another; of a directory project and
// flags too.
void give_attributes(const RestoreWork& work, int fd, const Entry& entry, const std::string& path);

// --- The passes, in files of their own

void make_directories(const RestorePlan& plan, const RestoreWork& work);
void link_to_masters(RestorePlan& plan, const RestoreWork& work);
void make_objects(RestorePlan& plan, const RestoreWork& work);
void make_links(const RestorePlan& plan, const RestoreWork& work);
void finish_directories(const RestorePlan& plan, const RestoreWork& work);
void set_flags(const RestorePlan& plan, const RestoreWork& work);
void put_in_place(const RestorePlan& plan, const std::vector<Selection>& selections, const RestoreWork& work);

}  // namespace vs::backup
