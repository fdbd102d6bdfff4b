#include "core/escape.h"

#include <gtest/gtest.h>

#include <random>

namespace vs {
namespace {

using namespace std::string_literals;

TEST(EscapeTest, LeavesPrintableUtf8AsItIs) {
  EXPECT_EQ(escaped("usr/share/Müller/日本語 🙂.txt"), "usr/share/Müller/日本語 🙂.txt");
}

TEST(EscapeTest, ShowsControlCharactersBackslashAndInvalidUtf8AsText) {
  EXPECT_EQ(escaped("a\nb\tc\\d"), "a\\nb\\tc\\\\d");
  EXPECT_EQ(escaped("\x1b[31mred\x7f"), "\\x1b[31mred\\x7f");
  EXPECT_EQ(escaped("\xff\xfe"), "\\xff\\xfe");
  EXPECT_EQ(escaped("a\0b"s), "a\\x00b");
}

// C1 controls are commands to terminals as ESC is; overlong forms and surrogates are no UTF-8.
TEST(EscapeTest, TakesNoDisguiseOfAControlCharacter) {
  EXPECT_EQ(escaped("\xc2\x9b"
                    "31m"),
            "\\xc2\\x9b31m");
  EXPECT_EQ(escaped("\xc0\x8a"), "\\xc0\\x8a");
  EXPECT_EQ(escaped("\xed\xa0\x80"), "\\xed\\xa0\\x80");
  EXPECT_EQ(escaped("\xf4\x90\x80\x80"), "\\xf4\\x90\\x80\\x80");
  EXPECT_EQ(escaped("\xe2\x82"), "\\xe2\\x82");  // cut off
}

// All characters of the property Bidi_Control: one of them makes "gpj.exe" read as "exe.jpg".
TEST(EscapeTest, ShowsEveryBidirectionalControl) {
  for (const std::string control : {"\u061c", "\u200e", "\u200f", "\u202a", "\u202b", "\u202c", "\u202d",
                                    "\u202e", "\u2066", "\u2067", "\u2068", "\u2069"})
    EXPECT_EQ(escaped(control).find("\\x"), 0u) << escaped(control);
}

TEST(EscapeTest, UnescapeGivesBackTheBytesOfEveryString) {
  std::mt19937 random(20261124);
  for (int i = 0; i < 20000; ++i) {
    std::string bytes(random() % 24, '\0');
    for (auto& c : bytes)
      c = static_cast<char>(random() % 4 == 0 ? "\\xn0a"[random() % 5] : static_cast<char>(random()));
    const std::string text = escaped(bytes);
    std::string back;
    ASSERT_TRUE(unescape(text, back)) << text;
    ASSERT_EQ(back, bytes) << text;
    for (const char c : text) ASSERT_TRUE(static_cast<unsigned char>(c) >= 0x20 && c != 0x7f) << text;
  }
}

TEST(EscapeTest, UnescapeRefusesWhatEscapedNeverWrites) {
  std::string bytes;
  for (const char* text : {"\\", "a\\", "\\q", "\\x", "\\x1", "\\xg0", "\\x0g", "\\xAB"})
    EXPECT_FALSE(unescape(text, bytes)) << text;
}

TEST(EscapeTest, HtmlHoldsNoMarkup) {
  EXPECT_EQ(html_escaped("<script>\"&'\n"), "&lt;script&gt;&quot;&amp;&#39;\\n");
}

}  // namespace
}  // namespace vs
