#include "core/error.h"

#include <gtest/gtest.h>

#include <cerrno>
#include <memory>

namespace vs {
namespace {

TEST(ErrorTest, ProblemSaysWhatWasTriedOnWhatAndWhatTheSystemAnswered) {
  errno = EACCES;
  const Problem problem = problem_from_errno("open for reading", "/a/b");
  EXPECT_EQ(problem.code, EACCES);
  EXPECT_EQ(problem.message, "open for reading /a/b: Permission denied");
}

TEST(ErrorTest, ProblemShowsTheObjectEscaped) {
  const Problem problem = problem_from(ENOENT, "open", "a\x1b[2Jb\nvunify: all is well");
  EXPECT_EQ(problem.message, "open a\\x1b[2Jb\\nvunify: all is well: No such file or directory");
}

TEST(ErrorTest, ExpectedHoldsAValueOrAProblem) {
  const Expected<int> good = 7;
  const Expected<int> bad = Problem{EIO, "no"};
  ASSERT_TRUE(good.has_value());
  EXPECT_EQ(*good, 7);
  ASSERT_FALSE(bad.has_value());
  EXPECT_EQ(bad.error().code, EIO);
}

TEST(ErrorTest, ExpectedMovesWhatCannotBeCopied) {
  Expected<std::unique_ptr<int>> holder = std::make_unique<int>(3);
  const std::unique_ptr<int> taken = std::move(*holder);
  EXPECT_EQ(*taken, 3);
}

TEST(ErrorTest, ValueOrThrowCarriesTextAndExitCode) {
  EXPECT_EQ(value_or_throw(Expected<int>(5)), 5);
  try {
    value_or_throw(Expected<int>(Problem{EIO, "read x: broken"}), Exit::stale_plan);
    FAIL() << "did not throw";
  } catch (const Error& error) {
    EXPECT_STREQ(error.what(), "read x: broken");
    EXPECT_EQ(error.code(), Exit::stale_plan);
  }
}

// Scripts compare these numbers: they are part of the contract.
TEST(ErrorTest, ExitCodesAreTheDocumentedNumbers) {
  EXPECT_EQ(static_cast<int>(Exit::done), 0);
  EXPECT_EQ(static_cast<int>(Exit::failed), 1);
  EXPECT_EQ(static_cast<int>(Exit::usage), 2);
  EXPECT_EQ(static_cast<int>(Exit::skipped), 3);
  EXPECT_EQ(static_cast<int>(Exit::stale_plan), 4);
  EXPECT_EQ(static_cast<int>(Exit::locked), 11);
  EXPECT_EQ(static_cast<int>(Exit::interrupted), 130);
}

}  // namespace
}  // namespace vs
