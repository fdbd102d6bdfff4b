// What is asked wrongly is answered with exit code 2 (or what the contract says), a line that names it, and
// no change.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <filesystem>
#include <nlohmann/json.hpp>
#include <sstream>

#include "tests/support/inject.h"
#include "tests/support/skip.h"
#include "tests/support/test_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::AnyOf;
using testing::HasSubstr;
using testing::Not;
using testing::StartsWith;

// Two guests in a plain directory, store and state beside them: needs no loop filesystem.
class BadInputTest : public testing::Test {
 protected:
  BadInputTest() {
    for (const char* name : {"alpha", "beta"})
      guests_.emplace_back(name, dir_ / name,
                           std::vector<FakePackage>{shared_package("pkg", "usr/share/pkg", 4)});
    before_ = snapshot_of(dir_.path());
  }

  Command command(const std::string& verb, const Command& more) const {
    Command all{vunify_path(), verb, "--state", dir_ / "state", "--store", dir_ / ".unify"};
    all.insert(all.end(), more.begin(), more.end());
    return all;
  }
  RunResult vunify(const std::string& verb, const Command& more, const RunOptions& options = {}) const {
    return run(command(verb, more), options);
  }
  std::string tree(const std::string& name) const { return name + "=" + dir_ / name; }
  // Nothing at all, not even an empty store or state directory.
  std::string changes() const { return difference_text(before_, snapshot_of(dir_.path()), Links::exact); }
  void now_is_before() { before_ = snapshot_of(dir_.path()); }

  void refused(const RunResult& result, const std::string& named, int exit_code = 2) const {
    EXPECT_EQ(result.exit_code, exit_code) << shown(result);
    EXPECT_THAT(result.err, HasSubstr(named));
    EXPECT_EQ(result.out, "");
    EXPECT_EQ(changes(), "");
  }

  TempDir dir_;
  std::vector<FakeGuest> guests_;
  TreeSnapshot before_;
};

TEST_F(BadInputTest, UnknownVerbFlagOrValue) {
  refused(vunify("unfy", {"--tree", tree("alpha")}), "unfy");
  refused(run({vunify_path()}), "verb");
  refused(vunify("run", {"--tree", tree("alpha"), "--frobnicate"}), "--frobnicate");
  refused(vunify("run", {"--tree", tree("alpha"), "--guard", "rot13"}), "rot13");
  refused(vunify("run", {"--tree", tree("alpha"), "--guard", "bpf"}), "bpf");
  refused(vunify("run", {"--tree", tree("alpha"), "--guard", "iunlink"}), "iunlink");
  refused(vunify("run", {"--tree", tree("alpha"), "--scope", "everything"}), "everything");
  refused(vunify("run", {"--tree", tree("alpha"), "--jobs", "many"}), "many");
  refused(vunify("run", {"--tree", tree("alpha"), "--min-size", "-3"}), "min-size");
  refused(vunify("apply", {"--tree", tree("alpha")}), "PLAN");
  refused(vunify("undo", {"--tree", tree("alpha")}), "RUN");
  refused(vunify("release", {"--tree", tree("alpha")}), "GUEST");
}

TEST_F(BadInputTest, BadValuesFromTheEnvironmentNameTheVariable) {
  for (const auto& [variable, value] : std::map<std::string, std::string>{
           {"VS_JOBS", "many"}, {"VS_GUARD", "rot13"}, {"VS_SCOPE", "everything"}}) {
    RunOptions options;
    options.env[variable] = value;
    const auto result = vunify("run", {"--tree", tree("alpha")}, options);
    refused(result, value);
    EXPECT_THAT(result.err, HasSubstr(variable));
  }
}

TEST_F(BadInputTest, BadConfigurationNamesFileAndKey) {
  TempDir other;
  write_file(other / "c.conf", "scope = packages\nfrobnicate = 1\n");
  const auto unknown = vunify("run", {"--tree", tree("alpha"), "--config", other / "c.conf"});
  refused(unknown, "frobnicate");
  EXPECT_THAT(unknown.err, HasSubstr(other / "c.conf"));
  write_file(other / "c.conf", "guard = rot13\n");
  refused(vunify("run", {"--tree", tree("alpha"), "--config", other / "c.conf"}), "rot13");
  refused(vunify("run", {"--tree", tree("alpha"), "--config", other / "none.conf"}), other / "none.conf");
}

TEST_F(BadInputTest, FlagBeatsEnvironmentBeatsFile) {
  TempDir other;
  write_file(other / "c.conf", "scope = nonsense-from-file\n");
  RunOptions options;
  options.env["VS_SCOPE"] = "nonsense-from-environment";
  refused(vunify("scan", {"--tree", tree("alpha"), "--config", other / "c.conf"}, options),
          "nonsense-from-environment");
  refused(
      vunify("scan", {"--tree", tree("alpha"), "--config", other / "c.conf", "--scope", "nonsense-from-flag"},
             options),
      "nonsense-from-flag");
  refused(vunify("scan", {"--tree", tree("alpha"), "--config", other / "c.conf"}), "nonsense-from-file");
}

TEST_F(BadInputTest, TreesThatAreMissingFilesOrSymlinks) {
  refused(vunify("run", {"--tree", "x=" + dir_ / "none"}), dir_ / "none");
  fs::create_directory_symlink(dir_ / "alpha", dir_ / "link");
  write_file(dir_ / "file", "x");
  now_is_before();
  refused(vunify("run", {"--tree", "x=" + dir_ / "link"}), dir_ / "link");
  refused(vunify("run", {"--tree", "x=" + dir_ / "file"}), dir_ / "file");
  refused(vunify("run", {"--tree", "x"}), "NAME=DIR");
  refused(vunify("run", {"--tree", "=/tmp"}), "/tmp");
  refused(vunify("run", {"--tree", "../x=" + dir_ / "alpha"}), "../x");
  refused(vunify("run", {"--tree", "a\x1b[2J=" + dir_ / "alpha"}), "\\x1b");
}

TEST_F(BadInputTest, ATreeThatCannotBeRead) {
  if (::geteuid() == 0) {
    // Root reads everything: somebody else must ask.
    ::chmod((dir_ / "alpha").c_str(), 0700);
    now_is_before();
    const auto result = vunify("scan", {"--tree", tree("alpha")}, {.env = {}, .uid = 65534});
    EXPECT_THAT(result.exit_code, AnyOf(1, 2)) << shown(result);
    EXPECT_THAT(result.err, HasSubstr(dir_ / "alpha"));
    EXPECT_THAT(result.err, HasSubstr("Permission denied"));
    EXPECT_EQ(changes(), "");
  }
}

TEST_F(BadInputTest, WhoeverIsNotRootIsToldSo) {
  if (::geteuid() != 0) VS_SKIP(kRoot) << "needs root: to become somebody else";
  const auto result =
      vunify("run", {"--tree", tree("alpha"), "--tree", tree("beta")}, {.env = {}, .uid = 65534});
  EXPECT_EQ(result.exit_code, 1) << shown(result);
  EXPECT_THAT(result.err,
              AnyOf(HasSubstr("root"), HasSubstr("Permission denied"), HasSubstr("Operation not permitted")));
  EXPECT_EQ(changes(), "");
}

TEST_F(BadInputTest, TheHostsRootAsATree) {
  refused(vunify("run", {"--tree", "host=/"}), "host=/");
  refused(vunify("run", {"--tree", "host=/usr/.."}), "host=/usr/..");
  refused(vunify("run", {"--tree", "host=//"}), "host=//");
}

TEST_F(BadInputTest, TreesThatOverlapOrAreTheSame) {
  auto result = vunify("run", {"--tree", tree("alpha"), "--tree", "inner=" + dir_ / "alpha/usr"});
  refused(result, dir_ / "alpha/usr");
  EXPECT_THAT(result.err, HasSubstr("overlap"));
  refused(vunify("run", {"--tree", tree("alpha"), "--tree", "twice=" + dir_ / "alpha/"}), "same");
  refused(vunify("run", {"--tree", tree("alpha"), "--tree", "alpha=" + dir_ / "beta"}), "alpha");
  refused(vunify("run", {"--tree", tree("alpha"), "--tree", "all=" + dir_.path()}), "overlap");
}

TEST_F(BadInputTest, AGuestMayBeNamedAfterATree) {
  const auto result = vunify("scan", {"--tree", tree("alpha"), "--tree", tree("beta"), "beta"});
  EXPECT_EQ(result.exit_code, 0) << shown(result);
  const auto two = vunify(
      "scan", {"--exclude", "opt/**", "alpha", "beta", "--tree", tree("alpha"), "--tree", tree("beta")});
  EXPECT_EQ(two.exit_code, 0) << shown(two);
}

TEST_F(BadInputTest, UnknownGuestRunOrPath) {
  refused(vunify("scan", {"--tree", tree("alpha"), "nobody"}), "nobody");
  refused(vunify("release", {"--tree", tree("alpha"), "nobody"}), "nobody");
  const auto undone = vunify("undo", {"--tree", tree("alpha"), "20990101T000000Z-1"});
  EXPECT_THAT(undone.exit_code, AnyOf(1, 2)) << shown(undone);
  EXPECT_THAT(undone.err, HasSubstr("20990101T000000Z-1"));
  const auto outside = vunify("explain", {"--tree", tree("alpha"), "alpha", "../beta/etc/shadow"});
  EXPECT_THAT(outside.exit_code, AnyOf(1, 2, 3)) << shown(outside);
  EXPECT_THAT(outside.err + outside.out, HasSubstr("../beta/etc/shadow"));
  const auto absent = vunify("explain", {"--tree", tree("alpha"), "alpha", "/no/such/file"});
  EXPECT_THAT(absent.exit_code, AnyOf(1, 2, 3)) << shown(absent);
  EXPECT_THAT(absent.err + absent.out, HasSubstr("no/such/file"));
  EXPECT_EQ(changes(), "");
}

TEST_F(BadInputTest, ARunIdThatIsAPathOpensNothing) {
  for (const char* id : {"../../etc/shadow", "/etc/shadow", "..", ""}) {
    const auto result = vunify("undo", {"--tree", tree("alpha"), id});
    EXPECT_THAT(result.exit_code, AnyOf(1, 2)) << id << ": " << shown(result);
    EXPECT_EQ(changes(), "");
  }
}

TEST_F(BadInputTest, PackageDatabasesOfGarbageAreNamedAndTheirGuestLeftAlone) {
  if (::geteuid() != 0) VS_SKIP(kRoot) << "needs root: runs to the end";
  const std::pair<const char*, std::string> databases[] = {
      {"var/lib/dpkg/status", std::string(5000, '\xff')},
      {"var/lib/dpkg/status", "Package\n\n\0\0 garbage"},
      {"var/lib/rpm/rpmdb.sqlite", "SQLite format 3" + std::string(200, '\x42')},
      {"usr/lib/sysimage/rpm/Packages.db", "RpmP" + std::string(200, '\x42')},
      {"var/lib/rpm/Packages", std::string(4096, '\x61')},
  };
  for (const auto& [path, bytes] : databases) {
    remove_tree(dir_ / "alpha");
    FakeGuest fresh("alpha", dir_ / "alpha", {shared_package("pkg", "usr/share/pkg", 4)});
    fs::remove_all(dir_ / "alpha/var/lib/dpkg");
    write_file(dir_ / (std::string("alpha/") + path), bytes);
    now_is_before();
    const auto before = snapshot_of(dir_ / "alpha");
    const auto result = vunify("scan", {"--tree", tree("alpha"), "--tree", tree("beta")});
    EXPECT_THAT(result.exit_code, AnyOf(0, 3)) << path << ": " << shown(result);
    EXPECT_THAT(result.err, HasSubstr(path));
    EXPECT_THAT(result.err, HasSubstr("alpha"));
    EXPECT_EQ(difference_text(before, snapshot_of(dir_ / "alpha"), Links::exact), "") << path;
  }
}

// Without its database nothing is known of a guest's files: not even, in scope all, which are configuration.
TEST_F(BadInputTest, NothingIsLinkedInAGuestWhosePackageDatabaseIsGarbage) {
  if (::geteuid() != 0) VS_SKIP(kRoot) << "needs root: runs to the end";
  FakeGuest("gamma", dir_ / "gamma", {shared_package("pkg", "usr/share/pkg", 4)});
  write_file(dir_ / "alpha/var/lib/dpkg/status", "what\nis\nthis\n");
  const auto before = snapshot_of(dir_ / "alpha");
  const auto result = vunify("run", {"--scope", "all", "--tree", tree("alpha"), "--tree", tree("beta"),
                                     "--tree", "gamma=" + dir_ / "gamma"});
  EXPECT_EQ(result.exit_code, 3) << shown(result);
  EXPECT_THAT(result.err, HasSubstr("alpha: package database var/lib/dpkg/status: line 1: expected"));
  EXPECT_THAT(result.err, HasSubstr("unknown_packages"));
  EXPECT_EQ(difference_text(before, snapshot_of(dir_ / "alpha"), Links::exact), "");
  struct stat stat;
  ASSERT_EQ(::stat((dir_ / "gamma/usr/share/pkg/pkg-0").c_str(), &stat), 0);
  EXPECT_EQ(stat.st_nlink, 3U) << "the others share: a master, beta and gamma";
  remove_tree(dir_ / ".unify");
}

TEST_F(BadInputTest, APathThatIsNotThereIsNotExplained) {
  const auto none = vunify("explain", {"--tree", tree("alpha"), "alpha", "/no/such/file"});
  EXPECT_EQ(none.exit_code, 1) << shown(none);
  EXPECT_THAT(none.err, HasSubstr("no/such/file"));
  const auto some =
      vunify("explain", {"--tree", tree("alpha"), "alpha", "usr/share/pkg/pkg-0", "/no/such/file"});
  EXPECT_EQ(some.exit_code, 3) << shown(some);
  EXPECT_THAT(some.out, HasSubstr("pkg-0"));
  EXPECT_THAT(some.err, HasSubstr("no/such/file"));
}

TEST_F(BadInputTest, PlansThatAreNoPlans) {
  const std::string plan = dir_ / "plan";
  const auto made = vunify("plan", {"--tree", tree("alpha"), "--tree", tree("beta"), "-o", plan});
  if (::geteuid() != 0 && made.exit_code != 0) VS_SKIP(kRoot) << "needs root: makes a plan";
  ASSERT_EQ(made.exit_code, 0) << shown(made);
  const std::string good = read_file(plan);
  ASSERT_GE(std::count(good.begin(), good.end(), '\n'), 3) << good;
  const auto line_end = good.find('\n'), last_line = good.rfind('\n', good.size() - 2) + 1;
  const std::pair<const char*, std::string> bad[] = {
      {"empty", ""},
      {"no JSON", "hello\n"},
      {"torn in a line", good.substr(0, good.size() / 2)},
      {"without trailer", good.substr(0, last_line)},
      {"without header", good.substr(line_end + 1)},
      {"a group twice", good.substr(0, last_line) + good.substr(line_end + 1)},
      {"bytes after the end", good + "{}\n"},
      {"bytes of nothing", std::string(good.size(), '\0')},
      {"deep nesting", std::string(100'000, '[')},
      {"null header", "null\n" + good.substr(line_end + 1)},
  };
  for (const auto& [what, text] : bad) {
    write_file(plan, text);
    now_is_before();
    const auto result = vunify("apply", {"--tree", tree("alpha"), "--tree", tree("beta"), plan});
    EXPECT_THAT(result.exit_code, AnyOf(1, 2, 4)) << what << ": " << shown(result);
    EXPECT_THAT(result.err, HasSubstr(plan)) << what;
    EXPECT_EQ(changes(), "") << what;
  }
  const auto missing = vunify("apply", {"--tree", tree("alpha"), dir_ / "none"});
  EXPECT_THAT(missing.exit_code, AnyOf(1, 2)) << shown(missing);
  EXPECT_THAT(missing.err, HasSubstr(dir_ / "none"));
}

// An edited plan must not reach out of the trees, nor past the rules.
TEST_F(BadInputTest, APlanWhosePathsLeaveTheTreeIsRefused) {
  if (::geteuid() != 0) VS_SKIP(kRoot) << "needs root: applies a plan";
  const std::string plan = dir_ / "plan";
  ASSERT_EQ(vunify("plan", {"--tree", tree("alpha"), "--tree", tree("beta"), "-o", plan}).exit_code, 0);
  const std::string good = read_file(plan);
  write_fake_file(dir_.path(), {"outside/usr/share/pkg/pkg-0", tagged_bytes("package=pkg file=0", 700)});
  ASSERT_NE(good.find("usr/share/pkg/pkg-0"), std::string::npos) << good;
  for (const char* path :
       {"../outside/usr/share/pkg/pkg-0", "/usr/share/pkg/../../../../outside/usr/share/pkg/pkg-0",
        "usr/share/pkg/../../../etc/shadow", ""}) {
    std::string bad = good;
    bad.replace(bad.find("usr/share/pkg/pkg-0"), std::string("usr/share/pkg/pkg-0").size(), path);
    write_file(plan, bad);
    now_is_before();
    const auto result = vunify("apply", {"--tree", tree("alpha"), "--tree", tree("beta"), plan});
    EXPECT_THAT(result.exit_code, AnyOf(1, 2, 3, 4)) << path << ": " << shown(result);
    EXPECT_EQ(difference_text(before_, snapshot_of(dir_.path()), Links::may_merge).find("outside"),
              std::string::npos)
        << path;
    struct stat stat;
    ::stat((dir_ / "outside/usr/share/pkg/pkg-0").c_str(), &stat);
    EXPECT_EQ(stat.st_nlink, 1U) << path;
  }
}

// Where the mount point is, and whether a tree or the store lies in another tree, is found by going up. A
// directory that cannot be opened then is not the top.
TEST_F(BadInputTest, ADirectoryThatCannotBeOpenedOnTheWayUpIsNotTheTop) {
  VS_STOP_IF(injection_impossible());
  const Command words = command("scan", {"--tree", tree("alpha"), "--tree", tree("beta")});
  const auto ups = call_ordinals(words, "openat", {"\"..\""});
  ASSERT_GT(ups.size(), 6U);
  for (const unsigned at : ups) {
    const auto result = run(with_injection(words, "openat", "error=EIO", std::to_string(at)));
    EXPECT_EQ(result.exit_code, 1) << at << ": " << shown(result);
    EXPECT_THAT(result.err, HasSubstr("open the directory above /")) << at;
    EXPECT_THAT(result.err, HasSubstr("Input/output error")) << at;
  }
  EXPECT_EQ(changes(), "");
}

TEST_F(BadInputTest, APlanOfAnotherHostIsStale) {
  if (::geteuid() != 0) VS_SKIP(kRoot) << "needs root: applies a plan";
  const std::string plan = dir_ / "plan";
  ASSERT_EQ(vunify("plan", {"--tree", tree("alpha"), "--tree", tree("beta"), "-o", plan}).exit_code, 0);
  const std::string good = read_file(plan);
  auto header = nlohmann::json::parse(good.substr(0, good.find('\n')));
  ASSERT_TRUE(header.contains("host")) << header.dump();
  header["host"] = "00000000000000000000000000000000";
  write_file(plan, header.dump() + good.substr(good.find('\n')));
  now_is_before();
  refused(vunify("apply", {"--tree", tree("alpha"), "--tree", tree("beta"), plan}), "host", 4);
}

TEST_F(BadInputTest, TreesOnSeveralFilesystemsAreNamed) {
  VS_NEEDS_FILESYSTEM("ext4");
  LoopFilesystem filesystem("ext4", 0);
  const FakeGuest far("far", filesystem.path() + "/far", {shared_package("pkg", "usr/share/pkg", 4)});
  const auto far_before = snapshot_of(far.root());
  const auto result = run({vunify_path(), "run", "--state", dir_ / "state", "--tree", tree("alpha"), "--tree",
                           "far=" + far.root()});
  EXPECT_THAT(result.exit_code, AnyOf(1, 2)) << shown(result);
  EXPECT_THAT(result.err, HasSubstr("alpha"));
  EXPECT_THAT(result.err, HasSubstr("far"));
  EXPECT_EQ(changes(), "");
  EXPECT_EQ(difference_text(far_before, snapshot_of(far.root()), Links::exact), "");
  EXPECT_FALSE(fs::exists(filesystem.path() + "/.unify"));
}

TEST_F(BadInputTest, ADryRunSaysOnlyWhatIsKnown) {
  if (::geteuid() != 0) VS_SKIP(kRoot) << "needs root";
  const auto result = vunify("run", {"-n", "--tree", tree("alpha"), "--tree", tree("beta")});
  EXPECT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_THAT(result.out, HasSubstr("would link"));
  EXPECT_THAT(result.out, Not(HasSubstr("masters hold")));
  EXPECT_THAT(result.out, Not(HasSubstr("linked now")));
}

TEST_F(BadInputTest, VerbsThatOnlyLookWriteNothing) {
  if (::geteuid() != 0) VS_SKIP(kRoot) << "needs root";
  for (const Command& words :
       {Command{"scan"}, Command{"plan"}, Command{"run", "-n"}, Command{"report"}, Command{"status"},
        Command{"check"}, Command{"explain", "alpha", "usr/share/pkg/pkg-0"},
        Command{"release", "-n", "alpha"}, Command{"gc", "-n"}, Command{"recover", "-n"}}) {
    Command more(words.begin() + 1, words.end());
    more.insert(more.end(), {"--tree", tree("alpha"), "--tree", tree("beta")});
    const auto result = vunify(words[0], more);
    EXPECT_EQ(result.exit_code, 0) << words[0] << ": " << shown(result);
    // What was learned may be remembered in the state directory; the guests and the pool must not show it.
    remove_tree(dir_ / "state");
    EXPECT_EQ(changes(), "") << words[0];
  }
}

TEST_F(BadInputTest, HelpOfEachVerbEndsWithExitCodesAndAnExample) {
  const auto help = run({vunify_path(), "--help"});
  EXPECT_EQ(help.exit_code, 0) << shown(help);
  for (const char* verb : {"scan", "plan", "apply", "run", "status", "report", "explain", "check", "release",
                           "undo", "recover", "gc"}) {
    EXPECT_THAT(help.out, HasSubstr(verb));
    const auto one = run({vunify_path(), verb, "--help"});
    EXPECT_EQ(one.exit_code, 0) << shown(one);
    EXPECT_THAT(one.out, HasSubstr("xit code")) << verb;
    EXPECT_THAT(one.out, HasSubstr("vunify " + std::string(verb))) << verb;
    EXPECT_EQ(one.err, "") << verb;
  }
}

}  // namespace
}  // namespace vs::test
