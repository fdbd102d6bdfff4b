// What is stored at this moment. A set gets archives and loses some while it is mounted; here they are found,
// and opened. Thread safe.
#pragma once

#include <sys/stat.h>

#include <chrono>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backup/mount/bounded_cache.h"
#include "backup/restore/stored_backups.h"

namespace vs::backup {

class StoredNow {
 public:
  // `path` is absolute: a set, or a single archive. Throws Error(Exit::usage) for what is neither.
  explicit StoredNow(const std::string& path);

  // When the set's directory changed, at most every two seconds, it is read again. One that is gone or is
  // another set by now stays what it was here, and what is wanted of it is not there.
  std::vector<std::string> guests();
  std::vector<std::string> stamps(const std::string& guest);  // oldest first
  std::vector<std::string> problems();

  // The state with this very stamp.
  Expected<GuestState> state(const std::string& guest, const std::string& stamp);
  // All that the pool member is which this is a name of; a problem where it is lost or another one.
  Expected<Entry> member(const Entry& name);
  // The archive that holds the bytes of an entry of that state, or of a pool member.
  Expected<std::shared_ptr<FramedFile>> archive(const GuestState& state, const Entry& entry);
  Expected<std::shared_ptr<FramedFile>> pool_archive(const Entry& member);

 private:
  std::shared_ptr<StoredBackups> now();
  Expected<std::shared_ptr<FramedFile>> open(const std::string& name);

  const std::string path_;
  std::mutex mutex_;  // of all that follow, and of the pool of the backups
  std::shared_ptr<StoredBackups> backups_;
  struct ::timespec changed_ {};
  std::chrono::steady_clock::time_point looked_;
  BoundedCache<std::string, std::shared_ptr<FramedFile>> archives_;
};

}  // namespace vs::backup
