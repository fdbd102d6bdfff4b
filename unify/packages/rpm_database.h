// The files of an rpm database in a guest's tree, what they hash to, and a private copy of them.
//
// librpm and sqlite open what they read for writing under some circumstances (a missing -shm file; sqlite.cc
// drops O_RDONLY where it cannot open otherwise), so they never see the guest's files: only a copy, in a
// directory of the host that nobody else can enter.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/tree/root_dir.h"
#include "unify/packages/database_file.h"
#include "unify/packages/trouble_log.h"

namespace vs::unify {

enum class RpmBackend : uint8_t { sqlite, ndb, bdb };
std::string_view backend_name(RpmBackend backend);  // as rpm calls them: "sqlite", "ndb", "bdb_ro"

struct RpmDatabaseFile {
  std::string name;
  DatabaseFile file;
};

struct RpmDatabase {
  RpmBackend backend = RpmBackend::sqlite;
  std::string path;    // of its main file, guest-relative
  unsigned place = 0;  // number of the place it was found in; part of its name in the cache
  std::vector<RpmDatabaseFile> files;
};

// Looks in var/lib/rpm and usr/lib/sysimage/rpm; one that is the other (a symlink) is there once.
std::vector<RpmDatabase> find_rpm_databases(const RootDir& root, uint64_t max_bytes, TroubleLog& log);

// XXH3-128 over all bytes of the files and over what reads them.
struct DatabaseKey {
  uint64_t low = 0;
  uint64_t high = 0;
  bool operator==(const DatabaseKey&) const = default;
};

Expected<DatabaseKey> hash_database(const RpmDatabase& database, const std::string& salt, uint64_t max_bytes);

// Removes private copies that killed processes left in `parent`: directories of the name, of the user running
// this, whose maker holds no lock on them any more and that are older than this (seconds): one just made is
// not locked yet. Returns how many.
size_t sweep_private_copies(const std::string& parent, int64_t least_age = 60);

// A directory below `parent` with the copied files, gone when this goes.
class PrivateCopy {
 public:
  PrivateCopy(PrivateCopy&& other) noexcept
      : outer_(std::exchange(other.outer_, {})), lock_(std::move(other.lock_)), key_(other.key_) {}
  PrivateCopy& operator=(PrivateCopy&&) = delete;
  ~PrivateCopy();

  // A guest at work writes to its database: the key is of the bytes that were copied, whatever was hashed
  // before.
  static Expected<PrivateCopy> make(const RpmDatabase& database, const std::string& salt, uint64_t max_bytes,
                                    const std::string& parent);
  std::string directory() const { return outer_ + "/db"; }
  const DatabaseKey& key() const { return key_; }

 private:
  PrivateCopy() = default;

  // Mode 0700. The files lie one level below, in a directory that nobody may enter who does not start there.
  std::string outer_;
  UniqueFd lock_;  // of outer_: held as long as we live
  DatabaseKey key_;
};

}  // namespace vs::unify
