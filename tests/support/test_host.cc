#include "tests/support/test_host.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>
#include <stdexcept>

namespace vs::test {

namespace fs = std::filesystem;

std::string vunify_path() {
  const char* chosen = std::getenv("VS_VUNIFY");
  return chosen != nullptr ? chosen : VS_BINARY_DIR "/vunify";
}

TestHost::TestHost(HostOptions options)
    : options_(std::move(options)),
      filesystem_(options_.filesystem, options_.mebibytes, options_.mkfs_options) {
  reset();
}

void TestHost::reset() {
  guests_.clear();
  empty_tree(pool());
  remove_tree(state());
  for (const auto& name : options_.guests) {
    guests_.emplace_back(name, pool() + "/" + name, options_.packages);
    if (options_.prepare) options_.prepare(guests_.back());
  }
}

const FakeGuest& TestHost::guest(const std::string& name) const {
  for (const auto& guest : guests_)
    if (guest.name() == name) return guest;
  throw std::logic_error("no guest " + name);
}

std::vector<std::string> TestHost::trace_marks() const {
  std::vector<std::string> marks{pool(), state(), "</.unify"};
  for (const auto& guest : guests_) marks.push_back("</" + guest.name());
  return marks;
}

Command TestHost::command(const std::string& verb, const Command& more) const {
  Command command{vunify_path(), verb};
  command.insert(command.end(), more.begin(), more.end());
  command.insert(command.end(), {"--state", state(), "--progress", "never"});
  for (const auto& guest : guests_) {
    command.push_back("--tree");
    command.push_back(guest.name() + "=" + guest.root());
  }
  if (options_.scope != "packages") command.insert(command.end(), {"--scope", options_.scope});
  return command;
}

RunResult TestHost::vunify(const std::string& verb, const Command& more, const RunOptions& options) const {
  return run(command(verb, more), options);
}

std::vector<TreeSnapshot> TestHost::snapshots() const {
  std::vector<TreeSnapshot> all;
  for (const auto& guest : guests_) all.push_back(snapshot_of(guest.root()));
  return all;
}

std::string TestHost::changes_since(const std::vector<TreeSnapshot>& before, Links links) const {
  std::string text;
  for (size_t i = 0; i < guests_.size(); ++i)
    if (const auto lines = difference_text(before[i], snapshot_of(guests_[i].root()), links); !lines.empty())
      text += "\nguest " + guests_[i].name() + ":" + lines;
  return text;
}

std::vector<std::string> TestHost::masters() const {
  std::vector<std::string> found;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(store() + "/masters", error))
    if (entry.is_regular_file()) found.push_back(entry.path());
  std::sort(found.begin(), found.end());
  return found;
}

std::vector<std::string> TestHost::store_defects() const {
  std::vector<std::string> defects;
  std::error_code error;
  for (const auto& entry : fs::recursive_directory_iterator(store() + "/staging", error))
    defects.push_back("left in staging: " + entry.path().string());
  if (seals())
    for (const auto& master : masters())
      if (!is_immutable(master)) defects.push_back("not sealed: " + master);
  struct stat stat;
  if (::stat(store().c_str(), &stat) == 0 && (stat.st_mode & 077) != 0)
    defects.push_back(fmt::format("{} is open to others: mode {:o}", store(), stat.st_mode & 07777));
  std::sort(defects.begin(), defects.end());
  return defects;
}

uint64_t TestHost::sealed_names() const {
  uint64_t count = 0;
  for (const auto& guest : guests_)
    for (auto it = fs::recursive_directory_iterator(guest.root()); it != fs::recursive_directory_iterator();
         ++it) {
      const auto& entry = *it;
      if (entry.path().native().size() > 3500)
        it.disable_recursion_pending();  // a path of PATH_MAX comes next
      if (entry.symlink_status().type() == fs::file_type::regular && is_immutable(entry.path())) ++count;
    }
  return count;
}

std::string TestHost::trouble_after_recovery(const std::vector<TreeSnapshot>& before) const {
  const auto failed = [](const std::string& what, const RunResult& result) {
    return "\n" + what + ": " + shown(result);
  };
  std::string trouble;
  const auto bytes_kept = [&](const std::string& when) {
    if (const auto changes = changes_since(before); !changes.empty()) trouble += "\n" + when + changes;
    for (const auto& defect : store_defects()) trouble += "\n" + when + ": " + defect;
  };
  if (const auto recovered = vunify("recover"); recovered.exit_code != 0)
    trouble += failed("recover", recovered);
  bytes_kept("after recover");
  if (const auto checked = vunify("check"); checked.exit_code != 0) trouble += failed("check", checked);
  if (const auto again = vunify("run"); again.exit_code != 0) trouble += failed("the next run", again);
  bytes_kept("after the next run");
  return trouble;
}

uint64_t summary_number(const RunResult& result, const std::string& key) {
  std::istringstream lines(result.out);
  std::string line, last;
  while (std::getline(lines, line))
    if (!line.empty()) last = line;
  const auto summary = nlohmann::json::parse(last, nullptr, false);
  return summary.is_object() && summary.contains(key) && summary[key].is_number()
             ? summary[key].get<uint64_t>()
             : 0;
}

}  // namespace vs::test
