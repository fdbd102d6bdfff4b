// "Only core/store takes the seal off a shared file": read off the sources.
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <iterator>
#include <set>

namespace vs {
namespace {

namespace fs = std::filesystem;

// Other files that change these attributes, each for a reason that has nothing to do with masters.
const std::set<std::string> kMayToo = {
    // Directories that a guest's administrator sealed, so that the tree can be deleted.
    "isolation/trees/tree.cc",
    // What vbackup itself restored, in a directory that no guest uses yet.
    "backup/restore/remove_below.cc",
    // Gives a restored file the attributes that it had; takes none off.
    "backup/source/inode_details.cc",
    // Forbids guests the call; makes none.
    "isolation/confine/syscall_filter.cc",
};

// Does the call `name(...)` stand in the text, with `word` before its end?
bool calls(const std::string& text, const std::string& name, const std::string& word) {
  for (size_t at = text.find(name); at != std::string::npos; at = text.find(name, at + 1))
    if (text.substr(at, text.find(';', at) - at).find(word) != std::string::npos) return true;
  return false;
}

bool takes_seals_off(const std::string& text) {
  return calls(text, "change_inode_flags(", "false") || text.find("FS_IOC_SETFLAGS") != std::string::npos ||
         text.find("guard.unseal(") != std::string::npos ||
         text.find("guard_.unseal(") != std::string::npos ||
         text.find("guard->unseal(") != std::string::npos ||
         text.find("guard_->unseal(") != std::string::npos;
}

std::set<std::string> files_that_unseal() {
  std::set<std::string> found;
  const fs::path root = VS_SOURCE_DIR;
  for (const char* wing : {"core", "unify", "backup", "isolation"})
    for (const auto& entry : fs::recursive_directory_iterator(root / wing)) {
      const std::string file = fs::relative(entry.path(), root).string();
      if (!(file.ends_with(".cc") || file.ends_with(".h")) || file.starts_with("core/store/")) continue;
      std::ifstream stream(entry.path());
      const std::string text{std::istreambuf_iterator<char>(stream), {}};
      if (takes_seals_off(text)) found.insert(file);
    }
  return found;
}

TEST(OnlyTheStoreUnsealsTest, NobodyElseTakesTheSealOffASharedFile) {
  for (const auto& file : files_that_unseal())
    EXPECT_TRUE(kMayToo.contains(file)) << file << " takes seals off: use core/store/unsealed_window.h";
}

TEST(OnlyTheStoreUnsealsTest, TheExceptionsAreNeeded) {
  const auto found = files_that_unseal();
  for (const auto& file : kMayToo) EXPECT_TRUE(found.contains(file)) << file << " takes no seal off any more";
}

TEST(OnlyTheStoreUnsealsTest, SeesACallHoweverItIsWritten) {
  EXPECT_TRUE(takes_seals_off("change_inode_flags(fd,\n  kImmutableFlag, false, shown)"));
  EXPECT_TRUE(takes_seals_off("if (auto done = input.guard.unseal(fd, shown); !done)"));
  EXPECT_TRUE(takes_seals_off("guard_->unseal(fd, shown)"));
  EXPECT_TRUE(takes_seals_off("::ioctl(fd, FS_IOC_SETFLAGS, &flags)"));
  EXPECT_FALSE(takes_seals_off("change_inode_flags(fd, kImmutableFlag, true, shown)"));
  EXPECT_FALSE(takes_seals_off("work.window->unseal_again()"));
}

}  // namespace
}  // namespace vs
