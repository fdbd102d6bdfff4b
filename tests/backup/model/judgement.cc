#include "tests/backup/model/judgement.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/backup/backup_host.h"
#include "tests/support/temp_dir.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;

enum class Outcome { equal, refused, wrong };

// Without the name of the group of hard links, which changes when one of them is left out.
std::string without_links(const std::string& what) {
  return what.substr(0, what.find(" with "));
}

// What is there of a state of which some files were refused: nothing but what was in it.
std::string strangers(const Everything& expected, const Everything& actual) {
  for (const auto& [path, what] : actual) {
    const auto it = expected.find(path);
    if (it == expected.end()) return path + " was not in it";
    if (without_links(it->second) != without_links(what))
      return fmt::format("{}\n  was {}\n  is  {}", path, it->second, what);
  }
  return {};
}

class Session {
 public:
  Session(const Judge& judge, const Remembered& remembered) : judge_(judge), remembered_(remembered) {}

  std::vector<std::string> faults() {
    std::map<std::string, std::set<std::string>> by_stamp;
    for (const auto& [guest, stamps] : listed(judge_.set, faults_))
      for (const auto& stamp : stamps) by_stamp[stamp].insert(guest);
    for (const auto& [stamp, guests] : by_stamp) {
      // Both at once, which is quicker; where that does not work, each alone.
      if (guests.size() > 1 && restore(stamp, guests)) continue;
      for (const auto& guest : guests)
        if (!restore(stamp, {guest})) refused_.push_back(guest + "@" + stamp);
    }
    compare_with_check();
    return std::move(faults_);
  }

 private:
  std::vector<std::shared_ptr<const Everything>> known(const std::string& guest,
                                                       const std::string& stamp) const {
    const auto states = remembered_.find(guest);
    if (states == remembered_.end()) return {};
    const auto state = states->second.find(stamp);
    return state == states->second.end() ? decltype(state->second){} : state->second;
  }

  // True if all of it was given back (right or wrong).
  bool restore(const std::string& stamp, const std::set<std::string>& guests) {
    Command line{vbackup_path(), "restore", "--to", judge_.set, "--progress",
                 "never",        "-j",      "1",    "--target", judge_.scratch};
    for (const auto& guest : guests) line.push_back(guest + "@" + stamp);
    const RunResult result = run(line);
    const std::string what = fmt::format("restore {}@{}", fmt::join(guests, ","), stamp);
    expect_said(result, what, {0, 1, 2, 3}, faults_);
    if (result.exit_code == 0 || result.exit_code == 3)
      for (const auto& guest : guests) compare(guest, stamp, result);
    empty_tree(judge_.scratch);
    return result.exit_code == 0;
  }

  void compare(const std::string& guest, const std::string& stamp, const RunResult& result) {
    const std::string place = judge_.scratch + "/" + guest;
    if (!fs::exists(place))
      return faults_.push_back(fmt::format("{}@{}: nothing restored: {}", guest, stamp, shown(result)));
    Everything actual = everything_of({{guest, place}}, judge_.options);
    if (const std::string host = judge_.scratch + "/.host." + guest; fs::exists(host))
      for (const auto& entry : fs::recursive_directory_iterator(host))
        if (entry.is_regular_file()) add_host_file(entry.path(), actual);
    std::string wrong = "it never was";
    for (const auto& expected : known(guest, stamp)) {
      wrong = result.exit_code == 0 ? difference(*expected, actual) : strangers(*expected, actual);
      if (wrong.empty()) return;
    }
    faults_.push_back(
        fmt::format("{}@{}, exit {}: {}\n{}", guest, stamp, result.exit_code, wrong, result.err));
  }

  void compare_with_check() {
    const RunResult check =
        run({vbackup_path(), "check", "--to", judge_.set, "--progress", "never", "-j", "1"});
    expect_said(check, "check", {0, 1, 2}, faults_);
    if (check.exit_code == 0 && !refused_.empty())
      faults_.push_back(fmt::format("check says 0, and cannot be restored: {}", fmt::join(refused_, " ")));
    if (judge_.whole && (check.exit_code != 0 || !refused_.empty()))
      faults_.push_back(
          fmt::format("nothing was damaged, refused: {}; check: {}", fmt::join(refused_, " "), shown(check)));
  }

  const Judge& judge_;
  const Remembered& remembered_;
  std::vector<std::string> faults_, refused_;
};

}  // namespace

std::vector<std::string> Judge::faults(const Remembered& remembered) const {
  fs::create_directories(scratch);
  return Session(*this, remembered).faults();
}

void add_host_file(const std::string& file, Everything& all) {
  if (fs::exists(file)) all["the host's " + fs::path(file).filename().string()] = read_file(file);
}

void expect_said(const RunResult& result, const std::string& what, const std::vector<int>& codes,
                 std::vector<std::string>& faults) {
  const bool known = std::find(codes.begin(), codes.end(), result.exit_code) != codes.end();
  const bool silent = result.exit_code != 0 && result.err.empty() && result.out.empty();
  if (!known || silent) faults.push_back(what + ": " + shown(result));
}

std::map<std::string, std::vector<std::string>> listed(const std::string& set,
                                                       std::vector<std::string>& faults) {
  const RunResult list = run({vbackup_path(), "list", "--to", set, "--json", "--progress", "never"});
  expect_said(list, "list", {0, 2, 3}, faults);
  std::map<std::string, std::vector<std::string>> stamps;
  std::istringstream lines(list.out);
  for (std::string line; std::getline(lines, line);) {
    const auto json = nlohmann::json::parse(line);
    if (json.at("type") == "archive") stamps[json.at("guest")].push_back(json.at("stamp"));
  }
  return stamps;
}

}  // namespace vs::test
