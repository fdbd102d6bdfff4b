// The host-only directory of one pool where masters live. Layout (store.md):
//   <store>/id            16 random bytes in hex: which store this is
//   <store>/lock          held by the run that writes
//   <store>/masters/ab/R  masters; "ab" + R begins with the SHA-256 of the content
//   <store>/staging/      names on their way into or out of a guest; empty between runs
//   <store>/lost/         what recovery could not place, never deleted by us
// The directory is root's, 0700, on the pool's own mount and in no guest's tree, so no guest can see or reach
// it.
#pragma once

#include <memory>
#include <span>
#include <string>
#include <vector>

#include "core/durable/host_lock.h"
#include "core/store/file_class.h"
#include "core/store/pool.h"
#include "core/tree/inventory.h"

namespace vs {

struct StoredName {
  std::string name;  // "ab/<rest>"
  uint64_t ino = 0;
};

// What a master of this content and class is called, up to its serial: "ab/<rest>-<class>-".
std::string name_without_serial(const std::string& sha256, const FileClass& file_class);

class Store {
 public:
  // Where the store of this pool is or will be.
  static std::string default_path(const Pool& pool);
  // Opens an existing store, or with `create` makes one. nullptr when it does not exist and create is false.
  // Throws Error(Exit::usage) for a place on another filesystem, in a guest's tree, or not root's alone.
  // `parent`, when valid, is the directory that holds it, in the view that the guests are seen through.
  static std::unique_ptr<Store> open(const std::string& path, const Pool& pool, std::span<const Guest> guests,
                                     bool create, UniqueFd parent = UniqueFd());

  // An existing one, for who knows nothing of pool and guests: it was looked at when it was made. Throws
  // Error(Exit::usage) for what is no store.
  static std::unique_ptr<Store> open_existing(const std::string& path);

  const std::string& path() const { return path_; }
  const std::string& id() const { return id_; }
  int top_fd() const { return top_.get(); }
  int staging_fd() const { return staging_.get(); }
  int lost_fd() const { return lost_.get(); }

  std::string shown_master(const std::string& name) const {
    return path_ + "/masters/" + name;
  }                                              // for messages
  std::vector<StoredName> list_masters() const;  // sorted by name
  std::vector<StoredName> list_staging() const;
  Expected<UniqueFd> open_master(const std::string& name) const;  // for reading
  Expected<FileStat> stat_master(const std::string& name) const;
  // Gives a nameless master its first name, the first free one of those its content and class allow.
  Expected<std::string> name_master(int fd, const std::string& sha256, const FileClass& file_class) const;
  Result remove_master(const std::string& name) const;
  // Everything written to the pool is on disk when this returns.
  Result sync() const;
  HostLock lock() const { return HostLock(top_.get(), "lock", path_ + "/lock"); }
  bool is_locked() const { return HostLock::is_held(top_.get(), "lock"); }

 private:
  void open_parts(bool create);
  std::string path_, id_;
  UniqueFd top_, masters_, staging_, lost_;
};

// A descriptor to try a guard on before the store exists: the store, or the directory it would be made in.
UniqueFd scratch_dir(const std::string& store_path);

}  // namespace vs
