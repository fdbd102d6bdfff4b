#include "backup/restore/live_masters.h"

#include <sys/stat.h>

#include <iterator>
#include <utility>

#include "backup/source/inode_details.h"
#include "backup/source_reader.h"
#include "core/escape.h"
#include "core/store/inode_flags.h"

namespace vs::backup {
namespace {

using Verdict = UnsealedWindow::Verdict;

bool has_bytes_of(int fd, const Entry& object, const Cancel* cancel) {
  const auto digest = digest_of(fd, object.size, "", cancel);
  return digest && *digest == object.content;
}

// Everything that the object is, compared with what the open file is.
bool is_same(int fd, const Entry& object, const Cancel& cancel) {
  const auto stat = stat_fd(fd, "");
  if (!stat || !S_ISREG(stat->mode) || stat->size != object.size || (stat->mode & 07777) != object.mode ||
      stat->uid != object.uid || stat->gid != object.gid || stat->mtime_ns != object.mtime_ns)
    return false;
  const auto xattrs = read_xattrs(fd, "");
  uint32_t flags = 0, project = 0;
  read_flags(fd, flags, project);
  // A master is sealed, whatever the file was.
  return xattrs && *xattrs == object.xattrs && ((flags ^ object.flags) & ~kSealFlags) == 0 &&
         project == object.project && has_bytes_of(fd, object, &cancel);
}

}  // namespace

LiveMasters::LiveMasters(const std::string& store, std::unique_ptr<Guard> guard, const Cancel& cancel,
                         Log& log)
    : guard_(std::move(guard)), cancel_(cancel), log_(log) {
  expect_lease_signals();
  ok_or_throw(keeper_.start());
  store_ = Store::open_existing(store);
  lock_ = std::make_unique<HostLock>(store_->lock());
  for (const auto& stored : store_->list_masters()) {
    const auto stat = store_->stat_master(stored.name);
    if (stat && S_ISREG(stat->mode) && (stat->attributes & STATX_ATTR_IMMUTABLE) != 0)
      by_size_and_time_.emplace(std::make_pair(stat->size, stat->mtime_ns), stored.name);
  }
}

Expected<bool> LiveMasters::link_to(const Entry& object, const std::function<uint64_t(int)>& link,
                                    const std::function<Result()>& unlink) {
  if (object.type != 'f') return false;
  const auto [begin, end] = by_size_and_time_.equal_range({object.size, object.mtime_ns});
  for (auto it = begin; it != end;) {
    bool retired = false;
    const auto linked = link_in_window(it->second, object, retired, link, unlink);
    it = retired ? by_size_and_time_.erase(it) : std::next(it);
    if (!linked || *linked) return linked;
  }
  return false;
}

// `retired`: it is to get no more names.
Expected<bool> LiveMasters::link_in_window(const std::string& name, const Entry& object, bool& retired,
                                           const std::function<uint64_t(int)>& link,
                                           const std::function<Result()>& unlink) {
  const auto fd = store_->open_master(name);
  if (!fd) return false;
  const std::string shown = store_->shown_master(name);
  auto file = shared_as_it_is(fd->get(), shown);
  if (!file || !is_same(fd->get(), object, cancel_)) return false;
  file->same_content = [&] { return has_bytes_of(fd->get(), object, nullptr); };
  uint64_t made = 0;
  const auto change = [&] {
    made = link(fd->get());
    return Result(Ok{});
  };
  const auto take_back = [&] {
    made = 0;
    return unlink();
  };
  // Somebody has it open for writing: then its seal is none that holds, and nothing was changed.
  const auto outcome =
      in_unsealed_window(*guard_, std::move(*file), keeper_, counts_, &log_, change, take_back);
  retired = outcome.verdict != Verdict::intact;
  if (outcome.verdict < Verdict::tainted) return made > 0;
  log_.object_failed("master " + escaped(shown) +
                     " was spoiled by a guest in the moment in which it was unsealed (" + outcome.trouble +
                     "); what is restored gets a file of its own, see vunify check and vunify recover");
  if (!outcome.changed) return outcome.changed.error();
  return false;
}

}  // namespace vs::backup
