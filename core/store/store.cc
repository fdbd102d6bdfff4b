#include "core/store/store.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/hex.h"
#include "core/store/store_place.h"
#include "core/tree/dir_reader.h"

namespace vs {
namespace {

// A store is reached by the administrator's path, so the parts before it are trusted; what it holds is ours.
UniqueFd make_dir(int parent, const char* name, const std::string& shown) {
  if (::mkdirat(parent, name, 0700) != 0 && errno != EEXIST)
    throw Error(problem_from_errno("create directory", shown).message);
  UniqueFd fd(::openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) throw Error(problem_from_errno("open directory", shown).message);
  return fd;
}

void refuse_place_in_guest(int store_fd, const std::string& path, std::span<const Guest> guests) {
  UniqueFd at(::openat(store_fd, ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!at) throw Error(problem_from_errno("open the place of the store", path).message);
  std::pair<uint64_t, uint64_t> last;
  for (;; at = value_or_throw(open_above(at.get()))) {
    const auto stat = value_or_throw(stat_fd(at.get(), path_of_fd(at.get())));
    for (const auto& guest : guests)
      if (guest.root.stat().dev == stat.dev && guest.root.stat().ino == stat.ino)
        throw Error(fmt::format("store {} would lie inside the tree of {} ({}), where that guest could reach "
                                "it; name another "
                                "place on the same filesystem with --store DIR",
                                escaped(path), guest.name, escaped(guest.root.path())),
                    Exit::usage);
    if (last == std::make_pair(stat.dev, stat.ino)) return;
    last = {stat.dev, stat.ino};
  }
}

void refuse_other_mount(int fd, const std::string& path, const Pool& pool) {
  const auto stat = value_or_throw(stat_fd(fd, path));
  if (stat.mount_id != pool.mount_id)
    throw Error(
        fmt::format(
            "store {} is not on the filesystem of the trees ({}); hard links cannot cross filesystems",
            escaped(path), escaped(pool.top)),
        Exit::usage);
}

// The store itself may be a mount point, or a symlink's target was meant: then it is not where the guests
// are.
void refuse_other_filesystem(int fd, const std::string& path, const Pool& pool) {
  if (value_or_throw(stat_fd(fd, path)).dev != pool.dev && pool.one_device)
    throw Error(
        fmt::format(
            "store {} is not on the filesystem of the trees ({}); hard links cannot cross filesystems",
            escaped(path), escaped(pool.top)),
        Exit::usage);
}

std::string read_or_make_id(int top, const std::string& path, bool create) {
  char text[32];
  const UniqueFd fd(::openat(top, "id", O_RDONLY | O_NOFOLLOW | O_CLOEXEC));
  // A new one only where there is none: index and history know the store by it.
  if (!fd && errno != ENOENT) throw Error(problem_from_errno("open", path + "/id").message);
  if (fd) {
    const ssize_t got = ::read(fd.get(), text, sizeof text);
    if (got < 0) throw Error(problem_from_errno("read", path + "/id").message);
    std::string raw;
    if (got == sizeof text && from_hex({text, sizeof text}, raw)) return {text, sizeof text};
    throw Error(
        fmt::format("{}/id is damaged: expected 32 hex digits; with the file removed the next run makes a "
                    "new one and reads all masters anew",
                    escaped(path)));
  }
  if (!create)
    throw Error(fmt::format("{}/id is missing: expected 32 hex digits; is this a store?", escaped(path)));
  char random[16];
  if (::getrandom(random, sizeof random, 0) != sizeof random)
    throw Error(problem_from_errno("getrandom for", path).message);
  const std::string id = hex({random, sizeof random});
  ok_or_throw(write_durably(path + "/id", id));
  return id;
}

std::vector<StoredName> list(int fd, const std::string& prefix, const std::string& shown) {
  std::vector<StoredName> names;
  const UniqueFd again(::openat(fd, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));  // an offset of its own
  if (!again) throw Error(problem_from_errno("open directory", shown).message);
  DirReader reader;
  reader.start(again.get(), shown);
  for (DirEntry entry; reader.next(entry);) names.push_back({prefix + std::string(entry.name), entry.ino});
  if (reader.problem() != nullptr) throw Error(reader.problem()->message);
  return names;
}

std::string two_digits(unsigned i) {
  return fmt::format("{:02x}", i);
}

}  // namespace

std::string Store::default_path(const Pool& pool) {
  return default_store_path(pool.top);
}

UniqueFd scratch_dir(const std::string& store_path) {
  for (const std::string& path : {store_path, std::string(split_path(store_path).first)}) {
    UniqueFd fd(::open(path.empty() ? "/" : path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
    if (fd) return fd;
  }
  throw Error(problem_from_errno("open the place for the store", store_path).message, Exit::usage);
}

std::unique_ptr<Store> Store::open(const std::string& path, const Pool& pool, std::span<const Guest> guests,
                                   bool create, UniqueFd parent) {
  const auto [parent_path, name] = split_path(path);
  // Judged by the place itself; then gone into by the view the guests are seen through.
  const UniqueFd place(
      ::open(parent_path.empty() ? "/" : std::string(parent_path).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (!place)
    throw Error(problem_from_errno("open the directory that holds the store", path).message, Exit::usage);
  refuse_other_mount(place.get(), path, pool);
  refuse_place_in_guest(place.get(), path, guests);
  if (!parent) parent.reset(::openat(place.get(), ".", O_PATH | O_DIRECTORY | O_CLOEXEC));
  if (create && ::mkdirat(parent.get(), std::string(name).c_str(), 0700) != 0 && errno != EEXIST)
    throw Error(problem_from_errno("create directory", path).message);
  UniqueFd top(
      ::openat(parent.get(), std::string(name).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!top && errno == ENOENT && !create) return nullptr;
  if (!top) throw Error(problem_from_errno("open directory", path).message, Exit::usage);
  auto store = std::make_unique<Store>();
  store->path_ = path;
  store->top_ = std::move(top);
  refuse_other_filesystem(store->top_.get(), path, pool);
  refuse_place_in_guest(store->top_.get(), path, guests);
  ok_or_throw(check_private_dir(store->top_.get(), path), Exit::usage);
  if (create && ::fchmod(store->top_.get(), 0700) != 0)
    throw Error(problem_from_errno("chmod", path).message);
  store->open_parts(create);
  return store;
}

std::unique_ptr<Store> Store::open_existing(const std::string& path) {
  auto store = std::make_unique<Store>();
  store->path_ = path;
  store->top_ = value_or_throw(open_private_dir(path, false), Exit::usage);
  if (::faccessat(store->top_.get(), "masters", F_OK, 0) != 0)
    throw Error(escaped(path) + " is no store of vunify (no masters in it)", Exit::usage);
  store->open_parts(false);
  return store;
}

void Store::open_parts(bool create) {
  id_ = read_or_make_id(top_.get(), path_, create);
  if (!create && ::faccessat(top_.get(), "staging", F_OK, 0) != 0)
    throw Error(problem_from_errno("find staging in the store", path_).message);
  masters_ = make_dir(top_.get(), "masters", path_ + "/masters");
  staging_ = make_dir(top_.get(), "staging", path_ + "/staging");
  lost_ = make_dir(top_.get(), "lost", path_ + "/lost");
  if (create && ::faccessat(masters_.get(), "ff", F_OK, 0) != 0)
    for (unsigned i = 0; i < 256; ++i) make_dir(masters_.get(), two_digits(i).c_str(), path_ + "/masters");
}

std::vector<StoredName> Store::list_masters() const {
  std::vector<StoredName> names;
  for (unsigned i = 0; i < 256; ++i) {
    const UniqueFd dir(
        ::openat(masters_.get(), two_digits(i).c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (!dir && errno == ENOENT) continue;
    if (!dir) throw Error(problem_from_errno("open directory", path_ + "/masters/" + two_digits(i)).message);
    const auto some = list(dir.get(), two_digits(i) + "/", shown_master(two_digits(i)));
    names.insert(names.end(), some.begin(), some.end());
  }
  std::sort(names.begin(), names.end(),
            [](const StoredName& a, const StoredName& b) { return a.name < b.name; });
  return names;
}

std::vector<StoredName> Store::list_staging() const {
  return list(staging_.get(), "", path_ + "/staging");
}

Expected<UniqueFd> Store::open_master(const std::string& name) const {
  UniqueFd fd(
      ::openat(masters_.get(), name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK | O_NOATIME));
  if (!fd) return problem_from_errno("open master", shown_master(name));
  return fd;
}

Expected<FileStat> Store::stat_master(const std::string& name) const {
  return stat_at(masters_.get(), name.c_str(), shown_master(name));
}

std::string name_without_serial(const std::string& sha256, const FileClass& file_class) {
  const std::string digits = hex(sha256);
  const std::string key = fmt::format("{}:{}:{:o}:{}:{:x}", file_class.uid, file_class.gid, file_class.mode,
                                      file_class.mtime_ns, file_class.xattrs);
  return fmt::format("{}/{}-{:016x}-", digits.substr(0, 2), digits.substr(2),
                     XXH3_128bits(key.data(), key.size()).low64);
}

Expected<std::string> Store::name_master(int fd, const std::string& sha256,
                                         const FileClass& file_class) const {
  const std::string begin = name_without_serial(sha256, file_class);
  for (unsigned serial = 0;; ++serial) {
    const std::string name = begin + std::to_string(serial);
    if (::linkat(fd, "", masters_.get(), name.c_str(), AT_EMPTY_PATH) == 0) return name;
    if (errno != EEXIST) return problem_from_errno("name master", shown_master(name));
  }
}

Result Store::remove_master(const std::string& name) const {
  if (::unlinkat(masters_.get(), name.c_str(), 0) != 0)
    return problem_from_errno("remove master", shown_master(name));
  return Ok{};
}

Result Store::sync() const {
  if (::syncfs(top_.get()) != 0) return problem_from_errno("sync the filesystem of", path_);
  return Ok{};
}

}  // namespace vs
