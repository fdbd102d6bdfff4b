#include "core/cancel.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <thread>

namespace vs {
namespace {

using namespace std::chrono_literals;

TEST(CancelTest, StopsWhenAskedTo) {
  Cancel cancel;
  EXPECT_FALSE(cancel.stop());
  cancel.request();
  EXPECT_TRUE(cancel.stop());
  EXPECT_TRUE(cancel.interrupted());
  EXPECT_FALSE(cancel.out_of_time());
}

TEST(CancelTest, StopsWhenItsTimeIsUp) {
  Cancel cancel;
  cancel.limit_runtime(0s);
  EXPECT_TRUE(cancel.stop());
  EXPECT_TRUE(cancel.out_of_time());
  EXPECT_FALSE(cancel.interrupted()) << "a run that came to its limit did not fail and was not interrupted";
  Cancel patient;
  patient.limit_runtime(3600s);
  EXPECT_FALSE(patient.stop());
}

TEST(CancelTest, TheFirstSigintAsks) {
  static Cancel cancel;
  install_signal_handlers(cancel);
  std::raise(SIGINT);
  EXPECT_TRUE(cancel.interrupted());
  std::signal(SIGINT, SIG_DFL);
}

TEST(CancelDeathTest, TheSecondSigintEndsTheProcess) {
  EXPECT_EXIT(
      {
        static Cancel cancel;
        install_signal_handlers(cancel);
        std::raise(SIGINT);
        if (cancel.interrupted()) std::raise(SIGINT);
      },
      testing::KilledBySignal(SIGINT), "");
}

// The kernel tells of a broken lease by SIGIO, whose default is to end the process: any guest could end a
// run.
TEST(CancelDeathTest, ABrokenLeaseOrPipeDoesNotEndTheProcess) {
  EXPECT_EXIT(
      {
        static Cancel cancel;
        install_signal_handlers(cancel);
        std::raise(SIGIO);
        std::raise(SIGPIPE);
        ::_exit(cancel.interrupted() ? 1 : 0);
      },
      testing::ExitedWithCode(0), "");
}

}  // namespace
}  // namespace vs
