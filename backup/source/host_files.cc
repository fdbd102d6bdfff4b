#include "backup/source/host_files.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <algorithm>
#include <cerrno>

#include "core/escape.h"
#include "core/full_io.h"
#include "core/tree/nodev_mount.h"

namespace vs::backup {
namespace {

// Settings are some kilobytes; Incus' backup.yaml of a guest with many snapshots has some hundred.
constexpr uint64_t kLargest = 1u << 20;

// Beside DIR/rootfs: of LXC the first two, of Incus and LXD the others.
constexpr const char* kBesideRootfs[] = {"config", "fstab", "backup.yaml", "metadata.yaml"};

Expected<HostFile> read_opened(int fd, const std::string& path) {
  const auto stat = stat_fd(fd, path);
  if (!stat) return stat.error();
  if (!S_ISREG(stat->mode)) return Problem{EINVAL, escaped(path) + " is no regular file"};
  const Problem too_large{EFBIG, escaped(path) + " is larger than settings are (1 MiB)"};
  if (stat->size > kLargest) return too_large;
  HostFile file{path.substr(1), std::string(kLargest + 1, '\0'), stat->mode & 07777, stat->uid, stat->gid,
                stat->mtime_ns};
  const ssize_t got = pread_full(fd, file.content.data(), file.content.size(), 0);
  if (got < 0) return problem_from_errno("read", path);
  if (static_cast<uint64_t>(got) > kLargest) return too_large;
  file.content.resize(static_cast<size_t>(got));
  return file;
}

class Finder {
 public:
  explicit Finder(Log& log) : log_(log) {}

  // In a directory of the host's configuration, where a symbolic link is the administrator's.
  void configured(const std::string& dir, const std::string& name) {
    const std::string path = dir + "/" + name;
    const UniqueFd fd(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY));
    if (!fd && (errno == ENOENT || errno == ENOTDIR)) return;
    take(fd ? read_opened(fd.get(), path) : Expected<HostFile>(problem_from_errno("open", path)));
  }
  void beside(const RootDir& dir, const std::string& name) {
    const auto fd = dir.open_regular(name);
    if (!fd && fd.error().code == ENOENT) return;
    const std::string path = path_of_fd(dir.fd());
    take(fd ? read_opened(fd->get(), (path == "/" ? "" : path) + "/" + name)
            : Expected<HostFile>(fd.error()));
  }
  std::vector<HostFile> found() && {
    std::sort(files_.begin(), files_.end(),
              [](const HostFile& a, const HostFile& b) { return a.path < b.path; });
    return std::move(files_);
  }

 private:
  void take(Expected<HostFile> file) {
    if (file)
      files_.push_back(std::move(*file));
    else
      log_.object_failed(file.error().message);
  }

  std::vector<HostFile> files_;
  Log& log_;
};

std::vector<HostFile> files_of(const Guest& guest, const HostPlaces& places, Log& log) {
  Finder finder(log);
  // Those two are the programs' own settings, as that directory also holds them.
  if (guest.name != "vunify" && guest.name != "vbackup")
    for (const char* ending : {".conf", ".sh"}) finder.configured(places.vserver_conf, guest.name + ending);
  const std::string tree = path_of_fd(guest.root.fd());
  const auto [dir, name] = split_path(tree);
  finder.configured(places.nspawn, std::string(name) + ".nspawn");
  UniqueFd opened(::openat(guest.root.fd(), "..", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!opened) throw Error(problem_from_errno("open the directory above", tree).message);
  const RootDir above(std::move(opened), std::string(dir), false);
  finder.beside(above, std::string(name) + ".nspawn");
  if (name != "rootfs") return std::move(finder).found();
  finder.configured(places.proxmox, std::string(split_path(dir).second) + ".conf");
  for (const char* beside : kBesideRootfs) finder.beside(above, beside);
  return std::move(finder).found();
}

}  // namespace

HostFiles find_host_files(const std::vector<Guest>& guests, const HostPlaces& places, Log& log) {
  HostFiles all;
  for (const auto& guest : guests) try {
      if (auto files = files_of(guest, places, log); !files.empty()) all[guest.name] = std::move(files);
    } catch (const Error& error) {
      log.object_failed("settings of " + escaped(guest.name) + " on this host: " + error.what());
    }
  return all;
}

}  // namespace vs::backup
