#include "tests/support/attack.h"

#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>

namespace vs::test {
namespace {

namespace fs = std::filesystem;

constexpr Role kRoles[] = {Role::writer,       Role::mapper,   Role::holder, Role::renamer,
                           Role::shapeshifter, Role::metadata, Role::namer};

std::string home_of(Role role) {
  return std::string("usr/share/") + role_name(role);
}
constexpr const char* kFlipHome = "usr/lib/flip";

std::vector<FakePackage> packages_under_attack() {
  std::vector<FakePackage> packages;
  for (const Role role : kRoles) packages.push_back(shared_package(role_name(role), home_of(role), 8));
  packages.push_back(shared_package("flip-a", std::string(kFlipHome) + "/a", 5));
  packages.push_back(shared_package("flip-b", std::string(kFlipHome) + "/b", 5));
  packages.push_back(shared_package("quiet", "usr/share/quiet", 12));
  auto& odd = packages[6].files;  // a package may ship any name but one with a line break
  odd.push_back(
      {home_of(Role::namer) + "/" + std::string(255, 'L'), tagged_bytes("package=namer long", 5000)});
  odd.push_back(
      {home_of(Role::namer) + "/\x1b[31mred\x1b]0;title\x07", tagged_bytes("package=namer red", 5000)});
  return packages;
}

// Inode, links, ctime and atime: a chmod, a link or a read of what is outside shows here even after it was
// undone.
std::vector<std::string> identity_of(const std::string& root) {
  std::vector<std::string> lines;
  for (const auto& entry : fs::recursive_directory_iterator(root)) {
    struct stat stat;
    ::lstat(entry.path().c_str(), &stat);
    lines.push_back(fmt::format("{} ino {} links {} ctime {}.{} atime {}.{}", entry.path().string(),
                                stat.st_ino, stat.st_nlink, stat.st_ctim.tv_sec, stat.st_ctim.tv_nsec,
                                stat.st_atim.tv_sec, stat.st_atim.tv_nsec));
  }
  std::sort(lines.begin(), lines.end());
  return lines;
}

}  // namespace

AttackHost::AttackHost(const std::string& filesystem, uint32_t seed, const std::string& scope) : seed_(seed) {
  HostOptions options;
  options.filesystem = filesystem;
  options.guests = {"alpha", "beta", "delta", "gamma"};
  options.packages = packages_under_attack();
  options.scope = scope;
  options.mebibytes = 512;
  options.prepare = [](const FakeGuest& guest) {
    make_deep_tree(guest.root(), "opt/deep", tagged_bytes("deep", 5000));
    // The same size and mtime as everybody's, other bytes: what a tool that trusts both would mix up.
    FakeFile local{"usr/share/quiet/quiet-2", tagged_bytes("guest=" + guest.name() + " local", 10'000)};
    if (guest.name() == "delta") write_fake_file(guest.root(), local);
  };
  host_ = std::make_unique<TestHost>(options);
  make_outside();
  for (const char* hostile : {"alpha", "beta"}) add_actors(hostile);
  for (const char* quiet : {"delta", "gamma"})
    chaos_.add({quiet, host_->guest(quiet).root(), "", Role::reader, seed * 100 + 99, {}, {}, 500});
}

// The names and bytes that stand in the directories which the swappers replace by symlinks to here, so that a
// tool that follows one finds what it looks for.
void AttackHost::make_outside() {
  for (const char* dir : {"/a", "/b"})
    for (const auto& package : packages_under_attack())
      for (auto file : package.files)
        if (file.path.starts_with(std::string(kFlipHome) + dir)) {
          file.path = fs::path(file.path).filename();
          write_fake_file(outside(), file);
        }
  write_file(secret(), "the host's own");
  write_fake_file(outside(), {"canary", tagged_bytes("the host's own", 4096)});
  write_fake_file(
      outside(),
      {"status", "Package: canary\nStatus: install ok installed\nVersion: 1\nArchitecture: amd64\n\n"});
}

void AttackHost::add_actors(const std::string& guest) {
  const std::string root = host_->guest(guest).root();
  const std::string victim = host_->guest("gamma").root();
  const std::vector<std::string> files = {secret(),
                                          outside() + "/canary",
                                          "../../../../outside/canary",
                                          victim + "/usr/share/quiet/quiet-0",
                                          "../../../../gamma/etc/shadow",
                                          "/dev/zero",
                                          "/proc/self/mem"};
  const std::vector<std::string> dirs = {outside(), "../../../../../outside", victim + "/usr/lib/flip/a",
                                         "/etc", "/proc/1/root/etc"};
  uint32_t number = guest == "alpha" ? 0 : 50;
  for (const Role role : kRoles)
    chaos_.add({guest, root, home_of(role), role, seed_ * 100 + ++number, files, dirs});
  chaos_.add({guest, root, kFlipHome, Role::parent_swapper, seed_ * 100 + ++number, files, dirs});
  chaos_.add({guest,
              root,
              "var/lib/dpkg",
              Role::forger,
              seed_ * 100 + ++number,
              files,
              {outside(), victim + "/var/lib/dpkg/info"},
              3000});
}

void AttackHost::start() {
  before_ = host_->snapshots();
  outside_before_ = snapshot_of(outside());
  outside_identity_ = identity_of(outside());
  if (!OpenWatch::impossible()) {
    watch_ = std::make_unique<OpenWatch>();
    watch_->tree(outside());
    watch_->file(secret());
  }
  chaos_.start();
}

AttackOutcome AttackHost::stop(const std::function<void()>& when_quiet) {
  AttackOutcome outcome;
  const auto reports = chaos_.stop();
  if (when_quiet) when_quiet();
  std::map<std::string, std::pair<uint64_t, uint64_t>> by_role;
  for (const auto& report : reports) {
    outcome.done += report.done;
    outcome.refused += report.refused;
    by_role[role_name(report.options.role)].first += report.done;
    by_role[role_name(report.options.role)].second += report.refused;
    for (const auto& line : report.surprises) outcome.trouble += "\n" + line;
  }
  for (const auto& [role, counts] : by_role)
    outcome.by_role += fmt::format("{} {}/{} ", role, counts.first, counts.second);

  // Look at who touched the outside first: comparing reads it, too.
  if (watch_)
    for (const auto& line : watch_->opened()) outcome.trouble += "\noutside: " + line;
  if (const auto now = identity_of(outside()); now != outside_identity_)
    for (size_t i = 0; i < std::min(now.size(), outside_identity_.size()); ++i)
      if (now[i] != outside_identity_[i])
        outcome.trouble += "\noutside: " + outside_identity_[i] + " -> " + now[i];
  outcome.trouble += difference_text(outside_before_, snapshot_of(outside()), Links::exact);

  for (size_t i = 0; i < host_->guests().size(); ++i) {
    const auto& guest = host_->guests()[i];
    const auto actual = snapshot_of(guest.root());
    auto expected = expected_tree(before_[i], guest.name(), reports);
    outcome.put_back += settle_classes(expected, actual, guest.name(), reports);
    if (const auto text = difference_text(expected, actual, Links::may_merge); !text.empty())
      outcome.trouble += "\nguest " + guest.name() + ":" + text;
  }
  return outcome;
}

}  // namespace vs::test
