// Where restores, comparisons and checks read from: an archive set, or one self-contained archive.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "backup/archive/archive_set.h"
#include "backup/archive/state_time.h"

namespace vs::backup {

// NAME[@TIME][:PATH]
struct Selection {
  std::string guest;
  std::optional<StateTime> time;
  std::string path;                              // without slashes at either end
  std::optional<std::string> as = std::nullopt;  // the name that it is restored under, if it is another
  bool added = false;  // by with_host_trees(): the paths that are asked for are those of the vserver's tree
  StampLimit limit() const { return time ? time->limit() : kNewest; }
  const std::string& name() const { return as ? *as : guest; }
};

// The selection of one of these guests, or of what the host has for one. `path` is what they are in, for
// messages. Throws Error(Exit::usage): unknown guest, malformed.
Selection parse_selection(const std::string& text, const std::vector<std::string>& guests,
                          const std::string& path);

class StoredBackups {
 public:
  // A directory is a set, a file a single archive. Throws Error(Exit::usage) for what is neither.
  explicit StoredBackups(const std::string& path);

  std::vector<std::string> guests() const;
  Selection parse(const std::string& text) const { return parse_selection(text, guests(), path_); }
  // The newest state within the limit, and only its own stamp, which is cheap. Also of what the host has for
  // a guest (host_tree.h), which guests() does not name, and parse() knows.
  Expected<GuestState> state(const std::string& guest, const StampLimit& limit);
  Expected<std::string> stamp(const std::string& guest, const StampLimit& limit) const;
  const std::map<uint64_t, Entry>& pool();
  // The archive that holds an entry's bytes.
  Expected<std::shared_ptr<FramedFile>> archive_of(const GuestState& state, const Entry& entry);
  Expected<std::shared_ptr<FramedFile>> pool_archive(const Entry& member);
  ArchiveSet* set() const { return set_.get(); }  // nullptr for a single archive
  // Of a single archive its catalog and file; nullptr for a set.
  std::pair<const Catalog*, std::shared_ptr<FramedFile>> single() const;
  std::vector<std::string> problems() const;

 private:
  std::string path_;
  std::unique_ptr<ArchiveSet> set_;
  std::optional<Catalog> single_;
  std::optional<std::map<uint64_t, Entry>> pool_;
  std::map<std::string, Expected<std::shared_ptr<FramedFile>>> open_;
};

// To whole guests that are selected, what the host had for them then, as far as it is stored.
std::vector<Selection> with_host_trees(StoredBackups& backups, std::vector<Selection> selections);

// What a name is a name of. ENODATA: it is lost, or is another file now.
Expected<Entry> member_of(const Entry& name, const std::map<uint64_t, Entry>& pool);

// The entry at `path` of a state ("" the root), its attributes complete (those of a directory come from its
// own record, those of a shared object from the pool). ENOENT: there is none. ENODATA: it is a name of a pool
// member that is lost, or is another file now.
Expected<Entry> find_entry(const GuestState& state, const std::map<uint64_t, Entry>& pool,
                           const std::string& path);

}  // namespace vs::backup
