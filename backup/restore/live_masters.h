// Masters of vunify's store that a restored guest may be linked to, so that it costs no more disk than
// before.
//
// A master is taken when size, class, attributes and digest of its bytes, read now, are what the archive has.
// It is sealed, so to give it names it is unsealed for that moment, as vunify does: under a read lease, which
// a writer would have to break; afterwards it is sealed again and, if the lease was broken or its class is
// another, compared once more, and the names are taken back if it is not what it was. The lock of the store
// is held, so no run of vunify meets us. If we are killed in that moment, the master stays unsealed until the
// next run of vunify or `vunify recover`, which seal every master first.
#pragma once

#include <functional>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "backup/archive/catalog.h"
#include "core/durable/host_lock.h"
#include "core/unique_fd.h"

namespace vs::backup {

class LiveMasters {
 public:
  // Throws Error(Exit::usage) for what is no store.
  explicit LiveMasters(const std::string& store);
  // Calls `link` with a descriptor of the master, unsealed, if there is one for this object. The answer of
  // `link` is how many names it made, `unlink` takes them back. Returns the number made, 0 if there is no
  // such master.
  uint64_t link_to(const Entry& object, const std::function<uint64_t(int fd)>& link,
                   const std::function<void()>& unlink);

 private:
  struct Place {
    std::string name;
    bool operator<(const Place& other) const { return name < other.name; }
  };
  UniqueFd store_, masters_;
  std::string path_;
  std::unique_ptr<HostLock> lock_;
  std::multimap<std::pair<uint64_t, int64_t>, std::string> by_size_and_time_;
};

}  // namespace vs::backup
