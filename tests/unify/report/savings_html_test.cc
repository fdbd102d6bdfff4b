#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <openssl/evp.h>
#include <openssl/sha.h>

#include <algorithm>
#include <array>
#include <set>

#include "core/escape.h"
#include "tests/unify/report/savings_sample.h"
#include "unify/report/savings_plots.h"
#include "unify/report/savings_style.h"

namespace vs::unify {
namespace {

using testing::HasSubstr;
using testing::Not;

std::string sha256_base64(std::string_view text) {
  std::array<unsigned char, SHA256_DIGEST_LENGTH> digest{};
  SHA256(reinterpret_cast<const unsigned char*>(text.data()), text.size(), digest.data());
  std::array<unsigned char, 64> base64{};
  const int length = EVP_EncodeBlock(base64.data(), digest.data(), static_cast<int>(digest.size()));
  return {reinterpret_cast<const char*>(base64.data()), static_cast<size_t>(length)};
}

size_t occurrences(std::string_view text, std::string_view part) {
  size_t count = 0;
  for (size_t at = text.find(part); at != std::string_view::npos; at = text.find(part, at + 1)) ++count;
  return count;
}

// Names of the elements in order, "/x" for an end tag; style and script contents left out. Checks that each
// element that is opened is closed in turn.
std::set<std::string> elements_of(std::string page) {
  page.erase(page.find(kPageStyle), kPageStyle.size());
  page.erase(page.find(kPageScript), kPageScript.size());
  std::set<std::string> names;
  std::vector<std::string> open;
  for (size_t at = page.find('<'); at != std::string::npos; at = page.find('<', at + 1)) {
    const size_t end = page.find('>', at);
    const std::string tag = page.substr(at + 1, end - at - 1);
    const std::string name = tag.substr(0, tag.find_first_of(" /", 1));
    if (name == "meta" || name == "!DOCTYPE" || tag.ends_with('/')) {
      names.insert(name);
    } else if (name.starts_with('/')) {
      EXPECT_EQ("/" + open.back(), name) << page.substr(at, 80);
      open.pop_back();
    } else {
      names.insert(name);
      open.push_back(name);
    }
  }
  EXPECT_TRUE(open.empty());
  return names;
}

TEST(SavingsHtmlTest, PolicyNamesStyleAndScriptByTheirHash) {
  EXPECT_EQ(kPageStyleHash, sha256_base64(kPageStyle));
  EXPECT_EQ(kPageScriptHash, sha256_base64(kPageScript));
  const std::string page = savings_html(sample_savings({"web1"}));
  EXPECT_THAT(page, HasSubstr("default-src 'none'; style-src 'sha256-" + std::string(kPageStyleHash) + "'"));
  EXPECT_THAT(page, HasSubstr("<style>" + std::string(kPageStyle) + "</style>"));
  EXPECT_THAT(page, HasSubstr("<script>" + std::string(kPageScript) + "</script>"));
}

TEST(SavingsHtmlTest, AsksForNothingOutsideThePage) {
  const std::string page = savings_html(hostile_savings());
  for (const char* word :
       {"http:", "https:", "url(", "@import", "src=\"", "href=", "<link", "<iframe", "<object"})
    EXPECT_THAT(page, Not(HasSubstr(word)));
}

TEST(SavingsHtmlTest, NamesAddNoElementAndNoAttribute) {
  for (const size_t repeat : {1u, 10u}) {  // bars and the strip
    std::vector<std::string> harmless, hostile;
    for (size_t i = 0; i < repeat * hostile_names().size(); ++i)
      harmless.push_back("web" + std::to_string(i));
    for (size_t i = 0; i < repeat; ++i)
      for (const std::string& name : hostile_names()) hostile.push_back(name + std::to_string(i));
    Savings savings = sample_savings(hostile);
    savings.packages = hostile_savings().packages;
    savings.pool = savings.host = hostile_names()[8];
    savings.nights[0].run = savings.nights[0].verb = hostile_names()[1];
    const std::string page = savings_html(savings);
    EXPECT_EQ(elements_of(page), elements_of(savings_html(sample_savings(harmless))));
    EXPECT_EQ(occurrences(page, "<script"), 1u);
    EXPECT_THAT(page, Not(HasSubstr("<img")));
    EXPECT_TRUE(std::ranges::none_of(page, [](char c) { return c < 0x20 && c >= 0 && c != '\n'; }));
    EXPECT_THAT(page, Not(HasSubstr("\xe2\x80\xae")));
    EXPECT_THAT(page, Not(HasSubstr("\xff")));
  }
}

TEST(SavingsHtmlTest, FewGuestsAreNamedBarsAndManyAStrip) {
  std::vector<std::string> names;
  for (int i = 0; i < 30; ++i) names.push_back("web" + std::to_string(i));
  EXPECT_THAT(savings_html(sample_savings(names)), Not(HasSubstr("guests, largest first")));
  EXPECT_THAT(savings_html(sample_savings(names)), Not(HasSubstr("The 30 largest")));
  names.push_back("one more");
  EXPECT_THAT(savings_html(sample_savings(names)), HasSubstr("guests, largest first"));
  EXPECT_THAT(savings_html(sample_savings(names)), HasSubstr("The 30 largest"));
}

TEST(SavingsHtmlTest, AllGuestsAreInTheTableHoweverMany) {
  std::vector<std::string> names;
  for (int i = 0; i < 2000; ++i) names.push_back("web" + std::to_string(i));
  const std::string page = savings_html(sample_savings(names));
  EXPECT_THAT(page, HasSubstr("<bdi>web1999</bdi>"));
  EXPECT_THAT(page, HasSubstr("each bar is the mean of 4"));
  elements_of(page);
}

TEST(SavingsHtmlTest, NothingAtAllIsAPageToo) {
  const std::string page = savings_html({});
  EXPECT_THAT(page, HasSubstr("No guest was found"));
  EXPECT_THAT(page, HasSubstr("No package has shared files yet"));
  EXPECT_THAT(page, HasSubstr("No run has been recorded yet"));
  elements_of(page);
}

TEST(SavingsHtmlTest, ZeroesAndEnormousNumbersStillDraw) {
  Savings savings = sample_savings({"a", "b"});
  for (GuestSavings& guest : savings.guests) guest = sample_guest(guest.name, 4096, 0, 0);
  savings.guests[1] = sample_guest("huge", UINT64_MAX / 2, UINT64_MAX / 4, UINT64_MAX);
  savings.nights = {sample_night("r", 0, 0, 0), sample_night("r", INT64_MAX, UINT64_MAX, UINT64_MAX)};
  for (const char* bad : {"nan", "inf", "-1"})
    EXPECT_THAT(savings_html(savings), Not(HasSubstr("=\"" + std::string(bad))));
}

TEST(SavingsPlotsTest, OneHugeGuestIsCutSoThatTheOthersCanBeSeen) {
  std::vector<PlotBar> bars(100, {"small", 1e6, 1e6, ""});
  bars[0].first = 1e12;
  const std::string plot = strip_plot(bars, {"own", "shared", "disk", "x"});
  EXPECT_THAT(plot, HasSubstr("disk (MB), one bar cut"));
  EXPECT_EQ(occurrences(plot, "class=\"gap\""), 1u);
}

TEST(SavingsPlotsTest, LongNamesAreCutInThePlotAndWholeInTheTooltip) {
  const std::string name(255, 'n');
  const std::string plot = bar_plot({{name, 1, 1, "tip"}}, {"own", "shared", "disk", "x"});
  EXPECT_THAT(plot, HasSubstr("<title>" + name + "\ntip</title>"));
  EXPECT_THAT(plot, HasSubstr(">" + std::string(30, 'n') + "\xe2\x80\xa6</text>"));
}

}  // namespace
}  // namespace vs::unify
