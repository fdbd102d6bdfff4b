// Who may include whom: the table of CONTRIBUTING.md ("Layers"), compared with every #include in the tree.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <functional>
#include <map>
#include <set>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

// --- The table --------------------------------------------------------------------------------------------

// What the files of one folder may include of ours, beside those of the folder itself. Folders are compared
// whole: a file of "unify/plan" is not one of "unify". A folder that ends in '/' stands for all that is below
// it as well. Each row may include rows above it only.
struct Layer {
  std::string_view folder;
  std::vector<std::string_view> may;
};
const std::vector<Layer> kLayers = {
    // core/tree and core/durable stand on core's plain files (error, unique_fd); cli and guest_freezer in
    // core use them in turn.
    {"core", {"core/tree", "core/durable"}},
    {"core/tree", {"core"}},
    {"core/durable", {"core", "core/tree"}},
    {"core/store", {"core", "core/tree", "core/durable"}},

    {"unify/scan", {"core/"}},
    // What package managers recorded, without a word of what it is used for.
    {"unify/packages", {"core/"}},
    // Numbers in, text out.
    {"unify/report", {"core/"}},
    {"unify/plan", {"core/", "unify/scan", "unify/packages"}},
    {"unify/change", {"core/", "unify/scan", "unify/packages", "unify/plan"}},
    {"unify", {"core/", "unify/scan", "unify/packages", "unify/plan", "unify/change", "unify/report"}},
    {"unify/cli", {"core/", "unify/"}},

    {"backup/source", {"core/"}},
    {"backup/archive", {"core/", "backup/source"}},
    {"backup", {"core/", "backup/source", "backup/archive"}},
    {"backup/restore", {"core/", "backup", "backup/source", "backup/archive"}},
    {"backup/mount", {"core/", "backup/source", "backup/archive", "backup/restore"}},
    {"backup/cli", {"core/", "backup/"}},

    {"isolation/confine", {"core/"}},
    {"isolation/bpf", {"core/"}},
    {"isolation/context", {"core/", "isolation/confine"}},
    {"isolation/network", {"core/", "isolation/bpf", "isolation/context"}},
    {"isolation/trees", {"core/", "isolation/context"}},
    {"isolation/vserver",
     {"core/", "isolation/confine", "isolation/bpf", "isolation/context", "isolation/network",
      "isolation/trees"}},
    {"isolation/reboot", {"core/", "isolation/context", "isolation/vserver"}},
    {"isolation/tools", {"core/", "isolation/"}},

    {"tests/", {""}},  // anything
    {"bench/", {""}},
};

// Headers of other projects and the only files that may include them; those of tests and bench may include
// any.
struct ThirdParty {
  std::string_view header;  // beginning of its name
  std::vector<std::string_view> only_in;
};
const std::vector<ThirdParty> kThirdParty = {
    {"rpm/", {"unify/packages/rpm_reader.cc"}},
    {"lmdb.h", {"core/durable/lmdb_file.cc"}},
    {"openssl/", {"unify/packages/hasher.cc", "backup/source/digest.cc"}},
    {"xxhash.h",
     {"core/seeded_hash.cc", "core/store/file_class.cc", "core/store/store.cc", "core/durable/record_log.cc",
      "unify/packages/hasher.cc", "unify/packages/package_cache.cc", "unify/packages/recorded_dirs.cc",
      "unify/packages/rpm_database.cc"}},
    {"CLI/", {"core/cli.cc", "unify/cli/vdu_main.cc"}},
    {"seccomp.h", {"unify/packages/sandbox.cc", "isolation/confine/syscall_filter.cc"}},
    {"sys/capability.h", {"unify/packages/sandbox.cc", "isolation/confine/capabilities.cc"}},
    {"e2p/", {"core/store/inode_flags.cc"}},
    {"ext2fs/", {"core/store/inode_flags.cc"}},
    {"archive", {"backup/archive/archive_reader.cc"}},
    {"zstd.h", {"backup/archive/compressor.cc"}},
    {"fuse", {"backup/mount/fuse_session.cc"}},
    // Used widely, but not by headers: who includes ours does not get theirs.
    {"tbb/", {".cc"}},
    {"nlohmann/json_fwd.hpp", {".cc", ".h"}},  // declarations only
    {"nlohmann/", {".cc"}},
    {"fmt/", {".cc", "unify/report/svg_plot.h"}},  // its add() is a template over fmt's
    // Only tests and benchmarks.
    {"gtest/", {}},
    {"gmock/", {}},
    {"benchmark/", {}},
};

// Headers with a '.' that come with the system; those of C++ have none.
constexpr std::string_view kSystemDirs[] = {"sys/", "linux/", "asm/", "net/", "netinet/", "arpa/"};
constexpr std::string_view kSystem[] = {
    "alloca.h", "dirent.h",  "errno.h",  "fcntl.h",  "fnmatch.h", "ftw.h",   "getopt.h",  "glob.h",
    "grp.h",    "ifaddrs.h", "malloc.h", "limits.h", "netdb.h",   "poll.h",  "pthread.h", "pwd.h",
    "sched.h",  "signal.h",  "spawn.h",  "stddef.h", "stdint.h",  "stdio.h", "stdlib.h",  "string.h",
    "syslog.h", "termios.h", "time.h",   "unistd.h", "utime.h"};

// --- Reading and judging ----------------------------------------------------------------------------------

struct Include {
  std::string file;  // relative to the root of the tree
  size_t line = 0;
  std::string header;
  bool quoted = false;  // "..." and not <...>
};

std::vector<Include> includes_in(const std::string& file, std::istream& text) {
  std::vector<Include> found;
  size_t number = 0;
  for (std::string line; std::getline(text, line);) {
    ++number;
    std::istringstream words(line);
    char hash = 0;
    std::string directive;
    if (!(words >> hash) || hash != '#' || !(words >> directive) || !directive.starts_with("include"))
      continue;
    const size_t open = line.find_first_of("<\"");
    const size_t close =
        open == std::string::npos ? open : line.find(line[open] == '<' ? '>' : '"', open + 1);
    const bool whole = close != std::string::npos;
    found.push_back(
        {file, number, whole ? line.substr(open + 1, close - open - 1) : line, whole && line[open] == '"'});
  }
  return found;
}

bool begins_with_one_of(std::string_view text, const auto& beginnings) {
  return std::any_of(std::begin(beginnings), std::end(beginnings),
                     [&](std::string_view one) { return text.starts_with(one); });
}

bool is_system(std::string_view header) {
  return header.find('.') == std::string_view::npos || begins_with_one_of(header, kSystemDirs) ||
         std::find(std::begin(kSystem), std::end(kSystem), header) != std::end(kSystem);
}

std::string_view folder_of(std::string_view file) {
  return file.substr(0, file.rfind('/'));
}

// Is `file` in this folder ("unify"), or below it where it is written with a '/' at the end ("unify/")? "" is
// everywhere.
bool is_in(std::string_view file, std::string_view folder) {
  return folder.empty() || folder.ends_with('/') ? file.starts_with(folder) : folder_of(file) == folder;
}

// Why this include must not be; "" if it may.
std::string judge_own(const Include& include) {
  for (const Layer& layer : kLayers) {
    if (!is_in(include.file, layer.folder)) continue;
    const bool may = is_in(include.header, layer.folder) ||
                     std::any_of(layer.may.begin(), layer.may.end(),
                                 [&](std::string_view folder) { return is_in(include.header, folder); });
    return may ? "" : std::string(layer.folder) + " may not include \"" + include.header + "\"";
  }
  return "no layer is known for this folder; add it to the table";
}

std::string judge_foreign(const Include& include) {
  const std::string header = "<" + include.header + ">";
  const bool of_tests = include.file.starts_with("tests/") || include.file.starts_with("bench/");
  for (const ThirdParty& row : kThirdParty) {
    if (!include.header.starts_with(row.header)) continue;
    const bool allowed =
        of_tests || std::any_of(row.only_in.begin(), row.only_in.end(), [&](std::string_view place) {
          return place.starts_with('.') ? include.file.ends_with(place) : include.file == place;
        });
    return allowed ? "" : header + " belongs in other files: see the table";
  }
  if (is_system(include.header) || of_tests) return "";
  return header + " is no header we know; add it to the table with the one file that may include it";
}

std::string judge(const Include& include) {
  const std::string why = include.quoted ? judge_own(include) : judge_foreign(include);
  return why.empty() ? "" : include.file + ":" + std::to_string(include.line) + ": " + why;
}

std::vector<std::string> violations(const std::vector<Include>& includes) {
  std::vector<std::string> found;
  for (const Include& include : includes)
    if (auto why = judge(include); !why.empty()) found.push_back(std::move(why));
  return found;
}

std::vector<std::string> violations_of(const std::string& file, const std::string& text) {
  std::istringstream stream(text);
  return violations(includes_in(file, stream));
}

std::vector<Include> includes_of_the_tree() {
  const fs::path root = VS_SOURCE_DIR;
  std::vector<Include> all;
  for (const char* wing : {"core", "unify", "backup", "isolation", "tests", "bench"}) {
    for (const auto& entry : fs::recursive_directory_iterator(root / wing)) {
      const auto extension = entry.path().extension();
      if (!entry.is_regular_file() || (extension != ".cc" && extension != ".h" && extension != ".c"))
        continue;
      std::ifstream text(entry.path());
      const auto some = includes_in(fs::relative(entry.path(), root).string(), text);
      all.insert(all.end(), some.begin(), some.end());
    }
  }
  return all;
}

// --- Tests ------------------------------------------------------------------------------------------------

TEST(LayeringTest, EveryIncludeOfTheTreeKeepsToTheTable) {
  const auto includes = includes_of_the_tree();
  ASSERT_GT(includes.size(), 100u) << "where is the tree? " << VS_SOURCE_DIR;
  EXPECT_THAT(violations(includes), IsEmpty());
}

TEST(LayeringTest, EveryIncludeOfOursIsAPathFromTheRoot) {
  for (const Include& include : includes_of_the_tree()) {
    if (!include.quoted) continue;
    EXPECT_TRUE(fs::exists(fs::path(VS_SOURCE_DIR) / include.header))
        << include.file << ":" << include.line << ": " << include.header;
  }
}

TEST(LayeringTest, EveryFolderAndFileNamedInTheTablesExists) {
  for (const Layer& layer : kLayers)
    EXPECT_TRUE(fs::is_directory(fs::path(VS_SOURCE_DIR) / layer.folder)) << layer.folder;
  for (const ThirdParty& row : kThirdParty)
    for (const std::string_view file : row.only_in)
      EXPECT_TRUE(file.starts_with('.') || fs::exists(fs::path(VS_SOURCE_DIR) / file))
          << file << " is named for <" << row.header << "> and does not exist";
}

// Each cycle is shown once, as the way around it: "a.h -> b.h -> a.h". An include by foo.cc counts as one by
// foo.h: the two are one idea.
std::vector<std::string> cycles_of(const std::vector<Include>& includes) {
  std::map<std::string, std::set<std::string>> uses;
  const auto idea = [](const std::string& file) { return file.substr(0, file.rfind('.')); };
  for (const Include& include : includes)
    if (include.quoted && idea(include.file) != idea(include.header))
      uses[idea(include.file)].insert(idea(include.header));
  std::vector<std::string> found, way;
  std::map<std::string, int> state;  // 1: on the way here, 2: done
  const std::function<void(const std::string&)> visit = [&](const std::string& file) {
    state[file] = 1;
    way.push_back(file);
    for (const std::string& next : uses[file]) {
      if (state[next] == 0) visit(next);
      if (state[next] != 1) continue;
      std::string cycle;
      for (auto at = std::find(way.begin(), way.end(), next); at != way.end(); ++at) cycle += *at + " -> ";
      found.push_back(cycle + next);
    }
    way.pop_back();
    state[file] = 2;
  };
  std::vector<std::string> files;
  for (const auto& [file, unused] : uses) files.push_back(file);
  for (const std::string& file : files)
    if (state[file] == 0) visit(file);
  return found;
}

TEST(LayeringTest, NoFilesIncludeEachOtherInACircle) {
  std::vector<Include> own;
  for (Include& include : includes_of_the_tree())
    if (!include.file.starts_with("tests/") && !include.file.starts_with("bench/"))
      own.push_back(std::move(include));
  EXPECT_THAT(cycles_of(own), IsEmpty());
}

TEST(LayeringTest, SeesACircleAlsoWhereACcFileClosesIt) {
  std::vector<Include> includes{{"core/a.h", 1, "core/b.h", true},
                                {"core/b.cc", 1, "core/c.h", true},
                                {"core/c.h", 1, "core/a.h", true}};
  EXPECT_THAT(cycles_of(includes), ElementsAre("core/a -> core/b -> core/c -> core/a"));
  includes.pop_back();
  EXPECT_THAT(cycles_of(includes), IsEmpty());
}

TEST(LayeringTest, SeesASiblingIncludedFromCore) {
  EXPECT_THAT(violations_of("core/x.cc", "\n#include \"unify/plan/index.h\"\n"),
              ElementsAre("core/x.cc:2: core may not include \"unify/plan/index.h\""));
  EXPECT_THAT(violations_of("core/tree/x.cc", "#include \"core/store/lease.h\""), testing::SizeIs(1));
}

TEST(LayeringTest, SeesWingsThatKnowEachOther) {
  EXPECT_THAT(violations_of("isolation/trees/x.cc", "#include \"unify/plan/index.h\""), testing::SizeIs(1));
  EXPECT_THAT(violations_of("backup/x.cc", "#include \"unify/scan/scanner.h\""), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/x.cc", "#include \"isolation/context/mounts.h\""), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/x.cc", "#include \"tests/support/host.h\""), testing::SizeIs(1));
}

TEST(LayeringTest, SeesAFolderThatReachesUp) {
  EXPECT_THAT(violations_of("unify/scan/scanner.cc", "#include \"unify/packages/package_index.h\""),
              testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/packages/rpm_reader.cc", "#include \"unify/plan/index.h\""),
              testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/packages/rpm_reader.cc", "#include \"unify/packages/sandbox.h\""),
              IsEmpty());
  EXPECT_THAT(violations_of("unify/plan/verify.cc", "#include \"unify/change/linker.h\""),
              testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/change/linker.cc", "#include \"unify/unify.h\""), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/new_folder/x.cc", "#include \"core/log.h\""), testing::SizeIs(1));
}

TEST(LayeringTest, SeesALibraryOutsideOfItsOneFile) {
  EXPECT_THAT(violations_of("core/store/store.cc", "#include <lmdb.h>"), testing::SizeIs(1));
  EXPECT_THAT(violations_of("core/durable/lmdb_file.cc", "#include <lmdb.h>"), IsEmpty());
  EXPECT_THAT(violations_of("unify/plan/index.h", "#include <tbb/parallel_for.h>"), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/plan/index.cc", "#include <boost/any.hpp>"), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/plan/index.cc", "#include <gtest/gtest.h>"), testing::SizeIs(1));
  EXPECT_THAT(violations_of("tests/unify/x.cc", "#include <lmdb.h>"), IsEmpty());
}

TEST(LayeringTest, ReadsIncludesHoweverTheyAreSpaced) {
  EXPECT_THAT(violations_of("core/x.cc", "  #  include  \"unify/plan/index.h\"  // no"), testing::SizeIs(1));
  EXPECT_THAT(violations_of("core/x.cc", "// #include \"unify/plan/index.h\"\n#define include"), IsEmpty());
}

}  // namespace
