#include "unify/packages/dpkg_text.h"

#include <gmock/gmock.h>

#include "tests/unify/packages/guest_tree.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

class DpkgTextTest : public testing::Test {
 protected:
  std::vector<DpkgPackage> status(std::string_view text, DpkgStatusField field = DpkgStatusField::required) {
    return parse_dpkg_status({"status", text}, field, log_);
  }
  std::vector<DpkgDigest> md5sums(std::string_view text) {
    return parse_dpkg_md5sums({"p.md5sums", text}, unescaped_, log_);
  }
  std::string troubles() const { return all(troubles_); }

  std::forward_list<std::string> unescaped_;
  std::vector<PackageTrouble> troubles_;
  TroubleLog log_{troubles_};
};

TEST_F(DpkgTextTest, ReadsAStatusEntry) {
  const auto packages = status(
      "Package: libc6\nStatus: install ok installed\nPriority: optional\nSource: glibc (2.36-9)\nVersion: "
      "2.36-9+deb12u7\n"
      "Architecture: amd64\nMulti-Arch: same\nDescription: GNU C Library\n Conffiles: not a field\n "
      ":\nConffiles:\n"
      " /etc/ld.so.conf.d/x86_64-linux-gnu.conf d4e7a7b88a71b5ffd9e2644e71a0cfab\n /etc/old file 0123 "
      "obsolete\n\n");
  ASSERT_THAT(packages, SizeIs(1));
  const DpkgPackage& package = packages[0];
  EXPECT_EQ(package.name, "libc6");
  EXPECT_EQ(package.source, "glibc");
  EXPECT_EQ(package.version, "2.36-9+deb12u7");
  EXPECT_EQ(package.arch, "amd64");
  EXPECT_TRUE(package.multi_arch_same);
  EXPECT_TRUE(package.normal);
  EXPECT_THAT(package.conffiles, ElementsAre("/etc/ld.so.conf.d/x86_64-linux-gnu.conf", "/etc/old file"));
  EXPECT_THAT(troubles_, IsEmpty()) << troubles();
}

TEST_F(DpkgTextTest, CallsOnlyInstalledPackagesThatAreWantedOrHeldNormal) {
  const auto state = [&](const std::string& words) {
    const auto packages = status("Package: p\nStatus: " + words + "\nArchitecture: all\n\n");
    return packages.empty() ? "no files" : packages[0].normal ? "normal" : "not normal";
  };
  EXPECT_STREQ(state("install ok installed"), "normal");
  EXPECT_STREQ(state("hold ok installed"), "normal");
  for (const char* words : {"install ok unpacked", "install ok half-configured", "install ok half-installed",
                            "install ok triggers-pending", "install reinstreq installed",
                            "deinstall ok installed", "deinstall ok config-files", "purge ok half-installed"})
    EXPECT_STREQ(state(words), "not normal") << words;
  EXPECT_STREQ(state("purge ok not-installed"), "no files");
  EXPECT_THAT(troubles_, IsEmpty()) << troubles();
}

TEST_F(DpkgTextTest, NamesFileAndLineOfABadEntryAndKeepsTheOthers) {
  const auto packages = status(
      "Package: a\nStatus: install ok installed\nArchitecture: all\n\n"
      "Package: ../../etc\nStatus: install ok installed\nArchitecture: all\n\n"
      "Package: c\nStatus: installed\nArchitecture: all\n\n"
      "Package: d\nStatus: install ok installed\nArchitecture: /\n\n"
      "garbage\nPackage: e\nStatus: install ok installed\nArchitecture: all\n");
  ASSERT_THAT(packages, SizeIs(2));
  EXPECT_EQ(packages[1].name, "e");
  EXPECT_THAT(troubles(),
              HasSubstr("status: line 5: expected an entry with a Package field that is a package name"));
  EXPECT_THAT(troubles(), HasSubstr("line 9: expected an entry with a Status field"));
  EXPECT_THAT(troubles(), HasSubstr("line 13: expected an entry with an Architecture field"));
  EXPECT_THAT(troubles(), HasSubstr("line 17: expected \"Field: value\", found \"garbage\""));
}

TEST_F(DpkgTextTest, DropsAnEntryThatIsCutOff) {
  // Its Conffiles may be what is missing.
  const auto packages = status(
      "Package: a\nStatus: install ok installed\nArchitecture: all\n\n"
      "Package: b\nStatus: install ok installed\nArchitecture: all\nVers");
  ASSERT_THAT(packages, SizeIs(1));
  EXPECT_EQ(packages[0].name, "a");
  EXPECT_THAT(troubles(), HasSubstr("line 8: expected a newline at the end of the file"));
}

TEST_F(DpkgTextTest, TakesAStatusDEntryWithoutStatusAsInstalled) {
  const auto packages = status("Package: tzdata\nVersion: 1\nArchitecture: all", DpkgStatusField::absent);
  ASSERT_THAT(packages, SizeIs(1));
  EXPECT_TRUE(packages[0].normal);
  EXPECT_THAT(troubles_, IsEmpty()) << troubles();
}

TEST_F(DpkgTextTest, ListsWhatCanBeAFile) {
  const auto paths = parse_dpkg_list({"p.list",
                                      "/.\n/usr\n/usr/share\n/usr/share/doc\n/usr/share/doc/p\n"
                                      "/usr/share/doc/p/copyright\n/usr/share/doc-base\n/bin/with space\n"},
                                     log_);
  EXPECT_THAT(paths, ElementsAre("usr/share/doc/p/copyright", "usr/share/doc-base", "bin/with space"));
}

TEST_F(DpkgTextTest, KeepsAFileWhoseNameStartsAsTheNextOne) {
  EXPECT_THAT(parse_dpkg_list({"p.list", "/bin/x\n/bin/xy\n/bin/x-y\n"}, log_),
              ElementsAre("bin/x", "bin/xy", "bin/x-y"));
}

TEST_F(DpkgTextTest, SaysWhereAListIsNotOne) {
  EXPECT_THAT(parse_dpkg_list({"info/p.list", "/a\nrelative\n/b\n/trunc"}, log_), ElementsAre("a", "b"));
  EXPECT_THAT(troubles(), HasSubstr("info/p.list: line 4: expected a newline at the end of the file"));
  EXPECT_THAT(troubles(), HasSubstr("info/p.list: line 2: expected an absolute path, found \"relative\""));
}

TEST_F(DpkgTextTest, ReadsDigests) {
  const auto digests = md5sums(
      "d41d8cd98f00b204e9800998ecf8427e  usr/bin/a\n"
      "D41D8CD98F00B204E9800998ECF8427E *./usr/bin/b c\n");
  ASSERT_THAT(digests, SizeIs(2));
  EXPECT_EQ(digests[0].path, "usr/bin/a");
  EXPECT_EQ(hex({digests[0].md5.data(), 16}), "d41d8cd98f00b204e9800998ecf8427e");
  EXPECT_EQ(digests[1].path, "usr/bin/b c");
  EXPECT_EQ(digests[1].md5, digests[0].md5);
}

TEST_F(DpkgTextTest, ReadsDigestsInEachWayThatDpkgAndVendorsWriteThem) {
  for (const char* line : {"d41d8cd98f00b204e9800998ecf8427e  usr/bin/a\n",
                           "d41d8cd98f00b204e9800998ecf8427e usr/bin/a\n",     // one blank
                           "d41d8cd98f00b204e9800998ecf8427e\tusr/bin/a\n",    //
                           "d41d8cd98f00b204e9800998ecf8427e   usr/bin/a\n",   //
                           "d41d8cd98f00b204e9800998ecf8427e *usr/bin/a\n",    // read as binary
                           "D41D8CD98F00B204E9800998ECF8427E  usr/bin/a\n",    // capitals
                           "d41d8cd98f00b204e9800998ecf8427e  /usr/bin/a\n",   //
                           "d41d8cd98f00b204e9800998ecf8427e /usr/bin/a\n",    // both, as seen in the field
                           "d41d8cd98f00b204e9800998ecf8427e  ./usr/bin/a\n",  //
                           "d41d8cd98f00b204e9800998ecf8427e  .//usr/bin/a\n",
                           "d41d8cd98f00b204e9800998ecf8427e  usr/bin/a\r\n",  // DOS
                           "d41d8cd98f00b204e9800998ecf8427e  usr/bin/a",      // the end of the file
                           "\\d41d8cd98f00b204e9800998ecf8427e  usr/bin/a\n"}) {
    const auto digests = md5sums(line);
    ASSERT_THAT(digests, SizeIs(1)) << line;
    EXPECT_EQ(digests[0].path, "usr/bin/a") << line;
    EXPECT_EQ(hex({digests[0].md5.data(), 16}), "d41d8cd98f00b204e9800998ecf8427e") << line;
  }
  EXPECT_THAT(troubles_, IsEmpty()) << troubles();
}

TEST_F(DpkgTextTest, ReadsNamesThatMd5sumEscapedAndThoseThatDebhelperDidNot) {
  const auto digests = md5sums(
      "\\d41d8cd98f00b204e9800998ecf8427e  usr/lib/systemd/a\\\\x2db.slice\n"
      "d41d8cd98f00b204e9800998ecf8427e  usr/lib/systemd/c\\x2dd.slice\n"
      "\\d41d8cd98f00b204e9800998ecf8427e  ./usr/two\\nlines\\r\\t\\\n");
  ASSERT_THAT(digests, SizeIs(3));
  EXPECT_EQ(digests[0].path, "usr/lib/systemd/a\\x2db.slice");
  EXPECT_EQ(digests[1].path, "usr/lib/systemd/c\\x2dd.slice");
  EXPECT_EQ(digests[2].path, "usr/two\nlines\r\\t\\");
}

TEST_F(DpkgTextTest, LeavesOutBadDigestsAndKeepsTheOthers) {
  const auto digests = md5sums(
      "d41d8cd98f00b204e9800998ecf8427  short\n"
      "g41d8cd98f00b204e9800998ecf8427e  usr/bin/a\n"
      "d41d8cd98f00b204e9800998ecf8427eusr/bin/no-blank\n"
      "d41d8cd98f00b204e9800998ecf8427e  \n"
      "d41d8cd98f00b204e9800998ecf8427e  usr/bin/good\n"
      "d41d8cd98f00b204e9800998ecf84");
  ASSERT_THAT(digests, SizeIs(1));
  EXPECT_EQ(digests[0].path, "usr/bin/good");
  EXPECT_THAT(troubles_, SizeIs(5));
  EXPECT_THAT(troubles(), HasSubstr("p.md5sums: line 2: expected an MD5 digest, a blank or two and a path"));
}

TEST_F(DpkgTextTest, ReadsConffilesWithAndWithoutFlags) {
  EXPECT_THAT(parse_dpkg_conffiles({"p.conffiles", "/etc/a\nremove-on-upgrade /etc/b c\n\n/etc/last"}, log_),
              ElementsAre("/etc/a", "/etc/b c", "/etc/last"));
  EXPECT_THAT(troubles_, IsEmpty());
  EXPECT_THAT(parse_dpkg_conffiles({"p.conffiles", "etc/a\n"}, log_), IsEmpty());
  EXPECT_THAT(troubles_, SizeIs(1));
}

TEST_F(DpkgTextTest, ReadsBothPathsOfADiversion) {
  EXPECT_THAT(parse_dpkg_diversions({"diversions", "/bin/sh\n/bin/sh.distrib\ndash\n/a\n/b\n:\n"}, log_),
              ElementsAre("/bin/sh", "/bin/sh.distrib", "/a", "/b"));
  EXPECT_THAT(troubles_, IsEmpty());
}

TEST_F(DpkgTextTest, StopsWhereDiversionsAreOutOfStep) {
  EXPECT_THAT(parse_dpkg_diversions({"diversions", "/a\n/b\np\n/c\np\n/d\n/e\n"}, log_),
              ElementsAre("/a", "/b"));
  EXPECT_THAT(troubles(), HasSubstr("diversions: line 4: expected two absolute paths and a package"));
  EXPECT_THAT(parse_dpkg_diversions({"diversions", "/a\n/b\n"}, log_), IsEmpty());
  EXPECT_THAT(troubles(), HasSubstr("diversions: line 1: expected three lines"));
}

TEST_F(DpkgTextTest, ReadsOverrides) {
  EXPECT_THAT(parse_dpkg_statoverride(
                  {"statoverride", "root crontab 2755 /usr/bin/crontab\n#0 #5 0644 /a b\nroot /x\n"}, log_),
              ElementsAre("/usr/bin/crontab", "/a b"));
  EXPECT_THAT(troubles(), HasSubstr("statoverride: line 3: expected user, group, mode and an absolute path"));
}

TEST_F(DpkgTextTest, CountsItsTroublesOnlyToALimit) {
  std::string text;
  for (int i = 0; i < 100000; ++i) text += "x\n";
  parse_dpkg_list({"p.list", text}, log_);
  EXPECT_THAT(troubles_, SizeIs(TroubleLog::kMaxPerFile + 1));
}

}  // namespace
}  // namespace vs::unify
