#include "isolation/context/watched_output.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>

namespace vs::isolation {
namespace {

std::string labelled(const std::string& output, bool& found) {
  return with_contexts(
      output, [](pid_t pid) { return "<" + std::to_string(pid) + ">"; }, found);
}

TEST(WatchedOutputTest, TheContextStandsBehindTheNumberOfTheProcess) {
  bool found = false;
  EXPECT_EQ(labelled("USER   PID %CPU COMMAND\nroot    12  0.0 sleep 7\n", found),
            "USER   PID    CTX NAME       %CPU COMMAND\nroot    12 <12>  0.0 sleep 7\n");
  EXPECT_TRUE(found);
  EXPECT_EQ(labelled("  PID LWP\n    -   1\n", found),
            "  PID    CTX NAME       LWP\n    -                     1\n")
      << "threads have no number there";
}

TEST(WatchedOutputTest, NumbersInFreeTextAreNotTakenForProcesses) {
  bool found = true;
  EXPECT_EQ(labelled("COMMAND PID\nx 1 2\n", found), "COMMAND PID\nx 1 2\n");
  EXPECT_FALSE(found);
  EXPECT_EQ(labelled("", found), "");
  EXPECT_FALSE(found);
}

TEST(WatchedOutputTest, NothingOfANameReachesTheTerminalRaw) {
  EXPECT_EQ(safe_line("a\x1b[2J\x9b\xc2\x9b\xe2\x80\xae z\\n\t\xc3\xa4"),
            "a\\x1b[2J\\x9b\\xc2\\x9b\\xe2\\x80\\xae z\\n\t\xc3\xa4");
  bool found = false;
  EXPECT_EQ(labelled("PID CMD\n1 \x1b]0;x\x07\n", found),
            "PID    CTX NAME       CMD\n1 <1> \\x1b]0;x\\x07\n");
}

}  // namespace
}  // namespace vs::isolation
