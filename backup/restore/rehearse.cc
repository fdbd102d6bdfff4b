// check --rehearse: restores everything into a directory of its own and compares what is there with the
// catalog.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <map>
#include <utility>

#include "backup/restore/check.h"
#include "backup/restore/remove_below.h"
#include "backup/restore/restore.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

struct Scratch {
  std::string path;
  explicit Scratch(std::string at) : path(std::move(at)) {
    if (::mkdir(path.c_str(), 0700) != 0)
      throw Error(problem_from_errno("create directory", path).message, Exit::usage);
  }
  ~Scratch() {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd) remove_below(fd.get(), true);
    ::rmdir(path.c_str());
  }
};

// The names of what differs, for one message.
class Differences {
 public:
  void expect(bool same, const char* what) {
    if (!same) text_ += std::string(text_.empty() ? "" : ", ") + what;
  }
  const std::string& text() const { return text_; }

 private:
  std::string text_;
};

bool can_be_opened(const Entry& entry) {
  return entry.type == 'f' || entry.type == 'd';
}

void compare_stat(const FileStat& stat, const Entry& entry, Differences& found) {
  found.expect(type_letter(stat.mode) == entry.type, "type");
  found.expect(entry.type == 'l' || (stat.mode & 07777) == entry.mode, "mode");
  found.expect(stat.uid == entry.uid && stat.gid == entry.gid, "owner");
  found.expect(stat.mtime_ns == entry.mtime_ns, "mtime");
  found.expect(entry.type != 'f' || stat.size == entry.size, "size");
  found.expect((entry.type != 'c' && entry.type != 'b') || stat.rdev == entry.rdev, "device number");
}

void compare_rest(int fd, const std::string& object, const Entry& entry, Differences& found) {
  const auto xattrs = read_xattrs(fd, object);
  found.expect(xattrs && *xattrs == entry.xattrs, "attributes");
  if (entry.type == 'l') {
    const auto target = read_target(fd, object);
    found.expect(target && *target == entry.target, "target");
  }
  if (!can_be_opened(entry)) return;
  uint32_t flags = 0, project = 0;
  read_flags(fd, flags, project);
  found.expect((entry.flags & kKeptFlags) == flags, "inode flags");
  found.expect(project == entry.project, "project id");
}

class Rehearsal {
 public:
  Rehearsal(StoredBackups& backups, const std::string& place, std::vector<Finding>& findings)
      : backups_(backups), root_(place), findings_(findings) {}

  void guest(const std::string& guest) {
    const auto state = value_or_throw(backups_.state(guest, kNewest));
    std::vector<Entry> entries;
    for (const auto& [path, bytes] : state.dirs) {
      if (!decode_dir(bytes, entries)) continue;
      for (size_t i = 0; i < entries.size(); ++i)
        if (i == 0 || entries[i].type != 'd') entry(guest, join_path(path, entries[i].name), entries[i]);
    }
  }
  uint64_t entries() const { return entries_; }

 private:
  void entry(const std::string& guest, const std::string& path, Entry entry) {
    std::string group = entry.linked ? guest + "/" + std::to_string(entry.group) : "";
    if (entry.pool != 0) {
      const auto member = backups_.pool().find(entry.pool);
      if (member == backups_.pool().end()) return;  // restore said so
      group = "pool/" + std::to_string(entry.pool);
      entry = member->second;
    }
    const std::string object = escaped(guest) + ":" + escaped(path);
    ++entries_;
    const auto fd = root_.open(join_path(guest, path), can_be_opened(entry) ? O_RDONLY | O_NOATIME : O_PATH);
    if (!fd) return findings_.push_back({"missing", object, fd.error().message});
    const auto stat = stat_fd(fd->get(), object);
    if (!stat) return;
    Differences found;
    compare_stat(*stat, entry, found);
    compare_rest(fd->get(), object, entry, found);
    if (!group.empty())
      found.expect(inode_of_group_.emplace(group, stat->ino).first->second == stat->ino, "links");
    if (!found.text().empty())
      findings_.push_back({"rehearsal", object, "restored with another " + found.text()});
  }

  StoredBackups& backups_;
  const RootDir root_;
  std::vector<Finding>& findings_;
  uint64_t entries_ = 0;
  std::map<std::string, uint64_t> inode_of_group_;
};

}  // namespace

CheckCounts rehearse(StoredBackups& backups, const std::vector<std::string>& guests,
                     const std::string& scratch_path, std::vector<Finding>& findings, RunContext& context) {
  const Scratch scratch(scratch_path);
  std::vector<Selection> selections;
  for (const auto& guest : guests) selections.push_back({guest, std::nullopt, ""});
  RestoreOptions options;
  options.target = scratch_path;
  selections = with_host_trees(backups, std::move(selections));
  const RestoreCounts restored = restore(backups, selections, options, context);
  Rehearsal rehearsal(backups, scratch_path, findings);
  for (const auto& selection : selections) rehearsal.guest(selection.guest);
  CheckCounts counts;
  counts.files = restored.files;
  counts.bytes = restored.bytes;
  counts.entries = rehearsal.entries();
  return counts;
}

}  // namespace vs::backup
