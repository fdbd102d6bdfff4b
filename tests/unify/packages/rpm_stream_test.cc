#include "unify/packages/rpm_stream.h"

#include <fcntl.h>
#include <gmock/gmock.h>

#include <functional>
#include <iterator>

#include "tests/unify/packages/guest_tree.h"

namespace vs::unify {
namespace {

using testing::HasSubstr;
using testing::IsEmpty;

// The writer's output, by way of a file.
std::string written(const std::function<void(RpmStreamWriter&)>& write) {
  TempDir dir;
  const std::string path = dir.path() + "/stream";
  {
    const UniqueFd fd(::open(path.c_str(), O_WRONLY | O_CREAT, 0600));
    RpmStreamWriter writer(fd.get());
    write(writer);
  }
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

const std::string kSha256(32, '\x5a');

std::string good() {
  return written([](RpmStreamWriter& out) {
    out.package("tiny", "5:1-2", "noarch", "src");
    out.dir("/usr/bin/");
    out.file(0, DigestAlgorithm::sha256, kSha256, "tiny");
    out.file(kConfig | kMayChange, DigestAlgorithm::none, {}, "x");
    out.trouble("bad \x1b header");
    out.end();
  });
}

std::string record(char kind, const std::string& body) {
  std::string text;
  for (unsigned i = 0; i < 4; ++i) text += static_cast<char>((body.size() + 1) >> (8 * i) & 0xff);
  return text + kind + body;
}

class RpmStreamTest : public testing::Test {
 protected:
  RpmStreamTest() { guest_.dir("usr/bin"); }
  std::string add(const std::string& stream) {
    PackageIndexBuilder builder;
    TroubleLog log(troubles_);
    const std::string problem = add_rpm_stream(stream, "var/lib/rpm/x", builder, log);
    index_ = std::move(builder).build(guest_.root(), "rpm");
    return problem;
  }

  GuestTree guest_;
  PackageIndex index_;
  std::vector<PackageTrouble> troubles_;
};

TEST_F(RpmStreamTest, GivesBackWhatWasWritten) {
  EXPECT_EQ(add(good()), "");
  const PackageFile* tiny = look_up(index_, guest_, "usr/bin/tiny");
  ASSERT_NE(tiny, nullptr);
  EXPECT_EQ(index_.digest(*tiny), kSha256);
  EXPECT_EQ(look_up(index_, guest_, "usr/bin/x")->flags, kConfig | kMayChange);
  EXPECT_EQ(index_.packages()[0].source, "src");
  EXPECT_EQ(all(troubles_), "var/lib/rpm/x: bad \\x1b header\n");
}

TEST_F(RpmStreamTest, TakesNothingOfATruncatedStream) {
  const std::string stream = good();
  for (size_t size = 0; size < stream.size(); ++size) {
    EXPECT_NE(add(stream.substr(0, size)), "") << size;
    EXPECT_TRUE(index_.empty() && index_.packages().empty());
  }
  EXPECT_THAT(troubles_, IsEmpty());
}

TEST_F(RpmStreamTest, TakesNothingAfterTheEnd) {
  EXPECT_THAT(add(good() + "x"), HasSubstr("nothing after the end"));
}

TEST_F(RpmStreamTest, ChecksEachField) {
  using namespace std::string_literals;
  const std::string package = record('P', "\1\0n\0\0\0\0\0\0"s), dir = record('D', "/usr/bin"),
                    end0 = record('E', std::string(8, '\0'));
  EXPECT_EQ(add(end0), "");
  EXPECT_THAT(add(package + end0), HasSubstr("as many packages and files"));
  EXPECT_THAT(add(record('E', "1234567")), HasSubstr("two counts"));
  EXPECT_THAT(add(record('X', "")), HasSubstr("a known kind of record"));
  EXPECT_THAT(add("\0\0\0\0"s), HasSubstr("a whole record"));
  EXPECT_THAT(add("\xff\xff\xff\xff" + std::string(100, 'T')), HasSubstr("a whole record"));
  EXPECT_THAT(add("\1\0\1\0T"s + std::string(65536, 'x')), HasSubstr("a whole record"))
      << "above the largest record";
  EXPECT_THAT(add(record('P', "\xff\xffn")), HasSubstr("a package of four texts"));
  EXPECT_THAT(add(record('P', std::string(8, '\0'))), HasSubstr("a package of four texts"))
      << "without a name";
  EXPECT_THAT(add(record('P', "\1\0n\0\0\0\0\0\0more"s)), HasSubstr("a package of four texts"));
  EXPECT_THAT(add(dir + record('F', "\0\0name"s)), HasSubstr("a package and a directory before a file"));
  EXPECT_THAT(add(package + record('F', "\0\0name"s)), HasSubstr("a package and a directory before a file"));
  EXPECT_THAT(add(package + dir + record('F', "\x80\0name"s)), HasSubstr("known flags"));
  EXPECT_THAT(add(package + dir + record('F', "\4\0name"s)), HasSubstr("known flags"))
      << "diverted is not rpm's";
  EXPECT_THAT(add(package + dir + record('F', "\0\7name"s)), HasSubstr("a known digest algorithm"));
  EXPECT_THAT(add(package + dir + record('F', "\0\1"s + std::string(16, 'd'))),
              HasSubstr("a digest and a name"));
  EXPECT_THAT(add(package + dir + record('F', "\0")), HasSubstr("a file's flags and algorithm"));
  EXPECT_TRUE(index_.empty());
}

TEST_F(RpmStreamTest, LeavesOutPathsThatEscapeAndKeepsTheOthers) {
  using namespace std::string_literals;
  const std::string stream = written([](RpmStreamWriter& out) {
    out.package("evil", "1", "x", "");
    out.dir("/../../etc");
    out.file(0, DigestAlgorithm::none, {}, "shadow");
    out.dir("/usr/bin");
    for (const std::string& name :
         {"../../etc/passwd"s, "a/b"s, ".."s, "."s, "nul\0x"s, std::string(300, 'n'), "good\n"s})
      out.file(0, DigestAlgorithm::none, {}, name);
    out.end();
  });
  EXPECT_EQ(add(stream), "");
  EXPECT_EQ(index_.file_count(), 1u);
  EXPECT_NE(look_up(index_, guest_, "usr/bin/good\n"), nullptr);
  EXPECT_EQ(troubles_.size(), 7u) << all(troubles_);
}

TEST_F(RpmStreamTest, CutsTextsThatAreTooLongForARecord) {
  const std::string stream = written([](RpmStreamWriter& out) {
    out.package(std::string(100000, 'n'), std::string(100000, 'v'), "", "");
    out.dir(std::string(1 << 20, 'd'));
    out.trouble(std::string(1 << 20, 't'));
    out.end();
  });
  EXPECT_EQ(add(stream), "");
  EXPECT_EQ(index_.packages()[0].name.size(), 1000u);
}

}  // namespace
}  // namespace vs::unify
