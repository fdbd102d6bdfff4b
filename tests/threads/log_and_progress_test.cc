// What every thread of every pass writes to.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <pty.h>
#include <unistd.h>

#include <cstdio>

#include "core/cancel.h"
#include "core/log.h"
#include "core/progress.h"
#include "core/unique_fd.h"
#include "tests/threads/workers.h"

namespace vs {
namespace {

using namespace std::chrono_literals;
using unit::kWorkers;

// stderr is a terminal whose output a thread reads, until the end of the scope.
class Terminal {
 public:
  Terminal() {
    int master = -1, slave = -1;
    if (::openpty(&master, &slave, nullptr, nullptr, nullptr) != 0) throw std::runtime_error("openpty");
    master_.reset(master);
    saved_.reset(::dup(STDERR_FILENO));
    ::dup2(slave, STDERR_FILENO);
    ::close(slave);
    reader_ = std::jthread([this] {
      char buffer[4096];
      for (ssize_t got = 0; (got = ::read(master_.get(), buffer, sizeof buffer)) > 0;)
        text_.append(buffer, static_cast<size_t>(got));
    });
  }
  ~Terminal() { end(); }
  // Everything shown; stderr is what it was before.
  const std::string& end() {
    std::fflush(stderr);
    if (saved_)
      ::dup2(saved_.get(), STDERR_FILENO);  // the last descriptor of the terminal: its reader meets the end
    saved_.reset();
    if (reader_.joinable()) reader_.join();
    return text_;
  }

 private:
  UniqueFd master_, saved_;
  std::string text_;
  std::jthread reader_;
};

size_t count(const std::string& text, const std::string& what) {
  size_t n = 0;
  for (size_t at = text.find(what); at != std::string::npos; at = text.find(what, at + 1)) ++n;
  return n;
}

TEST(LogThreadsTest, LinesStayWholeAndAreCounted) {
  Terminal terminal;
  Log log(Verbosity::normal, "p");
  unit::in_threads([&](unsigned worker) {
    for (int i = 0; i < 100; ++i) {
      log.info("info of " + std::to_string(worker) + " end");
      log.object_failed("object of " + std::to_string(worker) + " end");
    }
  });
  EXPECT_EQ(log.failed_objects(), kWorkers * 100u);
  log.finish();
  const std::string& text = terminal.end();
  for (unsigned worker = 0; worker < kWorkers; ++worker)
    EXPECT_EQ(count(text, "p: info of " + std::to_string(worker) + " end\r\n"), 100u);
  EXPECT_EQ(count(text, "p: warning: object of "), Log::kNamed);
}

// The progress line is drawn by whoever comes first after its time, and cleared by whoever writes a line of
// the log.
TEST(ProgressThreadsTest, DrawingAndLoggingDoNotDisturbEachOther) {
  Terminal terminal;
  Log log(Verbosity::normal, "p");
  Progress progress(log, ProgressMode::always);
  for (const char* pass : {"scan", "verify"}) {
    progress.start(pass, "files", 4000);
    unit::in_threads([&](unsigned) {
      for (int i = 0; i < 60; ++i) {
        progress.add(10);
        if (i % 7 == 0) log.info("a line");
        std::this_thread::sleep_for(5ms);
      }
    });
    progress.finish();
  }
  const std::string& text = terminal.end();
  EXPECT_EQ(count(text, "p: a line\r\n"), 2 * kWorkers * 9u);
  EXPECT_GT(count(text, "scan: "), 1u);
}

TEST(CancelThreadsTest, ARequestReachesEveryThread) {
  Cancel cancel;
  unit::in_threads([&](unsigned worker) {
    if (worker == 0) cancel.request();
    while (!cancel.stop()) std::this_thread::yield();
  });
  EXPECT_TRUE(cancel.interrupted());
}

}  // namespace
}  // namespace vs
