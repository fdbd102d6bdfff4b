#include "core/progress.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <cstdio>
#include <thread>

#include "core/unique_fd.h"

namespace vs {
namespace {

using namespace std::chrono_literals;
using testing::HasSubstr;

// stderr is a pseudo terminal while this lives.
class TerminalStderr {
 public:
  TerminalStderr() {
    int master = -1, slave = -1;
    if (::openpty(&master, &slave, nullptr, nullptr, nullptr) != 0) throw std::runtime_error("openpty");
    master_.reset(master);
    ::fcntl(master, F_SETFL, O_NONBLOCK);
    saved_.reset(::dup(STDERR_FILENO));
    ::dup2(slave, STDERR_FILENO);
    ::close(slave);
  }
  ~TerminalStderr() { ::dup2(saved_.get(), STDERR_FILENO); }
  std::string shown() {
    std::fflush(stderr);
    char buffer[1 << 16];
    const ssize_t got = ::read(master_.get(), buffer, sizeof buffer);
    return got < 0 ? "" : std::string(buffer, static_cast<size_t>(got));
  }

 private:
  UniqueFd master_, saved_;
};

void work(Progress& progress) {
  progress.start("scan", "entries", 1000);
  for (int i = 0; i < 30; ++i) {
    progress.add(10);
    std::this_thread::sleep_for(5ms);
  }
}

TEST(ProgressTest, DrawsOneLineWithCountRateAndTimeLeftOnATerminal) {
  TerminalStderr terminal;
  Log log(Verbosity::normal);
  Progress progress(log, ProgressMode::automatic);
  work(progress);
  const std::string shown = terminal.shown();
  EXPECT_THAT(shown, HasSubstr("\r\x1b[Kscan: "));
  EXPECT_THAT(shown, HasSubstr(" of 1000 entries, "));
  EXPECT_THAT(shown, HasSubstr("/s, "));
  EXPECT_THAT(shown, HasSubstr(" s left"));
  EXPECT_EQ(shown.find('\n'), std::string::npos);
}

TEST(ProgressTest, ALogLineTakesThePlaceOfTheProgressLine) {
  TerminalStderr terminal;
  Log log(Verbosity::normal, "p");
  Progress progress(log, ProgressMode::automatic);
  work(progress);
  terminal.shown();
  log.info("hello");
  EXPECT_THAT(terminal.shown(), HasSubstr("\r\x1b[Kp: hello"));
}

TEST(ProgressTest, LeavesNoLineBehind) {
  TerminalStderr terminal;
  Log log(Verbosity::normal);
  Progress progress(log, ProgressMode::automatic);
  work(progress);
  terminal.shown();
  progress.finish();
  EXPECT_EQ(terminal.shown(), "\r\x1b[K");
}

TEST(ProgressTest, SaysNothingWhenTurnedOffOrQuiet) {
  TerminalStderr terminal;
  Log quiet(Verbosity::quiet), normal(Verbosity::normal);
  Progress automatic(quiet, ProgressMode::automatic), never(normal, ProgressMode::never);
  work(automatic);
  work(never);
  EXPECT_EQ(terminal.shown(), "");
}

// A log file of a nightly job is not filled with lines a tenth of a second apart.
TEST(ProgressTest, IsSparingWhereNobodyWatches) {
  testing::internal::CaptureStderr();
  Log log(Verbosity::normal);
  Progress progress(log, ProgressMode::always);
  work(progress);
  progress.finish();
  EXPECT_EQ(testing::internal::GetCapturedStderr(), "");
}

}  // namespace
}  // namespace vs
