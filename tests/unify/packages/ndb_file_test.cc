#include "unify/packages/ndb_file.h"

#include <gmock/gmock.h>

#include "tests/unify/packages/rpm_databases.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::HasSubstr;
using testing::IsEmpty;
using testing::SizeIs;

const std::map<uint32_t, std::string> kHeaders = {
    {1, "first header"}, {2, std::string(100000, 'x')}, {7, ""}};

TEST(NdbFileTest, FindsTheHeaders) {
  const std::string file = make_ndb(kHeaders);
  const NdbContent content = parse_ndb(file);
  EXPECT_TRUE(content.usable);
  EXPECT_THAT(content.headers, ElementsAre("first header", std::string(100000, 'x'), ""));
  EXPECT_THAT(content.troubles, IsEmpty());
}

TEST(NdbFileTest, ReadsSeveralPagesOfSlots) {
  std::map<uint32_t, std::string> headers;
  for (uint32_t i = 1; i <= 1000; ++i) headers[i] = fmt::format("header {}", i);
  const std::string file = make_ndb(headers);
  EXPECT_THAT(parse_ndb(file).headers, SizeIs(1000));
}

TEST(NdbFileTest, LeavesOutADamagedHeaderAndKeepsTheOthers) {
  for (const size_t at : {size_t{4096}, size_t{4096 + 5}, size_t{4096 + 20}, size_t{4096 + 28}}) {
    std::string file = make_ndb(kHeaders);
    file[at] = static_cast<char>(file[at] ^ 4);
    const NdbContent content = parse_ndb(file);
    EXPECT_TRUE(content.usable);
    EXPECT_THAT(content.headers, SizeIs(2)) << at;
    ASSERT_THAT(content.troubles, SizeIs(1));
    EXPECT_THAT(content.troubles[0], HasSubstr("slot at byte 32: expected"));
  }
}

TEST(NdbFileTest, RefusesAFileThatIsNotOne) {
  const std::string good = make_ndb(kHeaders);
  for (const std::string& file :
       {std::string(), std::string("RpmP"), std::string(10000, '\0'), good.substr(0, 4095)}) {
    const NdbContent content = parse_ndb(file);
    EXPECT_FALSE(content.usable);
    EXPECT_THAT(content.troubles, SizeIs(1));
  }
  std::string newer = good;
  newer[4] = 1;
  EXPECT_THAT(parse_ndb(newer).troubles, ElementsAre("expected version 0, found 1"));
  std::string huge = good;
  huge[15] = '\x7f';
  EXPECT_FALSE(parse_ndb(huge).usable) << "two billion pages of slots";
}

TEST(NdbFileTest, LosesOnlyWhatATruncatedFileLost) {
  const std::string file = make_ndb(kHeaders);
  const NdbContent content = parse_ndb(std::string_view(file).substr(0, 50000));
  EXPECT_THAT(content.headers, ElementsAre("first header"));
  EXPECT_THAT(content.troubles, SizeIs(2));
}

TEST(NdbFileTest, GivesNoMoreThanTheFileHolds) {
  // 254 slots that all name one large blob: with their own numbers they would not be right, with one number
  // they are.
  const std::string one = make_ndb({{1, std::string(50000, 'x')}});
  std::string file = one;
  for (size_t at = 48; at < 4096; at += 16) file.replace(at, 16, one.substr(32, 16));
  const NdbContent content = parse_ndb(file);
  size_t bytes = 0;
  for (const std::string_view header : content.headers) bytes += header.size();
  EXPECT_LE(bytes, file.size());
  EXPECT_THAT(content.troubles, SizeIs(10));
}

}  // namespace
}  // namespace vs::unify
