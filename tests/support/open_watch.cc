#include "tests/support/open_watch.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/fanotify.h>
#include <unistd.h>

#include <cerrno>
#include <cstdint>
#include <cstring>
#include <filesystem>
#include <fstream>
#include <stdexcept>

namespace vs::test {
namespace {

// Notification class and an unlimited queue: nothing waits for us and no event is dropped.
int make_group() {
  return ::fanotify_init(FAN_CLASS_NOTIF | FAN_CLOEXEC | FAN_NONBLOCK | FAN_UNLIMITED_QUEUE,
                         O_RDONLY | O_LARGEFILE | O_NOATIME | O_CLOEXEC);
}

std::string command_of(int pid) {
  std::string name = "?";
  std::getline(std::ifstream(fmt::format("/proc/{}/comm", pid)) >> std::ws, name);
  return name;
}

std::string path_of(int fd) {
  std::error_code error;
  return std::filesystem::read_symlink(fmt::format("/proc/self/fd/{}", fd), error).string();
}

}  // namespace

std::optional<Obstacle> OpenWatch::impossible() {
  const int fd = make_group();
  if (fd < 0)
    return Obstacle{errno == EPERM ? Skip::kRoot : Skip::kKernel,
                    fmt::format("fanotify: {}", std::strerror(errno))};
  ::close(fd);
  return std::nullopt;
}

OpenWatch::OpenWatch() : fd_(make_group()) {
  if (fd_ < 0) throw std::runtime_error(fmt::format("fanotify: {}", std::strerror(errno)));
}
OpenWatch::~OpenWatch() {
  ::close(fd_);
}

void OpenWatch::file(const std::string& path) {
  constexpr uint64_t kEvents = FAN_OPEN | FAN_ACCESS | FAN_MODIFY | FAN_CLOSE_WRITE | FAN_ONDIR;
  if (::fanotify_mark(fd_, FAN_MARK_ADD | FAN_MARK_DONT_FOLLOW, kEvents, AT_FDCWD, path.c_str()) != 0)
    throw std::runtime_error(fmt::format("fanotify mark {}: {}", path, std::strerror(errno)));
}

void OpenWatch::tree(const std::string& root) {
  file(root);
  for (const auto& entry : std::filesystem::recursive_directory_iterator(root))
    if (entry.symlink_status().type() == std::filesystem::file_type::regular || entry.is_directory())
      file(entry.path());
  opened();  // our own walk
}

std::vector<std::string> OpenWatch::opened() {
  std::vector<std::string> found;
  alignas(fanotify_event_metadata) char buffer[65536];
  ssize_t size;
  while ((size = ::read(fd_, buffer, sizeof buffer)) > 0) {
    auto* event = reinterpret_cast<fanotify_event_metadata*>(buffer);
    for (; FAN_EVENT_OK(event, size); event = FAN_EVENT_NEXT(event, size)) {
      if (event->pid != ::getpid())
        found.push_back(fmt::format("{} (pid {}) opened {} (mask {:#x})", command_of(event->pid), event->pid,
                                    path_of(event->fd), static_cast<uint64_t>(event->mask)));
      if (event->fd >= 0) ::close(event->fd);
    }
  }
  return found;
}

}  // namespace vs::test
