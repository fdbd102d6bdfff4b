#include "tests/support/actor.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <stdexcept>

#include "core/escape.h"
#include "tests/support/digest.h"
#include "tests/support/fake_guest.h"

namespace vs::test {
namespace {

std::string whole(int fd) {
  std::string bytes;
  char buffer[65536];
  for (off_t at = 0;;) {
    const ssize_t got = ::pread(fd, buffer, sizeof buffer, at);
    if (got <= 0) return bytes;
    bytes.append(buffer, static_cast<size_t>(got));
    at += got;
  }
}

}  // namespace

// ---- what a role does ----

const std::vector<Actor::Choice>& Actor::choices(Role role) {
  // Every role restores often: only a file that is as its package made it is looked at by vunify again.
  static const std::map<Role, std::vector<Choice>> table = {
      {Role::writer,
       {{10, &Actor::verify},
        {10, &Actor::write_in_place},
        {10, &Actor::rewrite_with_old_mtime},
        {5, &Actor::rewrite_truncating},
        {5, &Actor::append},
        {5, &Actor::truncate},
        {35, &Actor::restore_in_place},
        {15, &Actor::restore_by_replacing}}},
      {Role::mapper,
       {{10, &Actor::verify},
        {20, &Actor::map_and_store},
        {5, &Actor::hold_mapping},
        {10, &Actor::write_held},
        {5, &Actor::drop_held},
        {40, &Actor::restore_in_place},
        {10, &Actor::restore_by_replacing}}},
      {Role::holder,
       {{10, &Actor::verify},
        {10, &Actor::hold},
        {20, &Actor::write_held},
        {10, &Actor::drop_held},
        {40, &Actor::restore_in_place},
        {10, &Actor::restore_by_replacing}}},
      {Role::renamer,
       {{10, &Actor::verify},
        {10, &Actor::rename_away},
        {10, &Actor::exchange},
        {10, &Actor::link},
        {5, &Actor::unlink},
        {10, &Actor::replace},
        {45, &Actor::restore_by_replacing}}},
      {Role::shapeshifter,
       {{10, &Actor::verify},
        {10, &Actor::become_symlink},
        {5, &Actor::become_dir},
        {5, &Actor::become_fifo},
        {5, &Actor::become_device},
        {3, &Actor::become_socket},
        {10, &Actor::probe_fifo},
        {50, &Actor::restore_by_replacing}}},
      {Role::parent_swapper,
       {{10, &Actor::verify}, {80, &Actor::flip_directory}, {10, &Actor::restore_by_replacing}}},
      {Role::metadata,
       {{10, &Actor::verify},
        {15, &Actor::change_mode},
        {10, &Actor::change_owner},
        {10, &Actor::forge_mtime},
        {10, &Actor::change_xattr},
        {45, &Actor::restore_by_replacing}}},
      {Role::forger,
       {{10, &Actor::verify},
        {20, &Actor::forge_record},
        {60, &Actor::restore_record},
        {3, &Actor::flip_directory}}},
      {Role::namer,
       {{10, &Actor::verify},
        {15, &Actor::rename_to_odd_name},
        {15, &Actor::make_odd_name},
        {5, &Actor::unlink},
        {5, &Actor::write_in_place},
        {50, &Actor::restore_by_replacing}}},
      {Role::reader, {{100, &Actor::verify}}},
  };
  return table.at(role);
}

void Actor::act() {
  const auto& all = choices(options_.role);
  int total = 0;
  for (const auto& choice : all) total += choice.weight;
  int left = static_cast<int>(below(static_cast<size_t>(total)));
  for (const auto& choice : all)
    if ((left -= choice.weight) < 0) return (this->*choice.op)();
}

// ---- beginning and end ----

Actor::Actor(ActorOptions options) : options_(std::move(options)), random_(options_.seed) {
  ::umask(0);
  if (::chroot(options_.root.c_str()) != 0 || ::chdir(("/" + options_.dir).c_str()) != 0)
    throw std::runtime_error("cannot chroot into " + options_.root);
  dir_ = ::open(".", O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  load(dir_, "");
  for (const auto& [name, inode] : names_)
    if (inode->type == 'f') originals_[name] = *inode;
}

void Actor::load(int dir, const std::string& path) {
  std::map<ino_t, InodePtr> linked;
  DIR* list = ::fdopendir(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  while (const dirent* entry = ::readdir(list)) {
    const std::string name = entry->d_name;
    if (name == "." || name == "..") continue;
    const std::string full = path.empty() ? name : path + "/" + name;
    struct stat stat;
    ::fstatat(dir, name.c_str(), &stat, AT_SYMLINK_NOFOLLOW);
    auto& known = linked[stat.st_ino];
    if (known == nullptr) known = std::make_shared<Inode>();
    names_[full] = known;
    known->is = {stat.st_mode & 07777, stat.st_uid, stat.st_gid, ns(stat.st_mtim), {}};
    known->type = S_ISREG(stat.st_mode) ? 'f' : S_ISDIR(stat.st_mode) ? 'd' : 'l';
    if (known->type == 'l') {
      char target[4096];
      known->bytes.assign(target,
                          static_cast<size_t>(::readlinkat(dir, name.c_str(), target, sizeof target)));
      continue;
    }
    const int fd = ::openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (known->type == 'f')
      known->bytes = whole(fd);
    else
      load(fd, full);
    ::close(fd);
  }
  ::closedir(list);
}

ActorReport Actor::report() {
  while (!held_.empty()) forget_held(0);
  ActorReport report;
  std::map<std::string, uint64_t> inode_of;
  for (const auto& [name, inode] : names_) {
    const std::string path = options_.dir.empty() ? name : options_.dir + "/" + name;
    TreeEntry entry;
    entry.type = inode->type;
    entry.mode = inode->is.mode;
    entry.uid = inode->is.uid;
    entry.gid = inode->is.gid;
    entry.mtime_ns = inode->is.mtime_ns;
    entry.xattrs = inode->is.xattrs;
    if (inode->type == 'f') {
      entry.content = sha256_hex(inode->bytes);
      entry.size = inode->bytes.size();
      entry.head = inode->bytes.substr(0, 72);
    } else {
      entry.content = inode->bytes;
    }
    report.tree[path] = std::move(entry);
    if (!inode->also.empty()) report.also[path] = inode->also;
    inode_of[path] = reinterpret_cast<uint64_t>(inode.get());
  }
  note_links(report.tree, inode_of);
  report.done = done_;
  report.refused = refused_;
  report.surprises = surprises_;
  return report;
}

// ---- small steps ----

void Actor::surprise(const std::string& what, const std::string& name) {
  if (surprises_.size() < 20)
    surprises_.push_back(fmt::format("{} {} '{}/{}': {}", options_.guest, role_name(options_.role),
                                     options_.dir, escaped(name), what));
}

bool Actor::succeeded(long result, const char* call, const std::string& name) {
  if (result >= 0) return ++done_, true;
  ++refused_;
  if (errno != EPERM && errno != EAGAIN && errno != EINTR && errno != ENOSPC)
    surprise(fmt::format("{}: {}", call, std::strerror(errno)), name);
  return false;
}

std::string Actor::any_name(const std::string& types) {
  std::vector<const std::string*> fit;
  for (const auto& [name, inode] : names_)
    if (types.find(inode->type) != std::string::npos) fit.push_back(&name);
  return fit.empty() ? "" : *fit[below(fit.size())];
}

std::string Actor::any_original() {
  if (originals_.empty()) return "";
  return std::next(originals_.begin(), static_cast<long>(below(originals_.size())))->first;
}

std::string Actor::fresh_name(const std::string& beside) {
  const auto slash = beside.rfind('/');
  return (slash == std::string::npos ? "" : beside.substr(0, slash + 1)) +
         fmt::format(".new-{}", ++sequence_);
}

std::string Actor::new_bytes(size_t size) {
  return tagged_bytes(fmt::format("guest={} {} {}", options_.guest, role_name(options_.role), ++sequence_),
                      size);
}

int Actor::open_name(const std::string& name, int flags) {
  // A lease makes a blocking open wait and the other one fail: both happen.
  const int fd = ::openat(dir_, name.c_str(), flags | O_NOFOLLOW | O_CLOEXEC | (below(2) ? O_NONBLOCK : 0));
  return succeeded(fd, "open", name) ? fd : -1;
}

void Actor::learn_times(int fd, Inode& inode) const {
  struct stat stat;
  // Through the descriptor that was written to: of that inode and no other.
  if (::fstat(fd, &stat) == 0) inode.is.mtime_ns = ns(stat.st_mtim);
}

void Actor::store(int fd, Inode& inode, size_t at, const std::string& bytes) {
  const ssize_t put = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
  if (!succeeded(put, "pwrite", "")) return;
  const size_t count = static_cast<size_t>(put);
  if (inode.bytes.size() < at + count) inode.bytes.resize(at + count, '\0');
  inode.bytes.replace(at, count, bytes, 0, count);
  learn_times(fd, inode);
}

size_t Actor::names_of(const InodePtr& inode) const {
  return static_cast<size_t>(
      std::count_if(names_.begin(), names_.end(), [&](const auto& one) { return one.second == inode; }));
}

bool Actor::remove_name(const std::string& name) {
  const bool dir = names_.at(name)->type == 'd';
  int removed = -1;
  // A directory put there in the very moment of an exchange stands in staging for some microseconds, with the
  // shared file in its place (SECURITY.md, "Exchange").
  for (int tries = 0; tries < 1000; ++tries) {
    removed = ::unlinkat(dir_, name.c_str(), dir ? AT_REMOVEDIR : 0);
    if (removed == 0 || !dir || errno != ENOTDIR) break;
  }
  if (!succeeded(removed, "unlink", name)) return false;
  names_.erase(name);
  return true;
}

bool Actor::create(const std::string& name, const std::string& bytes, const FileClass& wanted) {
  const int fd = ::openat(dir_, name.c_str(), O_RDWR | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600);
  if (!succeeded(fd, "create", name)) return false;
  auto inode = std::make_shared<Inode>();
  names_[name] = inode;
  inode->is.mode = 0600;
  learn_times(fd, *inode);
  store(fd, *inode, 0, bytes);
  if (::fchown(fd, wanted.uid, wanted.gid) == 0) inode->is.uid = wanted.uid, inode->is.gid = wanted.gid;
  if (::fchmod(fd, wanted.mode) == 0) inode->is.mode = wanted.mode;
  if (wanted.mtime_ns != TreeEntry::kAnyTime) {
    const timespec times[2] = {{0, UTIME_OMIT}, from_ns(wanted.mtime_ns)};
    if (::futimens(fd, times) == 0) inode->is.mtime_ns = wanted.mtime_ns;
  }
  ::close(fd);
  return true;
}

bool Actor::rename_over(const std::string& from, const std::string& to) {
  if (!succeeded(::renameat(dir_, from.c_str(), dir_, to.c_str()), "rename", from)) return false;
  // Two names of one inode: rename does nothing and says it did. Equal files of this guest may have become
  // one.
  struct stat left {
  }, there{};
  if (::fstatat(dir_, from.c_str(), &left, AT_SYMLINK_NOFOLLOW) == 0 &&
      ::fstatat(dir_, to.c_str(), &there, AT_SYMLINK_NOFOLLOW) == 0 && left.st_ino == there.st_ino)
    return true;
  const InodePtr moved = names_.at(from);
  names_.erase(from);
  names_[to] = moved;
  return true;
}

bool Actor::swap_names(const std::string& a, const std::string& b) {
  if (!succeeded(::renameat2(dir_, a.c_str(), dir_, b.c_str(), RENAME_EXCHANGE), "exchange", a)) return false;
  std::map<std::string, InodePtr> swapped;
  const auto moved = [](const std::string& name, const std::string& from, const std::string& to) {
    return name == from || name.starts_with(from + "/") ? to + name.substr(from.size()) : std::string();
  };
  for (const auto& [name, inode] : names_) {
    std::string now = moved(name, a, b);
    if (now.empty()) now = moved(name, b, a);
    swapped[now.empty() ? name : now] = inode;
  }
  names_ = std::move(swapped);
  return true;
}

void Actor::forget_held(size_t at) {
  Held& held = held_[at];
  if (held.map != nullptr) ::munmap(held.map, held.size);
  for (const int fd : {held.write_fd, held.read_fd})
    if (fd >= 0) ::close(fd);
  held_.erase(held_.begin() + static_cast<long>(at));
}

// ---- reading back ----

void Actor::verify() {
  const std::string name = any_name("f");
  if (name.empty() || name.size() >= 4000) return;  // the deep tree is for vunify to walk
  const int fd = ::openat(dir_, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
  if (!succeeded(fd, "open for reading", name)) return;
  const std::string found = whole(fd);
  const std::string& wanted = names_[name]->bytes;
  if (found != wanted) {
    const size_t at = static_cast<size_t>(
        std::mismatch(found.begin(), found.begin() + static_cast<long>(std::min(found.size(), wanted.size())),
                      wanted.begin())
            .first -
        found.begin());
    surprise(
        fmt::format("reads other bytes than it wrote: {} bytes, wrote {}; from byte {} on: '{}', wrote '{}'",
                    found.size(), wanted.size(), at, escaped(found.substr(at - at % 64, 64)),
                    escaped(wanted.substr(std::min(wanted.size(), at - at % 64), 64))),
        name);
  }
  ::close(fd);
}

}  // namespace vs::test
