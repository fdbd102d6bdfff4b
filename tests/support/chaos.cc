#include "tests/support/chaos.h"

#include <fmt/format.h>
#include <sys/mman.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <csignal>
#include <cstdio>
#include <exception>
#include <stdexcept>

#include "core/durable/record_log.h"
#include "tests/support/actor.h"

namespace vs::test {
namespace {

volatile std::sig_atomic_t time_to_stop = 0;

void put_class(std::string& out, const FileClass& is) {
  put_u32(out, is.mode);
  put_u32(out, is.uid);
  put_u32(out, is.gid);
  put_u64(out, static_cast<uint64_t>(is.mtime_ns));
  put_u32(out, static_cast<uint32_t>(is.xattrs.size()));
  for (const auto& [key, value] : is.xattrs) {
    put_string(out, key);
    put_string(out, value);
  }
}

FileClass take_class(FieldReader& in) {
  FileClass is;
  is.mode = in.u32();
  is.uid = in.u32();
  is.gid = in.u32();
  is.mtime_ns = static_cast<int64_t>(in.u64());
  for (uint32_t left = in.u32(); left > 0 && in.ok(); --left) {
    const std::string key(in.string());
    is.xattrs[key] = std::string(in.string());
  }
  return is;
}

FileClass class_of(const TreeEntry& entry) {
  return {entry.mode, entry.uid, entry.gid, entry.mtime_ns, entry.xattrs};
}

void set_class(TreeEntry& entry, const FileClass& is) {
  entry.mode = is.mode;
  entry.uid = is.uid;
  entry.gid = is.gid;
  entry.mtime_ns = is.mtime_ns;
  entry.xattrs = is.xattrs;
}

std::string packed(const ActorReport& report) {
  std::string out;
  put_u64(out, report.done);
  put_u64(out, report.refused);
  put_u32(out, static_cast<uint32_t>(report.surprises.size()));
  for (const auto& line : report.surprises) put_string(out, line);
  put_u32(out, static_cast<uint32_t>(report.tree.size()));
  for (const auto& [path, entry] : report.tree) {
    put_string(out, path);
    put_u32(out, static_cast<uint32_t>(entry.type));
    put_string(out, entry.content);
    put_string(out, entry.head);
    put_u64(out, entry.size);
    put_string(out, entry.first_name);
    put_class(out, class_of(entry));
  }
  put_u32(out, static_cast<uint32_t>(report.also.size()));
  for (const auto& [path, classes] : report.also) {
    put_string(out, path);
    put_u32(out, static_cast<uint32_t>(classes.size()));
    for (const auto& is : classes) put_class(out, is);
  }
  return out;
}

ActorReport unpacked(std::string_view bytes, const ActorOptions& options) {
  FieldReader in(bytes);
  ActorReport report;
  report.options = options;
  report.done = in.u64();
  report.refused = in.u64();
  for (uint32_t left = in.u32(); left > 0 && in.ok(); --left) report.surprises.emplace_back(in.string());
  for (uint32_t left = in.u32(); left > 0 && in.ok(); --left) {
    auto& entry = report.tree[std::string(in.string())];
    entry.type = static_cast<char>(in.u32());
    entry.content = in.string();
    entry.head = in.string();
    entry.size = in.u64();
    entry.first_name = in.string();
    set_class(entry, take_class(in));
  }
  for (uint32_t left = in.u32(); left > 0 && in.ok(); --left) {
    auto& classes = report.also[std::string(in.string())];
    for (uint32_t more = in.u32(); more > 0 && in.ok(); --more) classes.push_back(take_class(in));
  }
  if (!in.ok() || !in.at_end())
    throw std::runtime_error(
        fmt::format("the report of {} {} is incomplete", options.guest, role_name(options.role)));
  return report;
}

// The life of a chaos process, after fork.
[[noreturn]] void live(const ActorOptions& options, int report_fd) {
  ::prctl(PR_SET_PDEATHSIG, SIGKILL);
  struct sigaction stop {};
  stop.sa_handler = [](int) { time_to_stop = 1; };  // no SA_RESTART: an open that waits for a lease ends
  ::sigaction(SIGTERM, &stop, nullptr);
  try {
    Actor actor(options);
    std::mt19937 random(options.seed);
    while (!time_to_stop) {
      actor.act();
      if (options.pause_us > 0) ::usleep(static_cast<useconds_t>(random() % options.pause_us));
    }
    const std::string report = packed(actor.report());
    if (::write(report_fd, report.data(), report.size()) != static_cast<ssize_t>(report.size())) ::_exit(2);
  } catch (const std::exception& error) {
    std::fprintf(stderr, "chaos %s %s: %s\n", options.guest.c_str(), role_name(options.role), error.what());
    ::_exit(1);
  }
  ::_exit(0);
}

std::string content_of(int fd) {
  struct stat stat;
  ::fstat(fd, &stat);
  std::string bytes(static_cast<size_t>(stat.st_size), '\0');
  if (::pread(fd, bytes.data(), bytes.size(), 0) != static_cast<ssize_t>(bytes.size())) bytes.clear();
  return bytes;
}

bool inside(const std::string& path, const std::string& dir) {
  return dir.empty() ? !path.empty() : path.starts_with(dir + "/");
}

}  // namespace

const char* role_name(Role role) {
  constexpr const char* kNames[] = {"writer",         "mapper",   "holder", "renamer", "shapeshifter",
                                    "parent-swapper", "metadata", "forger", "namer",   "reader"};
  return kNames[static_cast<int>(role)];
}

Chaos::~Chaos() {
  for (const auto& one : running_) {
    ::kill(one.pid, SIGKILL);
    ::waitpid(one.pid, nullptr, 0);
    ::close(one.report_fd);
  }
}

void Chaos::start() {
  for (auto& options : pending_) {
    // The report stands in memory only the test can reach: no guest can forge it.
    const int fd = ::memfd_create("chaos report", MFD_CLOEXEC);
    std::fflush(nullptr);
    const pid_t pid = ::fork();
    if (pid == 0) live(options, fd);
    running_.push_back({pid, fd, options});
  }
  pending_.clear();
}

std::vector<ActorReport> Chaos::stop() {
  for (const auto& one : running_) ::kill(one.pid, SIGTERM);
  std::vector<ActorReport> reports;
  std::string died;
  for (const auto& one : running_) {
    int status = 0;
    ::waitpid(one.pid, &status, 0);
    const std::string bytes = content_of(one.report_fd);
    ::close(one.report_fd);
    if (!WIFEXITED(status) || WEXITSTATUS(status) != 0)
      died +=
          fmt::format("{} {} died: status {:#x}; ", one.options.guest, role_name(one.options.role), status);
    else
      reports.push_back(unpacked(bytes, one.options));
  }
  running_.clear();
  if (!died.empty()) throw std::runtime_error(died);
  return reports;
}

TreeSnapshot expected_tree(const TreeSnapshot& before, const std::string& guest,
                           const std::vector<ActorReport>& reports) {
  TreeSnapshot expected = before;
  for (const auto& report : reports) {
    if (report.options.guest != guest || report.options.role == Role::reader) continue;
    std::erase_if(expected, [&](const auto& one) { return inside(one.first, report.options.dir); });
    expected.insert(report.tree.begin(), report.tree.end());
  }
  for (auto& [path, entry] : expected)  // neither do snapshots have times of directories
    if (entry.type == 'd') entry.mtime_ns = TreeEntry::kAnyTime;
  return expected;
}

uint64_t settle_classes(TreeSnapshot& expected, const TreeSnapshot& actual, const std::string& guest,
                        const std::vector<ActorReport>& reports) {
  uint64_t settled = 0;
  for (const auto& report : reports)
    for (const auto& [path, classes] : report.also) {
      const auto found = actual.find(path);
      const auto wanted = expected.find(path);
      if (report.options.guest != guest || found == actual.end() || wanted == expected.end()) continue;
      const FileClass is = class_of(found->second);
      if (is == class_of(wanted->second) || std::find(classes.begin(), classes.end(), is) == classes.end())
        continue;
      set_class(wanted->second, is);
      ++settled;
    }
  return settled;
}

}  // namespace vs::test
