// What an actor puts in the place of files: other types, directories that are no directories, forged package
// records.
#include "tests/support/actor.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <thread>

#include "tests/support/digest.h"

namespace vs::test {

// ---- other types ----

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

// Opening a fifo for writing without waiting works only while somebody reads from it. A fifo that was put in
// a file's place in the moment of a look is opened and closed again within microseconds (SECURITY.md); nobody
// may stay.
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

// ---- the package database ----

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
