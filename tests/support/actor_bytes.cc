// What an actor does to the bytes of its files.
#include "tests/support/actor.h"

#include <fcntl.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <csetjmp>
#include <csignal>
#include <cstring>

namespace vs::test {
namespace {

// A store into a mapping is answered with SIGBUS when the file has been sealed meanwhile: an opener that
// waited for the lease on a master gets its descriptor after the seal. That is a refusal like EPERM.
sigjmp_buf refused_store;
bool store_through(char* map, const std::string& bytes) {
  struct sigaction refuse {};
  refuse.sa_handler = [](int) { ::siglongjmp(refused_store, 1); };
  ::sigaction(SIGBUS, &refuse, nullptr);
  if (sigsetjmp(refused_store, 1) != 0) return false;
  std::memcpy(map, bytes.data(), bytes.size());
  return true;
}

}  // namespace

// ---- writing ----

void Actor::write_in_place() {
  const std::string name = any_name("f");
  const int fd = name.empty() ? -1 : open_name(name, O_RDWR);
  if (fd < 0) return;
  Inode& inode = *names_[name];
  store(fd, inode, below(inode.bytes.size() + 1), new_bytes(1 + below(5000)));
  ::close(fd);
}

// The attack on tools that trust size and mtime: other bytes, everything else as before.
void Actor::rewrite_with_old_mtime() {
  const std::string name = any_name("f");
  const int fd = name.empty() ? -1 : open_name(name, O_RDWR);
  if (fd < 0) return;
  Inode& inode = *names_[name];
  const int64_t old = inode.is.mtime_ns;
  store(fd, inode, 0, new_bytes(inode.bytes.size()));
  const timespec times[2] = {{0, UTIME_OMIT}, from_ns(old)};
  if (old != TreeEntry::kAnyTime && ::futimens(fd, times) == 0) inode.is.mtime_ns = old;
  ::close(fd);
}

void Actor::rewrite_truncating() {
  const std::string name = any_name("f");
  const int fd = name.empty() ? -1 : open_name(name, O_WRONLY | O_TRUNC);
  if (fd < 0) return;
  Inode& inode = *names_[name];
  inode.bytes.clear();
  learn_times(fd, inode);
  store(fd, inode, 0, new_bytes(1 + below(9000)));
  store(fd, inode, inode.bytes.size(), new_bytes(1 + below(9000)));
  ::close(fd);
}

void Actor::append() {
  const std::string name = any_name("f");
  if (name.empty() || names_[name]->bytes.size() > kLargestActorFile) return;
  const int fd = open_name(name, O_WRONLY | O_APPEND);
  if (fd < 0) return;
  Inode& inode = *names_[name];
  store(fd, inode, inode.bytes.size(), new_bytes(1 + below(3000)));
  ::close(fd);
}

void Actor::truncate() {
  const std::string name = any_name("f");
  const int fd = name.empty() ? -1 : open_name(name, O_RDWR);
  if (fd < 0) return;
  Inode& inode = *names_[name];
  const size_t size = below(std::min(kLargestActorFile, inode.bytes.size() + 5000));
  if (succeeded(::ftruncate(fd, static_cast<off_t>(size)), "truncate", name)) {
    inode.bytes.resize(size, '\0');
    learn_times(fd, inode);
  }
  ::close(fd);
}

void Actor::map_and_store() {
  const std::string name = any_name("f");
  if (name.empty() || names_[name]->bytes.empty()) return;
  const int fd = open_name(name, O_RDWR);
  if (fd < 0) return;
  Inode& inode = *names_[name];
  const size_t size = inode.bytes.size();
  void* map = ::mmap(nullptr, size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  if (map != MAP_FAILED) {
    const size_t at = below(size);
    const std::string bytes = new_bytes(std::min(size - at, 1 + below(5000)));
    if (store_through(static_cast<char*>(map) + at, bytes)) {
      ::msync(map, size, MS_SYNC);
      inode.bytes.replace(at, bytes.size(), bytes);
      learn_times(fd, inode);
      ++done_;
    } else {
      ++refused_;
    }
    ::munmap(map, size);
  }
  ::close(fd);
}

void Actor::hold() {
  const std::string name = any_name("f");
  if (name.empty() || held_.size() >= 3) return;
  Held held{names_[name], open_name(name, O_RDWR), -1, nullptr, 0};
  if (held.write_fd >= 0) held_.push_back(held);
}

void Actor::hold_mapping() {
  const std::string name = any_name("f");
  if (name.empty() || held_.size() >= 3 || names_[name]->bytes.empty()) return;
  const int fd = open_name(name, O_RDWR);
  if (fd < 0) return;
  Held held{names_[name], -1, ::openat(dir_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC), nullptr,
            names_[name]->bytes.size()};
  void* map = ::mmap(nullptr, held.size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
  ::close(fd);  // only the mapping tells that there is a writer
  if (map == MAP_FAILED) return static_cast<void>(::close(held.read_fd));
  held.map = static_cast<char*>(map);
  held_.push_back(held);
}

void Actor::write_held() {
  if (held_.empty()) return;
  Held& held = held_[below(held_.size())];
  Inode& inode = *held.inode;
  if (held.write_fd >= 0)
    return store(held.write_fd, inode, below(inode.bytes.size() + 1), new_bytes(1 + below(3000)));
  const size_t size = std::min(held.size, inode.bytes.size());  // past the end is SIGBUS
  if (size == 0) return;
  const size_t at = below(size);
  const std::string bytes = new_bytes(std::min(size - at, 1 + below(3000)));
  if (!store_through(held.map + at, bytes)) return static_cast<void>(++refused_);
  ::msync(held.map, held.size, MS_SYNC);
  inode.bytes.replace(at, bytes.size(), bytes);
  learn_times(held.read_fd, inode);
  ++done_;
}

void Actor::drop_held() {
  if (!held_.empty()) forget_held(below(held_.size()));
}

// Back to what the package manager installed, in the same inode.
void Actor::restore_in_place() {
  const std::string name = any_original();
  const auto it = names_.find(name);
  if (it == names_.end() || it->second->type != 'f') return restore_by_replacing();
  const Inode& original = originals_[name];
  Inode& inode = *it->second;
  // A held mapping reaches to the old size: a shorter file would be SIGBUS for its next store.
  if (inode.bytes == original.bytes && inode.is == original.is) return;
  const int fd = open_name(name, O_RDWR);
  if (fd < 0) return;
  store(fd, inode, 0, original.bytes);
  if (succeeded(::ftruncate(fd, static_cast<off_t>(original.bytes.size())), "truncate", name)) {
    inode.bytes.resize(original.bytes.size());
    learn_times(fd, inode);
  }
  const timespec times[2] = {{0, UTIME_OMIT}, from_ns(original.is.mtime_ns)};
  if (inode.bytes == original.bytes && ::futimens(fd, times) == 0) inode.is.mtime_ns = original.is.mtime_ns;
  ::close(fd);
}

// As dpkg does: a new file beside, its class, rename over.
void Actor::restore_by_replacing() {
  const std::string name = any_original();
  if (name.empty()) return;
  const auto it = names_.find(name);
  const Inode original = originals_[name];
  if (it != names_.end() && it->second->type == 'f' && it->second->bytes == original.bytes &&
      it->second->is == original.is && it->second->also.empty() && below(4) != 0)
    return;
  if (it != names_.end() && it->second->type == 'd' && !remove_name(name)) return;
  const std::string fresh = fresh_name(name);
  if (!create(fresh, original.bytes, original.is)) return;
  if (!rename_over(fresh, name)) remove_name(fresh);
}

void Actor::replace() {
  const std::string name = any_name("f");
  if (name.empty()) return;
  const std::string fresh = fresh_name(name);
  if (!create(fresh, new_bytes(1 + below(9000)), names_[name]->is)) return;
  if (!rename_over(fresh, name)) remove_name(fresh);
}

}  // namespace vs::test
