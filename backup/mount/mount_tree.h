// What a mount shows: GUEST/STAMP/tree, and GUEST/latest, a link to the newest. It knows nothing of FUSE.
//
// Beside GUEST there is .host.GUEST (archive/host_tree.h), which is found by its name and not listed. It has
// the same STAMPs; where nothing of the host is stored, an empty directory.
//
// A state is loaded when something of it is first asked for, and a few are kept. One that cannot be restored,
// because an archive of its chain is lost or is another one, has its name, and all else of it is EIO.
//
// A Problem's code is the errno to answer. Its message is for the log; "" where there is nothing to tell, as
// of a name that is not there. Thread safe.
#pragma once

#include <sys/stat.h>

#include <memory>
#include <string>
#include <vector>

#include "backup/mount/bounded_cache.h"
#include "backup/mount/node_numbers.h"
#include "backup/mount/state_index.h"
#include "backup/mount/stored_file.h"
#include "backup/mount/stored_now.h"

namespace vs::backup {

struct Node {
  struct ::stat attributes {};  // st_ino is its number
  bool fixed = false;           // it stays what it is, under its name
};

struct Listed {
  std::string name;
  uint64_t number = 0;
  mode_t type = 0;  // S_IFDIR ...
};
using Listing = std::vector<Listed>;  // with "." and ".."

class MountTree {
 public:
  explicit MountTree(const std::string& path);  // as StoredNow

  StoredNow& stored() { return stored_; }
  Expected<Node> node(uint64_t number);
  Expected<Node> lookup(uint64_t directory, const std::string& name);
  Expected<std::shared_ptr<const Listing>> list(uint64_t directory);
  Expected<std::string> target(uint64_t number);  // of a symlink
  Expected<std::vector<Xattr>> xattrs(uint64_t number);
  // A file, which must not outlive this.
  Expected<std::shared_ptr<StoredFile>> open(uint64_t number);

 private:
  using Entries = std::shared_ptr<const std::vector<Entry>>;
  using Meaning = NodeNumbers::Meaning;
  // An object within a state: itself or its first name is entries[place] of the directory.
  struct Inside {
    std::shared_ptr<const StateIndex> index;
    const StateIndex::Directory* directory = nullptr;
    Entries entries;
    size_t place = 0;
    uint64_t base = 0;
  };

  Expected<Node> node_above(const Meaning& meaning);  // root, guest, latest
  Expected<Node> lookup_above(const Meaning& meaning, const std::string& name);
  Expected<Listing> list_above(const Meaning& meaning);
  Listing list_inside(const Inside& inside);
  Expected<std::shared_ptr<const StateIndex>> load(const Meaning& meaning);
  Expected<Entries> entries(const StateIndex& index, uint64_t base, const StateIndex::Directory& directory);
  Expected<Inside> inside(uint64_t number);
  Expected<Inside> child(const Inside& parent, const std::string& name);
  Expected<Entry> entry(const Inside& inside);  // all of it
  Expected<Node> node(const Inside& inside);
  static std::string shown_path(const Inside& inside);

  const timespec mounted_;
  StoredNow stored_;
  NodeNumbers numbers_;
  BoundedCache<uint64_t, std::shared_ptr<const StateIndex>> states_;
  BoundedCache<uint64_t, Entries> directories_;  // by number; the weight is how many entries
  FrameCache frames_;
};

}  // namespace vs::backup
