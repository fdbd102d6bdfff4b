// What an actor does to the names of its files, and to their class (owner, mode, times, attributes).
#include "tests/support/actor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>

namespace vs::test {

// ---- names ----

void Actor::rename_away() {
  const std::string from = any_name("f");
  if (from.empty() || names_.size() > kMostActorNames) return;
  const std::string onto = any_name("f");
  rename_over(from, below(2) ? onto : from + ".moved");
}

void Actor::exchange() {
  const std::string a = any_name("f"), b = any_name("f");
  if (!a.empty() && a != b) swap_names(a, b);
}

void Actor::link() {
  const std::string from = any_name("f"), to = below(2) ? any_name("f") : from + ".link";
  if (from.empty() || from == to || names_.size() > kMostActorNames) return;
  if (names_.contains(to) && (names_[to]->type != 'f' || !remove_name(to))) return;
  if (succeeded(::linkat(dir_, from.c_str(), dir_, to.c_str(), 0), "link", from)) names_[to] = names_[from];
}

void Actor::unlink() {
  const std::string name = any_name("f");
  if (!name.empty()) remove_name(name);
}

void Actor::rename_to_odd_name() {
  const std::string name = any_name("f");
  if (name.empty() || names_.size() > kMostActorNames) return;
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
  if (names_.size() > kMostActorNames || originals_.empty()) return;
  // Bytes that another guest holds under a decent name.
  const Inode& original = originals_[any_original()];
  std::string name = fmt::format("\x1b]0;{}\x07\n", ++sequence_);
  name.resize(below(2) ? 255 : name.size(), 'x');
  if (!names_.contains(name)) create(name, original.bytes, original.is);
}

// ---- class ----

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

}  // namespace vs::test
