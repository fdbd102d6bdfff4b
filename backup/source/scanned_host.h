// All names and inodes of the guests of one run, in few bytes: what the passes plan, read and record by.
//
// Names refer to inodes, inodes know nothing of their names but the first. An inode has one row however many
// names in however many guests it has, so whatever is done by inode (reading, above all) is done once. 8
// bytes a name and its text once (NameTable), 88 an inode.
//
// What belongs to a tree is told by the mount, not by the device: on overlayfs each layer has a device of its
// own, and so has each subvolume of btrfs. An inode is known by device and number, both in full.
//
// The walk is that of core/tree/parallel_walk.h, which unify's scan uses too. It goes down by RootDir alone
// (openat2 beneath the guest's root, no symlink, no mount but those it was told to enter), so a tree that
// changes under it can make it miss names, not leave the tree. A directory deeper than kDeepestDirectory
// or with a path longer than kLongestDirectory (core/tree/listing.h) is a Problem, by name, and stands with
// `listed` false; so is one whose names would make the paths of its guest take too much memory. What costs
// time is the stat of each name. It is saved for sealed masters: a regular entry whose inode number is one
// that this run saw immutable and with several links is that inode. The number cannot have been given to
// another file meanwhile, because the store's own name keeps the master alive until `vunify gc`.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "backup/source/exclusion.h"
#include "backup/source/name_table.h"
#include "backup/source/numbers.h"
#include "core/run_context.h"
#include "core/tree/inventory.h"
#include "core/typed_table.h"

namespace vs::backup {

struct Inode {
  uint64_t ino = 0;
  uint64_t size = 0;
  int64_t mtime_ns = 0, ctime_ns = 0, btime_ns = 0;
  uint64_t rdev = 0;
  uint32_t mode = 0, uid = 0, gid = 0, nlink = 0;
  GuestNumber guest;       // where its first name is, in the order of the archives: guest, directory, name
  DirNumber dir = kNoDir;  // DirNode of that name; for a directory, its own DirNode
  NameNumber name;         // that name
  uint32_t names = 0;      // how many names the walk found
  uint16_t slot = 0;       // which of ScannedHost::filesystems
  bool sealed = false;     // immutable and with several links: a master of vunify, or somebody's own doing
  bool shared = false;     // has names in several guests, or is sealed
  bool operator==(const Inode&) const = default;
};

// What a stat says goes into the inode; the rest stays. For the walk, and again from the descriptor when it
// is read.
void take_stat(Inode& inode, const FileStat& stat);

struct Child {
  NameNumber name;  // of ScannedHost::texts
  InodeNumber inode;
};

struct DirNode {
  DirNumber parent = kNoDir;  // kNoDir: the guest's root
  NameNumber name;
  InodeNumber inode;
  bool listed = false;          // false: could not be read, or excluded below; its children are not known
  std::vector<Child> children;  // sorted by the bytes of their names
};

struct ScannedGuest {
  DirNumber root = kNoDir;
  const NameTable* texts = nullptr;
  std::string_view name(NameNumber number) const { return texts->at(number); }
};

class ScannedHost {
 public:
  TypedVector<GuestNumber, Guest> guests;
  TypedVector<GuestNumber, ScannedGuest> trees;
  std::unique_ptr<NameTable> texts = std::make_unique<NameTable>();
  // By Inode::slot: filesystem_id(), the same as long as the filesystem lives, unlike st_dev.
  std::vector<uint64_t> filesystems;
  std::vector<uint64_t> devices;  // by Inode::slot: st_dev, as long as the run lasts
  TypedDeque<DirNumber, DirNode> dirs;
  TypedDeque<InodeNumber, Inode> inodes;
  uint64_t names = 0, directories = 0, problems = 0;
  uint64_t subvolumes_left_out = 0;  // with WalkOptions::subvolumes false

  std::string dir_path(GuestNumber guest, DirNumber dir) const;  // relative to the guest's root
  std::string first_path(const Inode& inode) const;              // of its first name
  // Whether this is the inode that the scan saw, and not another one under the same name.
  bool is_inode(const Inode& scanned, const FileStat& stat) const;
  // What tells hard links of one guest apart in a catalog: the inode number, and on a mount inside of the
  // guest also which.
  uint64_t group_of(const Inode& inode) const;
};

struct WalkOptions {
  const Exclusion* exclusion = nullptr;  // nullptr: nothing is left out
  // The id to know its inodes by; 0 or missing: that of its root.
  TypedVector<GuestNumber, uint64_t> filesystems;
  // Paths in it of mounts that its RootDir enters. Another mount stands as an empty directory; a file mounted
  // over a file is left out.
  TypedVector<GuestNumber, std::vector<std::string>> mounts;
  // Into subvolumes of btrfs below a tree. If not they stand as empty directories, counted.
  bool subvolumes = true;
};

// Fills everything. Directories that could not be read are logged and stand with `listed` false.
void walk(ScannedHost& host, const WalkOptions& options, RunContext& context);

bool is_dir(const Inode& inode);
bool is_file(const Inode& inode);
bool is_socket(const Inode& inode);
// f d l p s c b
char type_letter(uint32_t mode);

}  // namespace vs::backup
