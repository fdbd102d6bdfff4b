// What bench/isolation_compare runs inside: nothing at all, an init that says when it began, and both ends of
// a connection.
//
//   true                          exits
//   (named init)                  writes the monotonic clock to /stamp in ns, then waits for its end
//   serve ADDRESS PORT            answers "s SECONDS" by sending for so long, "e" by sending back each byte,
//                                 anything else by closing
//   stream ADDRESS PORT SECONDS   prints bytes per second that it got
//   echo ADDRESS PORT ROUNDS      prints microseconds per round of one byte, the median
//   connect ADDRESS PORT ROUNDS   prints microseconds to connect and be told goodbye, the median
#include <arpa/inet.h>
#include <netinet/tcp.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdint>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <ctime>
#include <string>
#include <vector>

namespace {

long now_ns() {
  timespec now{};
  clock_gettime(CLOCK_MONOTONIC, &now);
  return now.tv_sec * 1'000'000'000L + now.tv_nsec;
}

int fail(const char* what) {
  std::perror(what);
  return 1;
}

sockaddr_in address(const char* text, const char* port) {
  sockaddr_in at{};
  at.sin_family = AF_INET;
  at.sin_port = htons(static_cast<uint16_t>(std::atoi(port)));
  inet_pton(AF_INET, text, &at.sin_addr);
  return at;
}

int connected(const char* text, const char* port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  const auto to = address(text, port);
  if (connect(fd, reinterpret_cast<const sockaddr*>(&to), sizeof to) != 0) std::exit(fail("connect"));
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  return fd;
}

std::vector<char> block(128 * 1024);

void answer(int fd) {
  char order[16] = "";
  const int on = 1;
  setsockopt(fd, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  if (read(fd, order, sizeof order - 1) <= 0) return;
  if (order[0] == 's') {
    const long until = now_ns() + static_cast<long>(std::strtod(order + 1, nullptr) * 1e9);
    while (now_ns() < until && write(fd, block.data(), block.size()) > 0) {
    }
  } else if (order[0] == 'e') {
    char byte = 0;
    while (read(fd, &byte, 1) == 1 && write(fd, &byte, 1) == 1) {
    }
  }
}

int serve(const char* text, const char* port) {
  const int fd = socket(AF_INET, SOCK_STREAM, 0), on = 1;
  const auto at = address(text, port);
  setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on);
  if (bind(fd, reinterpret_cast<const sockaddr*>(&at), sizeof at) != 0 || listen(fd, 64) != 0)
    return fail("serve");
  std::printf("ready\n");
  std::fflush(stdout);
  for (;;) {
    const int client = accept(fd, nullptr, nullptr);
    answer(client);
    close(client);
  }
}

int stream(const char* text, const char* port, const std::string& seconds) {
  const int fd = connected(text, port);
  const std::string order = "s" + seconds;
  if (write(fd, order.data(), order.size()) < 0) return fail("write");
  long bytes = 0;
  const long begin = now_ns();
  for (ssize_t got; (got = read(fd, block.data(), block.size())) > 0;) bytes += got;
  std::printf("%.0f\n", static_cast<double>(bytes) / (static_cast<double>(now_ns() - begin) / 1e9));
  return 0;
}

int print_median(std::vector<long>& all) {
  std::nth_element(all.begin(), all.begin() + static_cast<long>(all.size() / 2), all.end());
  std::printf("%.2f\n", static_cast<double>(all[all.size() / 2]) / 1e3);
  return 0;
}

int echo(const char* text, const char* port, int rounds) {
  const int fd = connected(text, port);
  std::vector<long> all;
  char byte = 'e';
  if (write(fd, &byte, 1) != 1) return fail("write");
  usleep(20'000);  // else the first byte is taken for part of the order
  for (int i = 0; i < rounds; ++i) {
    const long begin = now_ns();
    if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 1) return fail("echo");
    all.push_back(now_ns() - begin);
  }
  return print_median(all);
}

int connect_often(const char* text, const char* port, int rounds) {
  std::vector<long> all;
  char byte = 'x';
  for (int i = 0; i < rounds; ++i) {
    const long begin = now_ns();
    const int fd = connected(text, port);
    if (write(fd, &byte, 1) != 1 || read(fd, &byte, 1) != 0) return fail("connect");
    all.push_back(now_ns() - begin);
    close(fd);
  }
  return print_median(all);
}

int init() {
  const long began = now_ns();
  FILE* out = std::fopen("/stamp.new", "w");
  std::fprintf(out, "%ld\n", began);
  std::fclose(out);
  std::rename("/stamp.new", "/stamp");
  signal(SIGTERM, [](int) { _exit(0); });
  signal(SIGCHLD, SIG_IGN);
  for (;;) pause();
}

}  // namespace

int main(int argc, char** argv) {
  const std::string name = argv[0], verb = argc > 1 ? argv[1] : "";
  if (name.ends_with("init") && argc > 1) return kill(1, SIGTERM) == 0 ? 0 : 1;  // "init 0": the end
  if (name.ends_with("init")) return init();
  signal(SIGPIPE, SIG_IGN);
  if (verb == "true") return 0;
  if (verb == "serve" && argc == 4) return serve(argv[2], argv[3]);
  if (verb == "stream" && argc == 5) return stream(argv[2], argv[3], argv[4]);
  if (verb == "echo" && argc == 5) return echo(argv[2], argv[3], std::atoi(argv[4]));
  if (verb == "connect" && argc == 5) return connect_often(argv[2], argv[3], std::atoi(argv[4]));
  return 2;
}
