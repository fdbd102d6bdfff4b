#include "isolation/context/pty.h"

#include <fcntl.h>
#include <linux/magic.h>
#include <poll.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <sys/statfs.h>
#include <sys/sysmacros.h>
#include <termios.h>
#include <unistd.h>

#include <cerrno>
#include <csignal>
#include <string>

#include "core/descriptors.h"

namespace vs::isolation {
namespace {

volatile std::sig_atomic_t window_changed = 0;
void on_window_change(int) {
  window_changed = 1;
}

// /dev is the guest's own: what is called ptmx there may be anything.
Expected<UniqueFd> open_multiplexer() {
  const UniqueFd path(::open("/dev/pts/ptmx", O_PATH | O_NOFOLLOW | O_CLOEXEC));
  struct stat found {};
  struct statfs filesystem {};
  if (!path || ::fstat(path.get(), &found) != 0 || ::fstatfs(path.get(), &filesystem) != 0)
    return problem_from_errno("look at the guest's", "/dev/pts/ptmx");
  if (filesystem.f_type != DEVPTS_SUPER_MAGIC || !S_ISCHR(found.st_mode) || found.st_rdev != ::makedev(5, 2))
    return Problem{EINVAL,
                   "the guest's /dev/pts/ptmx is not what was mounted there; restart the vserver to enter it "
                   "with a terminal"};
  UniqueFd master(
      ::open(("/proc/self/fd/" + std::to_string(path.get())).c_str(), O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!master) return problem_from_errno("open the guest's", "/dev/pts/ptmx");
  return master;
}

bool copy(int from, int to) {
  char buffer[16384];
  const ssize_t got = ::read(from, buffer, sizeof buffer);
  if (got < 0 && errno == EINTR) return true;
  if (got <= 0) return false;
  for (ssize_t done = 0; done < got;) {
    const ssize_t put = ::write(to, buffer + done, static_cast<size_t>(got - done));
    if (put < 0 && errno != EINTR && errno != EAGAIN) return false;
    if (put > 0) done += put;
  }
  return true;
}

void copy_window_size(int from, int to) {
  winsize size{};
  if (::ioctl(from, TIOCGWINSZ, &size) == 0) ::ioctl(to, TIOCSWINSZ, &size);
}

}  // namespace

unsigned terminals_of_caller() {
  unsigned bits = 0;
  for (int fd = 0; fd < 3; ++fd)
    if (::isatty(fd)) bits |= 1U << fd;
  return bits;
}

Result take_terminal(int socket, unsigned terminals) {
  auto master = open_multiplexer();
  if (!master) return master.error();
  const int locked = 0;
  if (::ioctl(master->get(), TIOCSPTLCK, &locked) != 0) return problem_from_errno("unlock", "the terminal");
  const UniqueFd slave(::ioctl(master->get(), TIOCGPTPEER, O_RDWR | O_NOCTTY | O_CLOEXEC));
  if (!slave) return problem_from_errno("open", "the terminal");
  const int sent = master->get();
  if (auto done = send_descriptors(socket, 'm', {&sent, 1}, "the terminal's other end"); !done) return done;
  ::setsid();
  if (::ioctl(slave.get(), TIOCSCTTY, 0) != 0) return problem_from_errno("take", "the terminal");
  for (int fd = 0; fd < 3; ++fd)
    if (terminals & (1U << fd)) ::dup2(slave.get(), fd);
  return Ok{};
}

UniqueFd receive_terminal(int socket) {
  int fd = -1;
  return receive_descriptors(socket, {&fd, 1}).count == 1 ? UniqueFd(fd) : UniqueFd();
}

void relay(int master, int pidfd) {
  const int input = ::isatty(0) ? 0 : ::isatty(1) ? 1 : 2;
  termios before{};
  const bool terminal = ::tcgetattr(input, &before) == 0;
  if (terminal) {
    termios raw = before;
    ::cfmakeraw(&raw);
    ::tcsetattr(input, TCSADRAIN, &raw);
    copy_window_size(input, master);
  }
  struct sigaction action {};
  action.sa_handler = on_window_change;
  ::sigaction(SIGWINCH, &action, nullptr);
  bool ended = false;
  pollfd ready[3] = {{::isatty(0) ? 0 : -1, POLLIN, 0}, {master, POLLIN, 0}, {pidfd, POLLIN, 0}};
  for (;;) {
    if (window_changed) window_changed = 0, copy_window_size(input, master);
    // After the end what is still in the terminal is taken, but nobody is waited for: something may hold it
    // open in the background.
    const int count = ::poll(ready, 3, ended ? 0 : -1);
    if (count < 0 && errno == EINTR) continue;
    if (count <= 0) break;
    if (ready[0].revents != 0 && !copy(0, master)) ready[0].fd = -1;
    if (ready[1].revents != 0 && !copy(master, ::isatty(1) ? 1 : input)) break;
    if (ready[2].revents != 0) {
      ended = true;
      ready[2].fd = -1;
      ready[0].fd = -1;
    }
  }
  if (terminal) ::tcsetattr(input, TCSADRAIN, &before);
}

}  // namespace vs::isolation
