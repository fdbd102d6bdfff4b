#include "unify/change/directory_times.h"

#include <fcntl.h>
#include <sys/inotify.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cstring>
#include <string>

namespace vs::unify {
namespace {

constexpr uint32_t kNames = IN_CREATE | IN_DELETE | IN_MOVED_FROM | IN_MOVED_TO;
// Of the directory itself: IN_MODIFY is its mtime alone, as we set it. Told of what is in it as well.
constexpr uint32_t kItself = IN_ATTRIB | IN_MODIFY;
constexpr int64_t kSecond = 1'000'000'000;

// By an O_PATH descriptor, which futimens does not take.
void set_mtime(int dir, timespec mtime) {
  const timespec times[2] = {{0, UTIME_OMIT}, mtime};
  ::utimensat(dir, ".", times, 0);
}

}  // namespace

class DirectoryTimes::Directory {
 public:
  UniqueFd fd;
  int watch = -1;
  int64_t mtime_ns = 0;
  std::atomic<unsigned> expected{0};
  std::atomic<bool> given_up{false};
  unsigned seen = 0;
};

DirectoryTimes::DirectoryTimes() : inotify_(::inotify_init1(IN_CLOEXEC | IN_NONBLOCK)) {}
DirectoryTimes::~DirectoryTimes() = default;

DirectoryTimes::Directory* DirectoryTimes::find(int dir) {
  const auto stat = stat_fd(dir, "");
  const auto found = stat ? directories_.find({stat->dev, stat->ino}) : directories_.end();
  return found == directories_.end() ? nullptr : found->second.get();
}

DirectoryTimes::Directory* DirectoryTimes::before(int dir) {
  const std::lock_guard lock(mutex_);
  if (!inotify_) return nullptr;
  if (Directory* known = find(dir)) return known;
  auto directory = std::make_unique<Directory>();
  directory->fd.reset(::fcntl(dir, F_DUPFD_CLOEXEC, 3));
  const std::string path = "/proc/self/fd/" + std::to_string(dir);
  directory->watch = ::inotify_add_watch(inotify_.get(), path.c_str(), kNames | kItself | IN_ONLYDIR);
  const auto stat = stat_fd(dir, "");  // after the watch: what comes between them is told
  if (!directory->fd || directory->watch < 0 || !stat) return nullptr;
  directory->mtime_ns = stat->mtime_ns;
  auto& kept = directories_[{stat->dev, stat->ino}];
  kept = std::move(directory);
  return by_watch_[kept->watch] = kept.get();
}

void DirectoryTimes::changed(Directory* directory, unsigned events) {
  if (directory != nullptr) directory->expected += events;
}

void DirectoryTimes::give_up(Directory* directory) {
  if (directory != nullptr) directory->given_up = true;
}

void DirectoryTimes::give_up(int dir) {
  const std::lock_guard lock(mutex_);
  give_up(find(dir));
}

void DirectoryTimes::read_events() {
  alignas(inotify_event) char buffer[16 * 1024];
  ssize_t got = 0;
  while ((got = ::read(inotify_.get(), buffer, sizeof buffer)) > 0) {
    inotify_event event;
    for (char* at = buffer; at < buffer + got; at += sizeof event + event.len) {
      std::memcpy(&event, at, sizeof event);
      if ((event.mask & IN_Q_OVERFLOW) != 0)
        for (const auto& [_, directory] : directories_) directory->given_up = true;
      const auto found = by_watch_.find(event.wd);
      if (found == by_watch_.end()) continue;
      if ((event.mask & kNames) != 0 || ((event.mask & kItself) != 0 && event.len == 0))
        ++found->second->seen;
    }
  }
}

void DirectoryTimes::put_back() {
  const std::lock_guard lock(mutex_);
  constexpr timespec kNow{0, UTIME_NOW};
  read_events();
  for (const auto& [_, directory] : directories_) {
    const int64_t mtime = directory->mtime_ns;
    const int64_t nanoseconds = (mtime % kSecond + kSecond) % kSecond;
    if (directory->given_up || directory->expected == 0 || directory->seen != directory->expected) {
      directory->given_up = true;
      continue;
    }
    set_mtime(directory->fd.get(), {(mtime - nanoseconds) / kSecond, nanoseconds});
    ++directory->expected;  // that was an event as well
  }
  read_events();
  for (const auto& [_, directory] : directories_) {
    if (!directory->given_up && directory->seen != directory->expected) set_mtime(directory->fd.get(), kNow);
    ::inotify_rm_watch(inotify_.get(), directory->watch);
  }
  directories_.clear();
  by_watch_.clear();
  read_events();  // of the watches that ended
}

}  // namespace vs::unify
