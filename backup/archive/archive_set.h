// The directory of an archive set: which archives are there, which of them make up the state of a guest at a
// time. Layout and names: archive_set.md.
//
// An archive exists when its file exists under its name: files are written under ".vbackup-RUN-NAME.part",
// synced, and renamed; the catalog beside first. What a killed run left has such names and belongs to nobody
// once the lock of the set is free: it is swept by the next writer.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/archive/catalog.h"
#include "backup/archive/compressor.h"
#include "backup/archive/set_identity.h"
#include "backup/archive/state_time.h"
#include "core/durable/host_lock.h"

namespace vs::backup {

struct Archive {
  std::string name;  // without ".tar.zst"
  CatalogHeader header;
  uint64_t size = 0;  // bytes of the archive's file
  bool is_protected = false;
};

// What a guest looked like at one time: its directories, by path.
struct GuestState {
  std::string guest, stamp;
  std::vector<Archive> chain;               // index: Entry::archive
  Sha256 newest_digest{};                   // of the newest catalog in it
  std::map<std::string, std::string> dirs;  // encoded (catalog.h)
};

class ArchiveSet {
 public:
  // Opens a set. Throws Error(Exit::usage) for what is none. One that lost its vbackup.set is known by its
  // archives, and problems() says so.
  explicit ArchiveSet(const std::string& path);
  // Makes the directory a set, with its README.txt, unless it is one; returns whether it was none.
  static bool make(const std::string& path);

  const std::string& path() const { return path_; }
  const std::string& id() const { return identity_.id; }
  int fd() const { return dir_.get(); }
  SetNumbers next_numbers() const;
  // Durable when it returns: to be called before something appears under these numbers.
  Result use_numbers(const SetNumbers& next) const;
  HostLock lock() const { return HostLock(dir_.get(), ".lock", path_ + "/.lock"); }
  // Names that killed runs left are removed; to be called with the lock held. Returns how many.
  size_t sweep() const;
  // A lost vbackup.set is written again; to be called with the lock held. Returns whether it was lost.
  bool write_lost_identity();

  // All archives, sorted by name. What is damaged beyond its header is named in `problems` and left out.
  const std::vector<Archive>& archives() const { return archives_; }
  const std::vector<std::string>& problems() const { return problems_; }
  void reload();
  // A mark of an archive that forget leaves alone, or its end; to be called with the lock held. Durable.
  void protect(const Archive& archive, bool on);

  std::vector<std::string> guests() const;
  std::vector<Archive> history(const std::string& guest) const;  // full and inc, oldest first
  // The archives that make up the newest state within `limit`: the full first.
  // ENOENT: there is none. ENODATA: it is there and cannot be restored, because an archive of its chain is
  // lost; the message says which, and which is the newest state before it that is whole. It never falls back
  // to that by itself.
  Expected<std::vector<Archive>> chain(const std::string& guest, const StampLimit& limit) const;
  // Those that this one of them builds on and itself, each the one before by its number and stamp; state()
  // compares the digests too. ENODATA: what is lost.
  Expected<std::vector<Archive>> chain_to(const Archive& last) const;
  // Of a guest, or of what the host has for it (host_tree.h); ENOENT too where there is nothing of that.
  Expected<GuestState> state(const std::string& guest, const StampLimit& limit) const;
  Expected<Catalog> catalog(
      const Archive& archive) const;  // from beside it or, where that is lost, from within
  Expected<std::string> catalog_beside(const Archive& archive) const;  // its bytes, as they are
  Expected<std::map<uint64_t, Entry>> pool()
      const;  // of all pool archives; problems of single ones are in problems()
  Expected<std::shared_ptr<FramedFile>> open(const std::string& name) const;

 private:
  Problem not_whole(const Archive& archive, const Problem& why) const;
  std::string path_;
  mutable SetIdentity identity_;  // of vbackup.set
  std::optional<Problem> lost_;   // why that is not what vbackup.set says
  UniqueFd dir_;
  std::vector<Archive> archives_;
  mutable std::vector<std::string> problems_;
};

std::string archive_name(const CatalogHeader& header);
// That a guest has no state within the limit.
Problem no_state(const std::string& path, const std::string& guest, const StampLimit& limit);
Problem no_host_files(const std::string& tree, const std::string& stamp);
std::string stamp_of(int64_t ns);  // or of a file's time (file_time.h)
int64_t now_ns();

// Drops directories that cannot be reached from the root any more (older records of what was deleted).
void drop_unreachable(std::map<std::string, std::string>& dirs);

}  // namespace vs::backup
