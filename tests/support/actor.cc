#include "tests/support/actor.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <csetjmp>
#include <csignal>
#include <cstdio>
#include <cstring>
#include <stdexcept>
#include <thread>

#include "core/escape.h"
#include "tests/support/digest.h"
#include "tests/support/fake_guest.h"

namespace vs::test {
namespace {

constexpr size_t kMostNames = 60;     // an actor's directory does not grow without end
constexpr size_t kLargest = 200'000;  // nor do its files

int64_t ns(const timespec& time) {
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}
timespec from_ns(int64_t time) {
  return {time / 1'000'000'000, time % 1'000'000'000};
}

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

// ---- what a role does
// ----------------------------------------------------------------------------------------------

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

// ---- beginning and end
// ---------------------------------------------------------------------------------------------

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

// ---- small steps
// ---------------------------------------------------------------------------------------------------

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
  // A directory put there in the very moment of an exchange stands in staging for some microseconds, with the shared file in its place
  // (SECURITY.md, "Exchange").
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

// ---- reading back
// --------------------------------------------------------------------------------------------------

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

// ---- writing
// -------------------------------------------------------------------------------------------------------

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
  if (name.empty() || names_[name]->bytes.size() > kLargest) return;
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
  const size_t size = below(std::min(kLargest, inode.bytes.size() + 5000));
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

// ---- names
// ---------------------------------------------------------------------------------------------------------

void Actor::rename_away() {
  const std::string from = any_name("f");
  if (from.empty() || names_.size() > kMostNames) return;
  const std::string onto = any_name("f");
  rename_over(from, below(2) ? onto : from + ".moved");
}

void Actor::exchange() {
  const std::string a = any_name("f"), b = any_name("f");
  if (!a.empty() && a != b) swap_names(a, b);
}

void Actor::link() {
  const std::string from = any_name("f"), to = below(2) ? any_name("f") : from + ".link";
  if (from.empty() || from == to || names_.size() > kMostNames) return;
  if (names_.contains(to) && (names_[to]->type != 'f' || !remove_name(to))) return;
  if (succeeded(::linkat(dir_, from.c_str(), dir_, to.c_str(), 0), "link", from)) names_[to] = names_[from];
}

void Actor::unlink() {
  const std::string name = any_name("f");
  if (!name.empty()) remove_name(name);
}

void Actor::rename_to_odd_name() {
  const std::string name = any_name("f");
  if (name.empty() || names_.size() > kMostNames) return;
  static const std::string kOdd[] = {"line\nbreak",
                                     "\x1b[31mred\x1b[0m",
                                     std::string(255, 'n'),
                                     "\xff\xfe\x80",
                                     " ",
                                     "\xe2\x80\xae"
                                     "gpj.exe",
                                     "-rf",
                                     "*",
                                     "'; touch x; '",
                                     "a\tb\rc",
                                     "\\n",
                                     "..."};
  rename_over(name, kOdd[below(std::size(kOdd))]);
}

void Actor::make_odd_name() {
  if (names_.size() > kMostNames || originals_.empty()) return;
  // Bytes that another guest holds under a decent name.
  const Inode& original = originals_[any_original()];
  std::string name = fmt::format("\x1b]0;{}\x07\n", ++sequence_);
  name.resize(below(2) ? 255 : name.size(), 'x');
  if (!names_.contains(name)) create(name, original.bytes, original.is);
}

// ---- class
// ---------------------------------------------------------------------------------------------------------

void Actor::change_class(const std::string& name, const char* call, const std::function<long()>& apply,
                         const std::function<void(FileClass&)>& change) {
  const InodePtr inode = names_.at(name);
  struct stat before {
  }, after{};
  ::fstatat(dir_, name.c_str(), &before, AT_SYMLINK_NOFOLLOW);
  if (!succeeded(apply(), call, name)) return;
  ::fstatat(dir_, name.c_str(), &after, AT_SYMLINK_NOFOLLOW);
  // A master that just then had no seal, to be known by more links than the guest made: vunify puts its class
  // back.
  const bool private_inode = before.st_ino == after.st_ino && after.st_nlink <= names_of(inode);
  if (!private_inode) {
    inode->also.push_back(inode->is);
    if (inode->also.size() > 8) inode->also.erase(inode->also.begin());
  }
  for (auto& possible : inode->also)
    if (private_inode) change(possible);
  change(inode->is);
}

void Actor::change_mode() {
  const std::string name = any_name("f");
  if (name.empty()) return;
  constexpr uint32_t kModes[] = {0600, 0644, 0755, 04755, 0, 01644, 02755};
  const uint32_t mode = kModes[below(std::size(kModes))];
  change_class(
      name, "chmod", [&] { return ::fchmodat(dir_, name.c_str(), mode, 0); },
      [&](FileClass& is) { is.mode = mode; });
}

void Actor::change_owner() {
  const std::string name = any_name("f");
  if (name.empty()) return;
  const uint32_t uid = static_cast<uint32_t>(below(3)), gid = static_cast<uint32_t>(below(3));
  change_class(
      name, "chown", [&] { return ::fchownat(dir_, name.c_str(), uid, gid, AT_SYMLINK_NOFOLLOW); },
      [&](FileClass& is) {
        is.uid = uid;
        is.gid = gid;
        // The kernel takes set-id bits away, set-gid only where the group may execute.
        is.mode &= (is.mode & 010) ? ~06000U : ~04000U;
      });
}

void Actor::forge_mtime() {
  const std::string name = any_name("f");
  if (name.empty() || originals_.empty()) return;
  const int64_t mtime = below(2) ? originals_[any_original()].is.mtime_ns
                                 : 1'000'000'000'000'000'000 + static_cast<int64_t>(below(1000));
  if (mtime == TreeEntry::kAnyTime) return;
  const timespec times[2] = {{0, UTIME_OMIT}, from_ns(mtime)};
  change_class(
      name, "utimensat", [&] { return ::utimensat(dir_, name.c_str(), times, AT_SYMLINK_NOFOLLOW); },
      [&](FileClass& is) { is.mtime_ns = mtime; });
}

void Actor::change_xattr() {
  const std::string name = any_name("f");
  if (name.empty() || !options_.dir.size()) return;
  const std::string path = "/" + options_.dir + "/" + name,
                    value = fmt::format("{} {}", options_.guest, ++sequence_);
  if (names_[name]->is.xattrs.empty())
    return change_class(
        name, "setxattr",
        [&] { return ::lsetxattr(path.c_str(), "user.chaos", value.data(), value.size(), 0); },
        [&](FileClass& is) { is.xattrs["user.chaos"] = value; });
  // Where the class was put back meanwhile there may be no attribute to remove.
  change_class(
      name, "removexattr",
      [&]() -> long {
        const int result = ::lremovexattr(path.c_str(), "user.chaos");
        return result != 0 && errno == ENODATA && !names_[name]->also.empty() ? 0 : result;
      },
      [&](FileClass& is) { is.xattrs.clear(); });
}

// ---- other types
// ---------------------------------------------------------------------------------------------------

void Actor::put_special(const std::string& name, char type, const std::string& target) {
  const std::string at =
      below(2) ? name : fresh_name(name);  // in its place, or prepared beside and moved there
  if (at == name && !remove_name(name)) return;
  long result = -1;
  dev_t device = 0;
  if (type == 'l') result = ::symlinkat(target.c_str(), dir_, at.c_str());
  if (type == 'd') result = ::mkdirat(dir_, at.c_str(), 0755);
  if (type == 'p') result = ::mknodat(dir_, at.c_str(), S_IFIFO | 0644, 0);
  if (type == 's') result = ::mknodat(dir_, at.c_str(), S_IFSOCK | 0644, 0);
  // A number no driver has: an open would say ENXIO and do no harm.
  if (type == 'c') result = ::mknodat(dir_, at.c_str(), S_IFCHR | 0644, device = makedev(240, 77));
  if (!succeeded(result, "make a special file", at)) return;
  struct stat stat;
  ::fstatat(dir_, at.c_str(), &stat, AT_SYMLINK_NOFOLLOW);
  auto inode = std::make_shared<Inode>();
  inode->type = type;
  inode->bytes = type == 'l' ? target : type == 'c' ? fmt::format("{}:{}", major(device), minor(device)) : "";
  inode->is = {stat.st_mode & 07777, 0, 0, type == 'd' ? TreeEntry::kAnyTime : ns(stat.st_mtim), {}};
  names_[at] = inode;
  if (at == name) return;
  // Exchanged, so that there is no moment without the name; then what stood there goes.
  swap_names(at, name);
  remove_name(at);
}

void Actor::become_symlink() {
  const std::string name = any_name("f");
  if (!name.empty() && !options_.lure_files.empty())
    put_special(name, 'l', options_.lure_files[below(options_.lure_files.size())]);
}
void Actor::become_dir() {
  if (const std::string name = any_name("f"); !name.empty()) put_special(name, 'd', "");
}
void Actor::become_fifo() {
  if (const std::string name = any_name("f"); !name.empty()) put_special(name, 'p', "");
}
void Actor::become_device() {
  if (const std::string name = any_name("f"); !name.empty()) put_special(name, 'c', "");
}
void Actor::become_socket() {
  if (const std::string name = any_name("f"); !name.empty()) put_special(name, 's', "");
}

// Opening a fifo for writing without waiting works only while somebody reads from it. A fifo that was put in a file's place in the
// moment of a look is opened and closed again within microseconds (SECURITY.md); nobody may stay.
void Actor::probe_fifo() {
  const std::string name = any_name("p");
  if (name.empty()) return;
  const auto until = std::chrono::steady_clock::now() + std::chrono::seconds(2);
  for (;;) {
    const int fd = ::openat(dir_, name.c_str(), O_WRONLY | O_NONBLOCK | O_NOFOLLOW | O_CLOEXEC);
    if (fd < 0) return;
    ::close(fd);
    if (std::chrono::steady_clock::now() > until) break;
    std::this_thread::sleep_for(std::chrono::milliseconds(1));
  }
  surprise("somebody stays a reader of this fifo", name);
}

// A directory and a symlink (or another directory) change places, for a moment or two.
void Actor::flip_directory() {
  std::vector<std::string> dirs;
  for (const auto& [name, inode] : names_)
    if (inode->type == 'd' && name.find('/') == std::string::npos &&
        names_.lower_bound(name + "/") != names_.end() &&
        names_.lower_bound(name + "/")->first.starts_with(name + "/"))
      dirs.push_back(name);
  if (dirs.empty()) return;
  const std::string dir = dirs[below(dirs.size())];
  if (dirs.size() > 1 && below(3) == 0) {
    const std::string other = dirs[below(dirs.size())];
    if (other != dir && swap_names(dir, other)) {
      ::usleep(static_cast<useconds_t>(below(3000)));
      swap_names(dir, other);
    }
    return;
  }
  if (options_.lure_dirs.empty()) return;
  const std::string lure = dir + ".lure";
  if (!names_.contains(lure)) {
    names_[lure] = std::make_shared<Inode>();
    Inode& inode = *names_[lure];
    inode.type = 'l';
    inode.bytes = options_.lure_dirs[below(options_.lure_dirs.size())];
    inode.is.mode = 0777;
    if (!succeeded(::symlinkat(inode.bytes.c_str(), dir_, lure.c_str()), "symlink", lure))
      return static_cast<void>(names_.erase(lure));
  }
  if (!swap_names(dir, lure)) return;
  ::usleep(static_cast<useconds_t>(below(2000)));
  swap_names(dir, lure);
  if (below(4) == 0) remove_name(lure);
}

// ---- the package database
// ------------------------------------------------------------------------------------------

void Actor::forge_record() {
  const std::string name = any_original();
  if (name.empty() || !names_.contains(name)) return;
  std::string bytes;
  switch (below(8)) {
    case 0:
      bytes = new_bytes(below(100'000));
      break;
    case 1:
      bytes = std::string(1 + below(300'000), 'x');
      break;  // one endless line
    case 2:
      bytes = std::string(1000, '\0') + originals_[name].bytes;
      break;
    case 3:
      bytes = originals_[name].bytes.substr(0, below(originals_[name].bytes.size()));
      break;
    case 4:
      bytes = fmt::format("{}  etc/shadow\n{}  home/user/notes\n", md5_hex("guess"), md5_hex("guess")) +
              originals_[name].bytes;
      break;
    case 5:
      bytes =
          "/.\n/etc/shadow\n/home/user/notes\n/../../../../../../etc/shadow\n//\n/./\n/usr/../etc/shadow\n" +
          originals_[name].bytes;
      break;
    case 6:
      bytes = originals_[any_original()].bytes;
      break;  // another package's record
    default:
      for (int i = 0; i < 5000; ++i)
        bytes += fmt::format("{:032x}  {}{}\n", random_(), std::string(below(40), '/'), i);
  }
  const std::string fresh = fresh_name(name);
  if (!create(fresh, bytes, names_[name]->is)) return;
  if (!rename_over(fresh, name)) remove_name(fresh);
}

void Actor::restore_record() {
  restore_by_replacing();
}

}  // namespace vs::test
