#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <algorithm>

#include "core/size_text.h"
#include "tests/unify/report/savings_sample.h"
#include "unify/report/report_text.h"
#include "unify/report/text_table.h"

namespace vs::unify {
namespace {

using testing::ElementsAre;
using testing::Field;
using testing::HasSubstr;
using testing::Not;

TEST(ReportTextTest, SizesAreDecimalWithOneDigitAndNeverSay1000) {
  EXPECT_EQ(size_text(0), "0 B");
  EXPECT_EQ(size_text(999), "999 B");
  EXPECT_EQ(size_text(1000), "1.0 kB");
  EXPECT_EQ(size_text(38'200'000), "38.2 MB");
  EXPECT_EQ(size_text(999'949), "999.9 kB");
  EXPECT_EQ(size_text(999'950), "1.0 MB");
  EXPECT_EQ(size_text(UINT64_MAX), "18.4 EB");
}

TEST(ReportTextTest, CountsAreGroupedInThousands) {
  EXPECT_EQ(count_text(0), "0");
  EXPECT_EQ(count_text(999), "999");
  EXPECT_EQ(count_text(1000), "1,000");
  EXPECT_EQ(count_text(1234567), "1,234,567");
}

TEST(ReportTextTest, ShareOfNothingIsNothing) {
  EXPECT_EQ(percent_text(0, 0), "0.0 %");
  EXPECT_EQ(percent_text(739, 1000), "73.9 %");
}

TEST(ReportTextTest, AYearThatDoesNotFitIsNoCrash) {
  EXPECT_EQ(utc_text(1795499507), "2026-11-24 05:51 UTC");
  EXPECT_EQ(utc_text(INT64_MAX), "?");
}

TEST(ReportTextTest, BlockSizesAreThoseOfDu) {
  uint64_t unit = 0;
  const auto parsed = [&](const char* text) { return parse_block_size(text, unit) ? unit : 0; };
  EXPECT_EQ(parsed("1"), 1u);
  EXPECT_EQ(parsed("K"), 1024u);
  EXPECT_EQ(parsed("KiB"), 1024u);
  EXPECT_EQ(parsed("kB"), 1000u);
  EXPECT_EQ(parsed("4K"), 4096u);
  EXPECT_EQ(parsed("2MB"), 2'000'000u);
  EXPECT_EQ(parsed("G"), 1u << 30);
  for (const char* bad : {"", "0", "-1", "K4", "1X", "1KBB", "99999999999999999999", "18446744073709551615K"})
    EXPECT_EQ(parsed(bad), 0u) << bad;
  EXPECT_EQ(in_units(1025, 1024), 2u);
  EXPECT_EQ(in_units(UINT64_MAX, 2), UINT64_MAX / 2 + 1);
}

TEST(ReportTextTest, CuttingANameNeverSplitsACharacterNorAnEscape) {
  EXPECT_EQ(cut_name("abcdef", 3), "abc");
  EXPECT_EQ(cut_name("abc", 3), "abc");
  EXPECT_EQ(cut_name("ab\ncd", 3), "ab");  // \n is shown in two columns
  EXPECT_EQ(cut_name("a\xd7\xa9\xd7\xa8", 2), "a\xd7\xa9");
  EXPECT_EQ(cut_name("\xe6\x97\xa5\xe6\x9c\xac", 3), "\xe6\x97\xa5");  // wide characters
  EXPECT_EQ(cut_name(std::string(300, '\x80'), 9), std::string("\x80\x80"));
}

TEST(TextTableTest, AlignsByCharactersAndPutsNoBlanksAtTheEnd) {
  TextTable table({{"SIZE"}, {"KIND", Align::left}, {"NAME", Align::left}});
  table.add({"1 B", "\xc3\xa4", "x"});
  table.add({"1,000 B", "bcdef", "longer"});
  EXPECT_EQ(table.text(),
            "   SIZE  KIND   NAME\n"
            "    1 B  \xc3\xa4      x\n"
            "1,000 B  bcdef  longer\n");
}

TEST(PackageSumsTest, BySourceAddsThePackagesOfASourceLargestFirst) {
  const auto sources =
      by_source({sample_package("perl-base", "perl", 8, 16), sample_package("libc6", "glibc", 13, 26),
                 sample_package("libc-bin", "glibc", 2, 4), sample_package("local", "", 1, 1)});
  EXPECT_THAT(sources,
              ElementsAre(Field(&PackageSavings::name, "glibc"), Field(&PackageSavings::name, "perl"),
                          Field(&PackageSavings::name, "local")));
  EXPECT_EQ(sources[0].bytes_saved, 30u);
  EXPECT_EQ(sources[0].bytes_once, 15u);
  EXPECT_EQ(sources[0].masters, 20u);
  EXPECT_EQ(sources[0].guests, 3u);  // the largest number, not a sum
}

TEST(PackageSumsTest, OnlyGivesARowForEachNameInTheOrderAskedFor) {
  const std::vector<PackageSavings> packages = {
      sample_package("libc6", "glibc", 13, 26), sample_package("glibc", "glibc", 5, 5),
      sample_package("libc-bin", "glibc", 2, 4), sample_package("bash", "bash", 1, 2)};
  const auto rows = only(packages, {"bash", "glibc", "libc6", "missing"});
  EXPECT_THAT(rows,
              ElementsAre(Field(&PackageSavings::name, "bash"), Field(&PackageSavings::name, "glibc"),
                          Field(&PackageSavings::name, "libc6"), Field(&PackageSavings::name, "missing")));
  EXPECT_EQ(rows[0].bytes_saved, 2u);
  EXPECT_EQ(rows[1].bytes_saved, 35u);  // the rpm and the Debian packages made from that source, each once
  EXPECT_EQ(rows[2].bytes_saved, 26u);
  EXPECT_EQ(rows[2].source, "glibc");
  EXPECT_EQ(rows[3].bytes_saved, 0u);
  EXPECT_EQ(rows[3].masters, 0u);
}

TEST(SavingsTextTest, SaysWhatWasSavedAndAddsTheGuestsUp) {
  const std::string text = savings_text(sample_savings({"web1", "web2", "web3"}), ReportBy::guest);
  EXPECT_THAT(text,
              HasSubstr("Pool /vservers on host1, 2026-11-24 05:51 UTC; guard immutable, scope packages"));
  EXPECT_THAT(text, HasSubstr("420.0 MB (1.0 GB if nothing were shared)"));
  EXPECT_THAT(text, HasSubstr("600.0 MB (58.8 %)"));
  EXPECT_THAT(text, HasSubstr("= 3 guests"));
  EXPECT_THAT(text, HasSubstr("web2\n"));
  EXPECT_THAT(text, HasSubstr("500.1 MB"));  // the last night
}

TEST(SavingsTextTest, WarnsWhenFilesOfNoPackageAreShared) {
  Savings savings = sample_savings({"web1"});
  EXPECT_THAT(savings_text(savings, ReportBy::guest), Not(HasSubstr("scope all")));
  savings.scope = "all";
  EXPECT_THAT(savings_text(savings, ReportBy::guest), HasSubstr("for trees of one owner only"));
}

TEST(SavingsTextTest, ByPackageAndBySourceNameThePackages) {
  const Savings savings = sample_savings({"web1", "web2", "web3"});
  EXPECT_THAT(savings_text(savings, ReportBy::package),
              HasSubstr("26.0 MB      13.0 MB       10     30       3  glibc   libc6\n"));
  EXPECT_THAT(savings_text(savings, ReportBy::source),
              HasSubstr("30.0 MB      15.0 MB       20     60       3  glibc\n"));
}

TEST(SavingsTextTest, NamesCannotBreakALineNorControlTheTerminal) {
  const Savings savings = hostile_savings();
  for (const ReportBy by : {ReportBy::guest, ReportBy::package, ReportBy::source}) {
    const std::string text = savings_text(savings, by);
    EXPECT_TRUE(
        std::ranges::none_of(text, [](char c) { return (c < 0x20 && c >= 0 && c != '\n') || c == 0x7f; }));
    EXPECT_THAT(text, HasSubstr("new\\nline\n"));
    EXPECT_THAT(text, Not(HasSubstr("\xe2\x80\xae")));
  }
}

TEST(SavingsTextTest, NothingAtAllIsAReportToo) {
  EXPECT_THAT(savings_text({}, ReportBy::guest), HasSubstr("No guests."));
  EXPECT_THAT(savings_text({}, ReportBy::package), HasSubstr("No package has shared files."));
}

}  // namespace
}  // namespace vs::unify
