#include "core/key_value.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include "core/error.h"
#include "tests/core/scratch.h"

namespace vs {
namespace {

using testing::HasSubstr;

std::string trouble(const std::string& text, KeyValueGrammar grammar = KeyValueGrammar::plain) {
  try {
    parse_key_values("a.conf", text, grammar);
  } catch (const Error& error) {
    EXPECT_EQ(error.code(), Exit::usage);
    return error.what();
  }
  return "";
}

std::string value_of(const std::string& text, KeyValueGrammar grammar = KeyValueGrammar::plain) {
  const auto lines = parse_key_values("a.conf", text, grammar);
  return lines.size() == 1 ? lines[0].value : "not one line";
}

TEST(KeyValueTest, APlainValueIsTheRestOfItsLine) {
  EXPECT_EQ(value_of("store = /pool/a store # 1\n"), "/pool/a store # 1");
  EXPECT_EQ(value_of("# a comment\n\n  jobs\t=  4\t\r\n"), "4");
  EXPECT_EQ(value_of("title = don't\n"), "don't");
  EXPECT_EQ(value_of("empty ="), "");
}

TEST(KeyValueTest, APlainValueInQuotesEndsWithThem) {
  EXPECT_EQ(value_of("store = \"/pool/a store\"  # mine\n"), "/pool/a store");
  EXPECT_EQ(value_of("store = '/pool/#1'\n"), "/pool/#1");
  EXPECT_THAT(trouble("store = \"/pool\n"), HasSubstr("a.conf:1: store: expected a closing \""));
  EXPECT_THAT(trouble("store = \"/pool\" or so\n"), HasSubstr("expected nothing after the value"));
}

TEST(KeyValueTest, NamesFileAndLineAndWhatWasExpected) {
  EXPECT_THAT(trouble("jobs = 4\nstore /pool\n"),
              HasSubstr("a.conf:2: line: expected option = value, found 'store /pool'"));
}

TEST(KeyValueTest, WhatAShellWouldHaveExecutedIsRefusedInItsGrammarOnly) {
  EXPECT_THAT(trouble("NAME=$HOME\n", KeyValueGrammar::shell),
              HasSubstr("a.conf:1: NAME: expected a plain value"));
  EXPECT_EQ(value_of("exclude = /srv/$x\n"), "/srv/$x");
  EXPECT_EQ(value_of("export NAME=\"two words\" # both\n", KeyValueGrammar::shell), "two words");
}

TEST(KeyValueTest, SaysWhichFileCannotBeRead) {
  const unit::ScratchDir dir;
  try {
    read_key_values(dir / "missing.conf", KeyValueGrammar::plain);
    ADD_FAILURE();
  } catch (const Error& error) {
    EXPECT_THAT(error.what(), HasSubstr(dir / "missing.conf"));
  }
}

}  // namespace
}  // namespace vs
