#include "backup/source/lvm_volume.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <spawn.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/full_read.h"
#include "core/unique_fd.h"

namespace vs::backup {
namespace {

constexpr size_t kUuidLetters = 32;
constexpr const char* kColumns =
    "vg_name,lv_name,lv_uuid,lv_size,vg_extent_size,vg_free,segtype,lv_kernel_minor,origin_uuid";

std::string with_dashes(std::string_view letters) {
  std::string out;
  size_t at = 0;
  for (const size_t group : {6u, 4u, 4u, 4u, 4u, 4u, 6u}) {
    out += (out.empty() ? "" : "-") + std::string(letters.substr(at, group));
    at += group;
  }
  return out;
}

std::string contents(int fd) {
  std::string text;
  char buffer[4096];
  for (;;) {
    const ssize_t got = pread_full(fd, buffer, sizeof buffer, text.size());
    if (got <= 0) return text;
    text.append(buffer, static_cast<size_t>(got));
  }
}

std::string last_line(std::string text) {
  while (!text.empty() && (text.back() == '\n' || text.back() == ' ')) text.pop_back();
  text.erase(0, text.rfind('\n') + 1);
  text.erase(0, std::min(text.find_first_not_of(' '), text.size()));
  return escaped(text);
}

// Their own words for who reads a child's output; a group of its own.
struct Spawn {
  posix_spawn_file_actions_t files;
  posix_spawnattr_t attributes;
  Spawn(int out, int err) {
    ::posix_spawn_file_actions_init(&files);
    ::posix_spawn_file_actions_addopen(&files, STDIN_FILENO, "/dev/null", O_RDONLY, 0);
    ::posix_spawn_file_actions_adddup2(&files, out, STDOUT_FILENO);
    ::posix_spawn_file_actions_adddup2(&files, err, STDERR_FILENO);
    ::posix_spawnattr_init(&attributes);
    ::posix_spawnattr_setflags(&attributes, POSIX_SPAWN_SETPGROUP);
  }
  ~Spawn() {
    ::posix_spawn_file_actions_destroy(&files);
    ::posix_spawnattr_destroy(&attributes);
  }
};

}  // namespace

std::optional<LvmIds> lvm_ids(std::string_view mapper_uuid) {
  constexpr std::string_view kPrefix = "LVM-";
  if (!mapper_uuid.starts_with(kPrefix) || mapper_uuid.size() != kPrefix.size() + 2 * kUuidLetters)
    return std::nullopt;
  mapper_uuid.remove_prefix(kPrefix.size());
  const auto letter = [](char c) {
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'z') || (c >= 'A' && c <= 'Z');
  };
  if (!std::all_of(mapper_uuid.begin(), mapper_uuid.end(), letter)) return std::nullopt;
  return LvmIds{with_dashes(mapper_uuid.substr(0, kUuidLetters)),
                with_dashes(mapper_uuid.substr(kUuidLetters))};
}

std::optional<uint64_t> LvmVolume::reserve_extents(uint64_t percent) const {
  if (extent_bytes == 0) return std::nullopt;
  const auto extents = [&](uint64_t hundredths) {
    return std::max<uint64_t>(1, (bytes / extent_bytes * hundredths + 99) / 100);
  };
  const uint64_t free = group_free_bytes / extent_bytes;
  if (free < extents(1)) return std::nullopt;
  return std::min(extents(percent), free);
}

Expected<std::vector<LvmVolume>> parse_lvs(const std::string& text) {
  try {
    std::vector<LvmVolume> volumes;
    const auto json = nlohmann::json::parse(text);
    for (const auto& row : json.at("report").at(0).at("lv")) {
      const auto word = [&](const char* key) { return row.at(key).get<std::string>(); };
      const auto number = [&](const char* key) {
        return word(key).empty() ? int64_t{-1} : std::stoll(word(key));
      };
      LvmVolume volume{word("vg_name"),           word("lv_name"),           word("lv_uuid"),    0, 0, 0,
                       word("segtype") == "thin", number("lv_kernel_minor"), word("origin_uuid")};
      volume.bytes = static_cast<uint64_t>(std::max<int64_t>(0, number("lv_size")));
      volume.extent_bytes = static_cast<uint64_t>(std::max<int64_t>(0, number("vg_extent_size")));
      volume.group_free_bytes = static_cast<uint64_t>(std::max<int64_t>(0, number("vg_free")));
      // A volume of several segments has a row for each.
      if (volumes.empty() || volumes.back().uuid != volume.uuid) volumes.push_back(std::move(volume));
    }
    return volumes;
  } catch (const std::exception& error) {
    return Problem{EPROTO, std::string("what lvs printed makes no sense: ") + error.what()};
  }
}

Expected<std::vector<LvmVolume>> lvm_volumes(const std::string& selection) {
  const auto text = run_lvm(
      {"lvs", "--reportformat", "json", "--units", "b", "--nosuffix", "-o", kColumns, "-S", selection});
  if (!text) return text.error();
  return parse_lvs(*text);
}

Expected<std::string> run_lvm(const std::vector<std::string>& words) {
  const UniqueFd out(::memfd_create("lvm-stdout", MFD_CLOEXEC)),
      err(::memfd_create("lvm-stderr", MFD_CLOEXEC));
  if (!out || !err) return problem_from_errno("make room for the output of", "lvm");
  std::vector<char*> argv{const_cast<char*>("lvm")}, environment;
  for (const auto& word : words) argv.push_back(const_cast<char*>(word.c_str()));
  argv.push_back(nullptr);
  for (char** variable = environ; *variable != nullptr; ++variable)
    if (!std::string_view(*variable).starts_with("LC_") && !std::string_view(*variable).starts_with("LANG"))
      environment.push_back(*variable);
  environment.push_back(const_cast<char*>("LC_ALL=C"));
  environment.push_back(nullptr);
  const Spawn spawn(out.get(), err.get());
  pid_t pid = 0;
  int error = ::posix_spawnp(&pid, "lvm", &spawn.files, &spawn.attributes, argv.data(), environment.data());
  if (error == ENOENT)
    error = ::posix_spawn(&pid, "/sbin/lvm", &spawn.files, &spawn.attributes, argv.data(),
                          environment.data());  // cron's PATH lacks it
  if (error != 0) return problem_from(error, "run", "lvm (package lvm2)");
  int status = 0;
  while (::waitpid(pid, &status, 0) < 0)
    if (errno != EINTR) return problem_from_errno("wait for", "lvm " + words.front());
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) return contents(out.get());
  return Problem{EIO,
                 fmt::format("lvm {} {}: {}", words.front(),
                             WIFSIGNALED(status) ? fmt::format("was killed by signal {}", WTERMSIG(status))
                                                 : fmt::format("ended with status {}", WEXITSTATUS(status)),
                             last_line(contents(err.get())))};
}

}  // namespace vs::backup
