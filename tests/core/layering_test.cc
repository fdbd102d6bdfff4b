// Who may include whom: the table of CONTRIBUTING.md ("Layers"), compared with every #include in the tree.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>
#include <array>
#include <filesystem>
#include <fstream>
#include <sstream>
#include <string>
#include <string_view>
#include <vector>

namespace {

namespace fs = std::filesystem;
using testing::ElementsAre;
using testing::IsEmpty;

// --- The table --------------------------------------------------------------------------------------------

// What files beginning with `from` may include of ours, beside files beginning with `from` themselves. The first row that
// fits a file counts, so narrower layers stand above the wing they are part of.
struct Layer {
  std::vector<std::string_view> from;
  std::vector<std::string_view> may;
};
const std::vector<Layer> kLayers = {
    {{"core/"}, {}},
    // vs::scan, which backup uses as well.
    {{"unify/scanner.", "unify/file_table."}, {"core/"}},
    // vs::packages: what package managers recorded, without a word of what it is used for.
    {{"unify/package_", "unify/dpkg_", "unify/rpm_", "unify/ndb_", "unify/sandbox.", "unify/database_file.",
      "unify/recorded_dirs.", "unify/trouble_log.", "unify/hex_digest."},
     {"core/"}},
    // vs_report: numbers in, text out.
    {{"unify/savings", "unify/history.", "unify/disk_usage.", "unify/report_text.", "unify/text_table.",
      "unify/html_parts.", "unify/svg_plot.", "unify/inode_counter."}, {"core/"}},
    {{"unify/"}, {"core/", "kernel-patch/include/uapi/"}},
    {{"isolation/"}, {"core/", "kernel-patch/include/uapi/"}},
    {{"backup/"}, {"core/", "unify/scanner.h", "unify/file_table.h"}},
    {{"kernel-patch/"}, {}},
    {{"tests/", "bench/"}, {""}},  // anything
};

// Headers of other projects and the only files that may include them; those of tests and bench may include any.
struct ThirdParty {
  std::string_view header;  // beginning of its name
  std::vector<std::string_view> only_in;
};
const std::vector<ThirdParty> kThirdParty = {
    {"rpm/", {"unify/rpm_reader.cc"}},
    {"lmdb.h", {"unify/index.cc", "backup/inode_index.cc"}},
    {"openssl/", {"unify/hasher.cc", "backup/digest.cc"}},
    {"xxhash.h", {"core/file_class.cc", "core/record_log.cc", "unify/hasher.cc", "unify/package_cache.cc", "unify/recorded_dirs.cc", "unify/rpm_database.cc"}},
    {"CLI/", {"core/cli.cc", "unify/vdu_main.cc"}},
    {"seccomp.h", {"unify/sandbox.cc", "isolation/syscall_filter.cc"}},
    {"sys/capability.h", {"unify/sandbox.cc", "isolation/capabilities.cc"}},
    {"e2p/", {"core/inode_flags.cc"}},
    {"ext2fs/", {"core/inode_flags.cc"}},
    {"archive", {"backup/archive_reader.cc"}},
    {"zstd.h", {"backup/compressor.cc"}},
    // Used widely, but not by headers: who includes ours does not get theirs.
    {"tbb/", {".cc"}},
    {"nlohmann/json_fwd.hpp", {".cc", ".h"}},  // declarations only
    {"nlohmann/", {".cc"}},
    {"fmt/", {".cc", "unify/svg_plot.h"}},  // its add() is a template over fmt's
    // Only tests and benchmarks.
    {"gtest/", {}},
    {"gmock/", {}},
    {"benchmark/", {}},
};

// Headers with a '.' that come with the system; those of C++ have none.
constexpr std::string_view kSystemDirs[] = {"sys/", "linux/", "asm/", "net/", "netinet/", "arpa/"};
constexpr std::string_view kSystem[] = {
    "alloca.h", "dirent.h", "errno.h",  "fcntl.h",  "fnmatch.h", "ftw.h",    "getopt.h", "glob.h",   "grp.h",    "ifaddrs.h", "malloc.h",
    "limits.h", "netdb.h", "poll.h",   "pthread.h", "pwd.h",   "sched.h",   "signal.h", "spawn.h",  "stddef.h", "stdint.h",
    "stdio.h",  "stdlib.h", "string.h", "syslog.h", "termios.h", "time.h",   "unistd.h", "utime.h"};

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
    if (!(words >> hash) || hash != '#' || !(words >> directive) || !directive.starts_with("include")) continue;
    const size_t open = line.find_first_of("<\"");
    const size_t close = open == std::string::npos ? open : line.find(line[open] == '<' ? '>' : '"', open + 1);
    const bool whole = close != std::string::npos;
    found.push_back({file, number, whole ? line.substr(open + 1, close - open - 1) : line, whole && line[open] == '"'});
  }
  return found;
}

bool begins_with_one_of(std::string_view text, const auto& beginnings) {
  return std::any_of(std::begin(beginnings), std::end(beginnings), [&](std::string_view one) { return text.starts_with(one); });
}

bool is_system(std::string_view header) {
  return header.find('.') == std::string_view::npos || begins_with_one_of(header, kSystemDirs) ||
         std::find(std::begin(kSystem), std::end(kSystem), header) != std::end(kSystem);
}

// Why this include must not be; "" if it may.
std::string judge_own(const Include& include) {
  for (const Layer& layer : kLayers) {
    if (!begins_with_one_of(include.file, layer.from)) continue;
    if (begins_with_one_of(include.header, layer.from) || begins_with_one_of(include.header, layer.may)) return "";
    return std::string(layer.from.front()) + "* may not include \"" + include.header + "\"";
  }
  return "no layer is known for this file; add it to the table";
}

std::string judge_foreign(const Include& include) {
  const std::string header = "<" + include.header + ">";
  const bool of_tests = include.file.starts_with("tests/") || include.file.starts_with("bench/");
  for (const ThirdParty& row : kThirdParty) {
    if (!include.header.starts_with(row.header)) continue;
    const bool allowed = of_tests || std::any_of(row.only_in.begin(), row.only_in.end(), [&](std::string_view place) {
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
  for (const char* wing : {"core", "unify", "backup", "isolation", "kernel-patch", "tests", "bench"}) {
    if (!fs::is_directory(root / wing)) continue;
    for (const auto& entry : fs::recursive_directory_iterator(root / wing)) {
      const auto extension = entry.path().extension();
      if (!entry.is_regular_file() || (extension != ".cc" && extension != ".h" && extension != ".c")) continue;
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
    EXPECT_TRUE(fs::exists(fs::path(VS_SOURCE_DIR) / include.header)) << include.file << ":" << include.line << ": " << include.header;
  }
}

TEST(LayeringTest, EveryFileNamedInTheTableExistsOrItsWingDoesNotYet) {
  for (const ThirdParty& row : kThirdParty)
    for (const std::string_view file : row.only_in) {
      const fs::path path = fs::path(VS_SOURCE_DIR) / file;
      if (file.starts_with('.') || !fs::exists(path.parent_path())) continue;
      EXPECT_TRUE(fs::exists(path)) << file << " is named for <" << row.header << "> and does not exist";
    }
}

TEST(LayeringTest, SeesASiblingIncludedFromCore) {
  EXPECT_THAT(violations_of("core/x.cc", "\n#include \"unify/store.h\"\n"), ElementsAre("core/x.cc:2: core/* may not include \"unify/store.h\""));
}

TEST(LayeringTest, SeesWingsThatKnowEachOther) {
  EXPECT_THAT(violations_of("isolation/x.cc", "#include \"unify/store.h\""), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/x.cc", "#include \"isolation/mounts.h\""), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/x.cc", "#include \"tests/support/host.h\""), testing::SizeIs(1));
}

TEST(LayeringTest, LetsBackupUseTheScannerAndNothingElseOfUnify) {
  EXPECT_THAT(violations_of("backup/x.cc", "#include \"unify/scanner.h\"\n#include \"unify/file_table.h\"\n#include \"core/log.h\"\n"), IsEmpty());
  EXPECT_THAT(violations_of("backup/x.cc", "#include \"unify/package_index.h\""), testing::SizeIs(1));
}

TEST(LayeringTest, KeepsTheScannerAndThePackageReadersBelowTheRestOfUnify) {
  EXPECT_THAT(violations_of("unify/scanner.cc", "#include \"unify/package_index.h\""), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/rpm_reader.cc", "#include \"unify/store.h\""), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/rpm_reader.cc", "#include \"unify/sandbox.h\""), IsEmpty());
}

TEST(LayeringTest, SeesALibraryOutsideOfItsOneFile) {
  EXPECT_THAT(violations_of("unify/store.cc", "#include <lmdb.h>"), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/index.cc", "#include <lmdb.h>"), IsEmpty());
  EXPECT_THAT(violations_of("unify/index.h", "#include <tbb/parallel_for.h>"), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/index.cc", "#include <boost/any.hpp>"), testing::SizeIs(1));
  EXPECT_THAT(violations_of("unify/index.cc", "#include <gtest/gtest.h>"), testing::SizeIs(1));
  EXPECT_THAT(violations_of("tests/unify/x.cc", "#include <lmdb.h>"), IsEmpty());
}

TEST(LayeringTest, ReadsIncludesHoweverTheyAreSpaced) {
  EXPECT_THAT(violations_of("core/x.cc", "  #  include  \"unify/store.h\"  // no"), testing::SizeIs(1));
  EXPECT_THAT(violations_of("core/x.cc", "// #include \"unify/store.h\"\n#define include"), IsEmpty());
}

}  // namespace
