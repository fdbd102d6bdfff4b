#include "unify/packages/dpkg_reader.h"

#include <gmock/gmock.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <atomic>
#include <thread>

#include "tests/support/skip.h"
#include "tests/unify/packages/guest_tree.h"
#include "unify/packages/database_file.h"

namespace vs::unify {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;
using testing::Not;

const std::string kMd5 = "d41d8cd98f00b204e9800998ecf8427e";
const std::string kOtherMd5 = "00000000000000000000000000000001";

class DpkgReaderTest : public testing::Test {
 protected:
  DpkgReaderTest() {
    guest_.dir("usr/bin");
    guest_.dir("etc");
    guest_.dir("var/lib/dpkg/info");
    guest_.dir("var/lib/dpkg/updates");
  }
  std::string entry(const std::string& name, const std::string& more = "",
                    const std::string& state = "install ok installed") {
    return "Package: " + name + "\nStatus: " + state + "\nArchitecture: amd64\nVersion: 1\n" + more + "\n";
  }
  void status(const std::string& text) { guest_.file("var/lib/dpkg/status", text); }
  void info(const std::string& name, const std::string& text) {
    guest_.file("var/lib/dpkg/info/" + name, text);
  }
  // Package "tool" with one file.
  void tool() {
    status(entry("tool"));
    info("tool.list", "/.\n/usr\n/usr/bin\n/usr/bin/tool\n");
    info("tool.md5sums", kMd5 + "  usr/bin/tool\n");
  }
  const PackageFile* find(const std::string& path) {
    troubles_.clear();
    index_ = load_packages(guest_.root(), std::nullopt, troubles_);
    return look_up(index_, guest_, path);
  }
  std::string troubles() const { return all(troubles_); }

  GuestTree guest_;
  PackageIndex index_;
  std::vector<PackageTrouble> troubles_;
};

TEST_F(DpkgReaderTest, ReadsAPackageAndItsFile) {
  tool();
  status(entry("tool", "Source: toolbox (1.0)\n"));
  const PackageFile* file = find("usr/bin/tool");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(hex(index_.digest(*file)), kMd5);
  EXPECT_EQ(file->algorithm, DigestAlgorithm::md5);
  EXPECT_EQ(file->flags, 0);
  const Package& package = index_.packages()[file->package];
  EXPECT_EQ(package.name, "tool");
  EXPECT_EQ(package.version, "1");
  EXPECT_EQ(package.arch, "amd64");
  EXPECT_EQ(package.source, "toolbox");
  EXPECT_EQ(package.kind, PackageKind::dpkg);
  EXPECT_EQ(index_.source(), "dpkg");
  EXPECT_THAT(troubles_, IsEmpty()) << troubles();
}

TEST_F(DpkgReaderTest, ReadsTheListsOfAMultiArchPackageByArchitecture) {
  status(entry("libc6", "Multi-Arch: same\n"));
  info("libc6:amd64.list", "/usr/bin/ldd\n");
  info("libc6:amd64.md5sums", kMd5 + "  usr/bin/ldd\n");
  ASSERT_NE(find("usr/bin/ldd"), nullptr);
  EXPECT_THAT(troubles_, IsEmpty()) << troubles();
}

TEST_F(DpkgReaderTest, MarksAConffileOfTheStatusEntryAndOfTheConffilesFile) {
  status(entry("tool", "Conffiles:\n /etc/a " + kMd5 + "\n"));
  info("tool.list", "/etc/a\n/etc/b\n/etc/plain\n");
  info("tool.conffiles", "/etc/b\n");
  EXPECT_EQ(find("etc/a")->flags, kConfig);
  EXPECT_EQ(look_up(index_, guest_, "etc/b")->flags, kConfig);
  EXPECT_EQ(look_up(index_, guest_, "etc/plain")->flags, 0);
}

TEST_F(DpkgReaderTest, MarksADivertedPath) {
  VS_NEED_RESOLVE_IN_ROOT();
  tool();
  guest_.symlink("usr/bin", "bin");
  guest_.file("var/lib/dpkg/diversions", "/bin/tool\n/bin/tool.distrib\nother\n");
  EXPECT_EQ(find("usr/bin/tool")->flags, kDiverted);
}

TEST_F(DpkgReaderTest, MarksTheTargetOfADiversion) {
  tool();
  guest_.file("var/lib/dpkg/diversions", "/usr/bin/x\n/usr/bin/tool\n:\n");
  EXPECT_EQ(find("usr/bin/tool")->flags, kDiverted);
}

TEST_F(DpkgReaderTest, MarksAnOverriddenPath) {
  tool();
  guest_.file("var/lib/dpkg/statoverride", "root staff 2755 /usr/bin/tool\n");
  EXPECT_EQ(find("usr/bin/tool")->flags, kOverridden);
}

TEST_F(DpkgReaderTest, MarksTheFilesOfAPackageThatIsNotInstalledWell) {
  tool();
  status(entry("tool", "", "install ok half-configured"));
  EXPECT_EQ(find("usr/bin/tool")->flags, kNotNormal);
}

TEST_F(DpkgReaderTest, MarksPackagesThatDpkgIsJustAtWorkOn) {
  tool();
  guest_.file("var/lib/dpkg/updates/0001", entry("tool", "", "install ok unpacked"));
  guest_.file("var/lib/dpkg/updates/tmp.i", "garbage");
  EXPECT_EQ(find("usr/bin/tool")->flags, kNotNormal);
  EXPECT_THAT(troubles_, IsEmpty()) << troubles();
}

TEST_F(DpkgReaderTest, DoesNotTakeAFileThatAnotherPackageTookOver) {
  // dpkg removes it from the old owner's list, and leaves its .md5sums alone.
  status(entry("old") + entry("new"));
  info("old.list", "/usr/bin/other\n");
  info("old.md5sums", kMd5 + "  usr/bin/tool\n" + kMd5 + "  usr/bin/other\n");
  info("new.list", "/usr/bin/tool\n");
  info("new.md5sums", kOtherMd5 + "  usr/bin/tool\n");
  const PackageFile* file = find("usr/bin/tool");
  EXPECT_EQ(index_.packages()[file->package].name, "new");
  EXPECT_EQ(hex(index_.digest(*file)), kOtherMd5);
  EXPECT_EQ(file->flags, 0);
}

TEST_F(DpkgReaderTest, RecordsFilesOfAPackageWithoutDigests) {
  status(entry("tool"));
  info("tool.list", "/usr/bin/tool\n");
  EXPECT_EQ(find("usr/bin/tool")->algorithm, DigestAlgorithm::none);
}

TEST_F(DpkgReaderTest, ReadsADistrolessImage) {
  std::filesystem::remove_all(guest_.path("var/lib/dpkg/info"));
  guest_.file("var/lib/dpkg/status.d/tool", "Package: tool\nVersion: 1\nArchitecture: amd64\n");
  guest_.file("var/lib/dpkg/status.d/tool.md5sums", kMd5 + "  usr/bin/tool\n");
  const PackageFile* file = find("usr/bin/tool");
  ASSERT_NE(file, nullptr);
  EXPECT_EQ(file->flags, 0);
  EXPECT_EQ(index_.source(), "dpkg");
  EXPECT_THAT(troubles_, IsEmpty()) << troubles();
}

TEST_F(DpkgReaderTest, NamesThePackageWhoseListIsMissing) {
  tool();
  status(entry("tool") + entry("gone") + entry("removed", "", "deinstall ok config-files"));
  EXPECT_NE(find("usr/bin/tool"), nullptr);
  EXPECT_EQ(troubles(),
            "var/lib/dpkg/info/gone.list: expected the list of the package's files, found none\n");
}

TEST_F(DpkgReaderTest, KeepsGoodEntriesOfATruncatedDatabase) {
  tool();
  status(entry("tool") + entry("second").substr(0, 30));
  EXPECT_NE(find("usr/bin/tool"), nullptr);
  EXPECT_THAT(troubles(), HasSubstr("var/lib/dpkg/status: line 7: expected a newline"));
}

TEST_F(DpkgReaderTest, RefusesSymlinksInPlaceOfItsFiles) {
  tool();
  std::filesystem::remove(guest_.path("var/lib/dpkg/info/tool.list"));
  guest_.symlink("/etc/passwd", "var/lib/dpkg/info/tool.list");
  std::filesystem::remove(guest_.path("var/lib/dpkg/info/tool.md5sums"));
  guest_.symlink("other", "var/lib/dpkg/info/tool.md5sums");
  guest_.symlink("/etc/shadow", "var/lib/dpkg/diversions");
  EXPECT_EQ(find("usr/bin/tool"), nullptr);
  EXPECT_THAT(troubles(),
              HasSubstr("var/lib/dpkg/info/tool.list: expected a regular file, found a symbolic link"));
  EXPECT_THAT(troubles(),
              HasSubstr("var/lib/dpkg/diversions: expected a regular file, found a symbolic link"));
  EXPECT_THAT(troubles(), Not(HasSubstr("root:"))) << "nothing of the host's files is shown";
}

TEST_F(DpkgReaderTest, RefusesAStatusThatIsASymlink) {
  tool();
  std::filesystem::rename(guest_.path("var/lib/dpkg/status"), guest_.path("var/lib/dpkg/real"));
  guest_.symlink("real", "var/lib/dpkg/status");
  EXPECT_EQ(find("usr/bin/tool"), nullptr);
  EXPECT_EQ(index_.source(), "none");
  EXPECT_THAT(troubles(), HasSubstr("var/lib/dpkg/status: expected a regular file, found a symbolic link"));
}

TEST_F(DpkgReaderTest, DoesNotBlockOnAFifo) {
  tool();
  for (const char* name : {"status", "info/tool.list", "info/tool.conffiles", "diversions", "statoverride"}) {
    std::filesystem::remove(guest_.path("var/lib/dpkg/" + std::string(name)));
    guest_.fifo("var/lib/dpkg/" + std::string(name));
    find("usr/bin");
    EXPECT_THAT(troubles(), HasSubstr(std::string(name) + ": expected a regular file, found a fifo"));
    std::filesystem::remove(guest_.path("var/lib/dpkg/" + std::string(name)));
    tool();
  }
}

TEST_F(DpkgReaderTest, RefusesADevice) {
  tool();
  if (::mknod(guest_.path("var/lib/dpkg/statoverride").c_str(), S_IFCHR | 0666, makedev(1, 5)) != 0)
    VS_SKIP(kRoot) << "making a device needs CAP_MKNOD";
  EXPECT_NE(find("usr/bin/tool"), nullptr);
  EXPECT_THAT(troubles(), HasSubstr("statoverride: expected a regular file, found a device"));
}

TEST_F(DpkgReaderTest, RefusesAHugeFile) {
  tool();
  ASSERT_EQ(::truncate(guest_.path("var/lib/dpkg/info/tool.md5sums").c_str(), 1ll << 40), 0);
  EXPECT_EQ(find("usr/bin/tool")->algorithm, DigestAlgorithm::none);
  EXPECT_THAT(troubles(), HasSubstr("tool.md5sums: expected at most"));
}

// What is no proof must not be taken for "made without digests": such files are shared by name and version.
TEST_F(DpkgReaderTest, AFileWithoutADigestInAPackageThatHasDigestsIsMarked) {
  status(entry("tool"));
  info("tool.list", "/.\n/usr\n/usr/bin\n/usr/bin/tool\n/usr/bin/other\n/etc\n/etc/tool.conf\n");
  info("tool.conffiles", "/etc/tool.conf\n");
  guest_.file("etc/tool.conf", "x");
  EXPECT_EQ(find("usr/bin/other")->flags, 0) << "made without digests";
  info("tool.md5sums", kMd5 + "  usr/bin/tool\nMD5 (usr/bin/other) = " + kMd5 + "\n");
  EXPECT_EQ(find("usr/bin/other")->flags, kNoDigest);
  EXPECT_EQ(find("usr/bin/tool")->flags, 0);
  EXPECT_TRUE((find("etc/tool.conf")->flags & kConfig) != 0);
  for (const char* none : {"", "sha256 of nothing\n"}) {
    info("tool.md5sums", none);
    EXPECT_EQ(find("usr/bin/tool")->flags, kNoDigest) << none;
  }
  std::filesystem::remove(guest_.path("var/lib/dpkg/info/tool.md5sums"));
  guest_.symlink("other", "var/lib/dpkg/info/tool.md5sums");
  EXPECT_EQ(find("usr/bin/tool")->flags, kNoDigest) << "there, and of no use";
}

TEST_F(DpkgReaderTest, TellsWhatStaysOddFromWhatMayPass) {
  tool();
  info("tool.md5sums", "odd\n");
  find("usr/bin/tool");
  ASSERT_EQ(troubles_.size(), 1u);
  EXPECT_FALSE(troubles_[0].passing) << troubles();
  TroubleLog log(troubles_);
  log.add_passing("status", "open: Input/output error");
  EXPECT_TRUE(troubles_.back().passing);
}

TEST_F(DpkgReaderTest, FindsADatabaseBehindASymlinkInsideTheGuestOnly) {
  VS_NEED_RESOLVE_IN_ROOT();
  tool();
  std::filesystem::create_directories(guest_.path("srv"));
  std::filesystem::rename(guest_.path("var/lib/dpkg"), guest_.path("srv/dpkg"));
  guest_.symlink("/srv/dpkg", "var/lib/dpkg");
  EXPECT_NE(find("usr/bin/tool"), nullptr);

  std::filesystem::remove(guest_.path("var/lib/dpkg"));
  guest_.symlink("../../../../../../../var/lib/dpkg", "var/lib/dpkg");  // the host's, if that were followed
  find("usr/bin");
  EXPECT_TRUE(index_.empty());
  EXPECT_TRUE(index_.packages().empty());
}

TEST_F(DpkgReaderTest, NeverEscapesTheRootByAPath) {
  status(entry("evil"));
  info("evil.list",
       "/../../etc/shadow\n/usr/../../../etc/passwd\n/usr/bin/a\x01\x1b"
       "b\n" +
           std::string(5000, '/') + fmt::format("x\n/{:a>300}\n", ""));
  info("evil.conffiles", "/../x\n");
  guest_.file("var/lib/dpkg/diversions", "/../a\n/../b\n:\n");
  find("usr/bin");
  EXPECT_NE(index_.find(index_.dir(guest_.ino("usr/bin")),
                        "a\x01\x1b"
                        "b"),
            nullptr);
  EXPECT_NE(index_.find(index_.dir(guest_.ino("")), "x"), nullptr) << "five thousand slashes are one";
  EXPECT_EQ(index_.file_count(), 2u);
  EXPECT_THAT(troubles(), HasSubstr("evil.list: line 1: expected a path below the root"));
  EXPECT_THAT(troubles(), HasSubstr("diversions: line 1: expected a path below the root"));
}

TEST_F(DpkgReaderTest, ReadsTheListOfAPackageOnceHoweverOftenItIsNamed) {
  tool();
  std::string text;
  for (int i = 0; i < 1000; ++i) text += entry("tool");
  status(text);
  find("usr/bin/tool");
  EXPECT_EQ(index_.packages().size(), 1u);
  EXPECT_THAT(troubles(), HasSubstr("expected one status entry for a package, found several"));
}

TEST_F(DpkgReaderTest, StopsReadingListsThatAreOneHugeFileManyTimes) {
  constexpr int kPackages = 40;  // of 60 MB each: more than the limit for all
  std::string text;
  for (int i = 0; i < kPackages; ++i) text += entry(fmt::format("p{}", i));
  status(text);
  info("p0.list", "");
  ASSERT_EQ(::truncate(guest_.path("var/lib/dpkg/info/p0.list").c_str(), 60 << 20), 0);
  for (int i = 1; i < kPackages; ++i)
    std::filesystem::create_hard_link(guest_.path("var/lib/dpkg/info/p0.list"),
                                      guest_.path(fmt::format("var/lib/dpkg/info/p{}.list", i)));
  find("usr/bin");
  EXPECT_THAT(troubles(), HasSubstr("bytes of lists; the rest is not read"));
}

TEST_F(DpkgReaderTest, ChangesNothingInTheGuest) {
  tool();
  guest_.file("var/lib/dpkg/diversions", "/a\n/b\n:\n");
  guest_.file("usr/bin/tool");
  const std::string before = guest_.listing();
  find("usr/bin/tool");
  EXPECT_EQ(guest_.listing(), before);
}

TEST_F(DpkgReaderTest, SurvivesADatabaseThatChangesMeanwhile) {
  tool();
  std::atomic<bool> stop = false;
  std::jthread writer([&] {
    const std::string path = guest_.path("var/lib/dpkg/info/tool.list");
    for (unsigned i = 0; !stop; ++i) {
      std::filesystem::remove(path);
      if (i % 3 == 0) info("tool.list", fmt::format("{:/>{}}", "", i % 100000));
      if (i % 3 == 1) static_cast<void>(::mkfifo(path.c_str(), 0644));
      if (i % 3 == 2) static_cast<void>(::symlink("/etc/passwd", path.c_str()));
    }
  });
  for (int i = 0; i < 200; ++i) find("usr/bin");
  stop = true;
}

}  // namespace
}  // namespace vs::unify
