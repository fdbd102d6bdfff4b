#include "unify/holds.h"

#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <filesystem>

#include "core/durable/durable_file.h"
#include "core/process_start.h"

namespace vs::unify {
namespace {

std::string directory(const std::string& state_dir) {
  return state_dir + "/holds";
}
std::string file_of(const std::string& state_dir, const std::string& guest) {
  return directory(state_dir) + "/" + guest;
}

// "" when there is no such process.
std::string process_text(pid_t pid) {
  const uint64_t start = process_start(pid);
  return start == 0 ? "" : fmt::format("{} {}", pid, start);
}

}  // namespace

void hold_guest(const std::string& state_dir, const std::string& guest, std::optional<pid_t> process) {
  const std::string text = process ? process_text(*process) : "";
  if (process && text.empty()) throw Error(fmt::format("there is no process {}", *process), Exit::usage);
  value_or_throw(open_private_dir(directory(state_dir), true));
  ok_or_throw(write_durably(file_of(state_dir, guest), text));
}

void end_hold(const std::string& state_dir, const std::string& guest) {
  const std::string file = file_of(state_dir, guest);
  if (::unlink(file.c_str()) != 0 && errno != ENOENT) throw Error(problem_from_errno("remove", file).message);
}

bool is_held(const std::string& state_dir, const std::string& guest) {
  const auto text = read_whole(file_of(state_dir, guest), 64);
  if (!text) return text.error().code != ENOENT;  // one that cannot be read is one
  return text->empty() || process_text(static_cast<pid_t>(std::atoi(text->c_str()))) == *text;
}

std::vector<std::string> held_guests(const std::string& state_dir) {
  std::vector<std::string> held;
  std::error_code error;
  for (const auto& entry : std::filesystem::directory_iterator(directory(state_dir), error))
    if (is_held(state_dir, entry.path().filename())) held.push_back(entry.path().filename());
  std::sort(held.begin(), held.end());
  return held;
}

}  // namespace vs::unify
