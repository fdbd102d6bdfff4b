#include "unify/typed_path.h"

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <filesystem>

#include "tests/core/scratch.h"

namespace vs::unify {
namespace {

namespace fs = std::filesystem;

// A guest with a merged /usr, beside something that is not the guest's.
class TypedPathTest : public testing::Test {
 protected:
  TypedPathTest() {
    unit::write_file(guest("usr/bin/ls"), "ls");
    unit::write_file(guest("usr/lib/x/libx.so"), "x");
    unit::write_file(dir_ / "outside/secret", "s");
    fs::create_directory_symlink("usr/bin", guest("bin"));
    fs::create_directory_symlink("/usr/lib", guest("lib"));
    fs::create_symlink("ls", guest("usr/bin/dir"));
  }
  std::string guest(const std::string& path) const { return dir_ / ("pool/a/" + path); }
  void link(const std::string& target, const std::string& at) const { fs::create_symlink(target, guest(at)); }

  Expected<TypedPath> resolve(const std::string& given, LastSymlink last = LastSymlink::follow) const {
    return resolve_typed_path(RootDir(dir_ / "pool/a"), given, last);
  }
  // Where it is, or the number of the error.
  std::string where(const std::string& given, LastSymlink last = LastSymlink::follow) const {
    const auto found = resolve(given, last);
    return found ? found->path : fmt::format("errno {}", found.error().code);
  }
  static std::string no(int code) { return fmt::format("errno {}", code); }

  const unit::ScratchDir dir_;
};

TEST_F(TypedPathTest, KnowsAFileByEachWayToWriteIt) {
  for (const char* given :
       {"usr/bin/ls", "/usr/bin/ls", "bin/ls", "/bin/ls", "//bin//ls", "./usr/bin/ls", "usr/./bin/ls",
        "usr/lib/../bin/ls", "/../usr/bin/ls", "/lib/../bin/ls", "usr/bin/dir"})
    EXPECT_EQ(where(given), "usr/bin/ls") << given;
  EXPECT_EQ(where("/lib/x/libx.so"), "usr/lib/x/libx.so");
  EXPECT_EQ(resolve("/bin/ls")->stat.ino, unit::ino_of(guest("usr/bin/ls")));
}

TEST_F(TypedPathTest, KnowsDirectoriesAndTheRoot) {
  for (const char* given : {"", ".", "/", "//", "./."}) EXPECT_EQ(where(given), "") << given;
  EXPECT_EQ(where("/bin"), "usr/bin");
  EXPECT_EQ(where("lib/"), "usr/lib");
}

TEST_F(TypedPathTest, KnowsAHostPathOfTheTree) {
  EXPECT_EQ(where(guest("bin/ls")), "usr/bin/ls");
  EXPECT_EQ(where(guest("")), "");
  EXPECT_EQ(where("/" + guest("./usr//bin/ls")), "usr/bin/ls");
  // The administrator's own symlinks are the host's to resolve.
  fs::create_directory_symlink(dir_ / "pool", dir_ / "shortcut");
  const RootDir root(dir_ / "shortcut/a");
  for (const std::string& given : {dir_ / "shortcut/a/bin/ls", guest("bin/ls")}) {
    const auto found = resolve_typed_path(root, given, LastSymlink::follow);
    EXPECT_EQ(found ? found->path : found.error().message, "usr/bin/ls") << given;
  }
  // A tree whose name only begins alike is another one.
  EXPECT_EQ(where(dir_ / "pool/ab/bin/ls"), no(ENOENT));
}

TEST_F(TypedPathTest, NamesWhatIsNotThere) {
  EXPECT_EQ(where("/usr/bin/none"), no(ENOENT));
  EXPECT_EQ(where("usr/bin/ls/below"), no(ENOTDIR));
  const auto none = resolve("/usr/bin/none");
  EXPECT_NE(none.error().message.find("/usr/bin/none"), std::string::npos) << none.error().message;
}

TEST_F(TypedPathTest, KeepsTheLastSymlinkWhereItIsWhatIsAskedAbout) {
  EXPECT_EQ(where("/bin/dir", LastSymlink::keep), "usr/bin/dir");
  EXPECT_TRUE(S_ISLNK(resolve("/bin/dir", LastSymlink::keep)->stat.mode));
}

TEST_F(TypedPathTest, SymlinksOfAGuestLeadNowhereElse) {
  link("../../../../../../outside/secret", "usr/up");
  link(dir_ / "outside", "usr/out");
  EXPECT_EQ(where("usr/up"), no(ENOENT));
  EXPECT_EQ(where("usr/out/secret"), no(ENOENT));
  EXPECT_EQ(where("../../outside/secret"), no(ENOENT));
  // A guest path that looks like one of the host is one of the guest.
  unit::write_file(guest("outside/secret"), "mine");
  EXPECT_EQ(where("usr/up"), "outside/secret");
  EXPECT_EQ(resolve("usr/up")->stat.ino, unit::ino_of(guest("outside/secret")));
}

TEST_F(TypedPathTest, GivesUpOnLoopsAndOnChainsWithoutEnd) {
  link("loop", "loop");
  EXPECT_EQ(where("loop"), no(ELOOP));
  link("usr/bin/ls", "chain0");
  for (int i = 1; i <= kMaxSymlinks; ++i) link(fmt::format("chain{}", i - 1), fmt::format("chain{}", i));
  EXPECT_EQ(where(fmt::format("chain{}", kMaxSymlinks - 1)), "usr/bin/ls");
  EXPECT_EQ(where(fmt::format("chain{}", kMaxSymlinks)), no(ELOOP));
  std::string detour;
  while (detour.size() < 4000) detour += "../";
  for (int i = 0; i < 10; ++i) link(fmt::format("{}detour{}", detour, i + 1), fmt::format("detour{}", i));
  EXPECT_EQ(where("detour0"), no(ELOOP));
}

TEST_F(TypedPathTest, TellsWhatIsBelow) {
  const TypedPath bin = *resolve("/bin"), root = *resolve("/");
  EXPECT_TRUE(is_at_or_below("usr/bin/ls", bin));
  EXPECT_TRUE(is_at_or_below("usr/bin", bin));
  EXPECT_FALSE(is_at_or_below("usr/binary", bin));
  EXPECT_TRUE(is_at_or_below("anything", root));
}

}  // namespace
}  // namespace vs::unify
