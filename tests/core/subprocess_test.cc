#include "core/subprocess.h"

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>

#include "tests/support/within.h"

namespace {

using namespace vs;
using namespace std::chrono_literals;
using testing::HasSubstr;

Program shell(const std::string& script) {
  Program program;
  program.arguments = {"sh", "-c", script};
  program.in = Stream::null();
  program.out = program.err = Stream::capture(1 << 20);
  return program;
}

TEST(SubprocessTest, GivesOutputAndStatus) {
  const auto result = run_to_end(shell("echo good; echo bad >&2; exit 3"));
  ASSERT_TRUE(result) << result.error().message;
  EXPECT_EQ(result->out, "good\n");
  EXPECT_EQ(result->err, "bad\n");
  EXPECT_EQ(result->status.code(), 3);
  EXPECT_EQ(result->status.shell(), 3);
  EXPECT_FALSE(result->status.success());
  EXPECT_EQ(result->status.words(), "ended with status 3");
}

TEST(SubprocessTest, TellsASignalFromAStatus) {
  const auto result = run_to_end(shell("kill -TERM $$"));
  ASSERT_TRUE(result);
  EXPECT_EQ(result->status.signal(), SIGTERM);
  EXPECT_EQ(result->status.code(), -1);
  EXPECT_EQ(result->status.shell(), 128 + SIGTERM);
  EXPECT_THAT(result->status.words(), HasSubstr("was killed by signal 15"));
}

TEST(SubprocessTest, AFailedExecNamesTheProgramAndItsErrno) {
  const auto missing = run_to_end({.arguments = {"/nowhere/program"}});
  ASSERT_FALSE(missing);
  EXPECT_EQ(missing.error().code, ENOENT);
  EXPECT_THAT(missing.error().message, HasSubstr("/nowhere/program"));
  const auto directory = run_to_end({.arguments = {"/proc"}});
  ASSERT_FALSE(directory);
  EXPECT_EQ(directory.error().code, EACCES);
  EXPECT_EQ(run_to_end({}).error().code, EINVAL);
}

TEST(SubprocessTest, NothingIsLeftOfAProgramThatCouldNotBeRun) {
  ASSERT_FALSE(run_to_end({.arguments = {"/nowhere/program"}}));
  EXPECT_EQ(::waitpid(-1, nullptr, WNOHANG), -1);
  EXPECT_EQ(errno, ECHILD);
}

TEST(SubprocessTest, OutputOverTheLimitIsCutAndTheProgramGoesOn) {
  Program program = shell("head -c 300000 /dev/zero; echo done >&2");
  program.out = Stream::capture(1000);
  const auto result = run_to_end(program);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->out.size(), 1000u);
  EXPECT_EQ(result->err, "done\n");
  EXPECT_TRUE(result->cut);
  EXPECT_TRUE(result->status.success());
}

TEST(SubprocessTest, OutputOfExactlyTheLimitIsNotCut) {
  Program program = shell("printf 12345");
  program.out = Stream::capture(5);
  const auto result = run_to_end(program);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->out, "12345");
  EXPECT_FALSE(result->cut);
}

// The number of a process that the script leaves in the background.
pid_t background_of(const ProgramResult& result) {
  return static_cast<pid_t>(std::stol(result.out));
}
bool is_gone(pid_t pid) {
  char state = 'X';
  if (FILE* stat = ::fopen(("/proc/" + std::to_string(pid) + "/stat").c_str(), "re")) {
    if (::fscanf(stat, "%*d %*s %c", &state) != 1) state = 'X';
    ::fclose(stat);
  }
  return state == 'X' || state == 'Z';
}

TEST(SubprocessTest, TheDeadlineKillsTheWholeProcessGroup) {
  Program program = shell("sleep 1000 & echo $!; wait");
  program.deadline = 200ms;
  const auto result = run_to_end(program);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->out_of_time);
  EXPECT_EQ(result->status.signal(), SIGKILL);
  EXPECT_TRUE(vs::test::within(5s, [&] { return is_gone(background_of(*result)); }));
}

TEST(SubprocessTest, ACancelKillsTheWholeProcessGroup) {
  Cancel cancel;
  cancel.request();
  Program program = shell("sleep 1000 & echo $!; wait");
  program.cancel = &cancel;
  const auto result = run_to_end(program);
  ASSERT_TRUE(result);
  EXPECT_TRUE(result->interrupted);
  EXPECT_FALSE(result->out_of_time);
  EXPECT_EQ(result->status.signal(), SIGKILL);
}

TEST(SubprocessTest, WhatItLeavesInTheBackgroundIsNotWaitedFor) {
  const auto begun = std::chrono::steady_clock::now();
  const auto result = run_to_end(shell("sleep 1000 & echo $!"));
  ASSERT_TRUE(result);
  EXPECT_LT(std::chrono::steady_clock::now() - begun, 500s);
  ::kill(background_of(*result), SIGKILL);
}

TEST(SubprocessTest, WritingToAProgramThatDoesNotReadIsEpipe) {
  const auto before = ::signal(SIGPIPE, SIG_IGN);
  Program program = shell("exec <&-; exit 0");
  program.in = Stream::pipe();
  program.out = program.err = Stream::null();
  auto child = Subprocess::start(program);
  ASSERT_TRUE(child);
  const auto status = child->wait();
  ASSERT_TRUE(status && status->success());
  EXPECT_EQ(::write(child->in.get(), "x", 1), -1);
  EXPECT_EQ(errno, EPIPE);
  ::signal(SIGPIPE, before);
}

TEST(SubprocessTest, APipeFeedsTheProgram) {
  Program program = shell("cat");
  program.in = program.out = Stream::pipe();
  auto child = Subprocess::start(program);
  ASSERT_TRUE(child);
  ASSERT_EQ(::write(child->in.get(), "hello", 5), 5);
  child->in.reset();
  char buffer[16];
  EXPECT_EQ(::read(child->out.get(), buffer, sizeof buffer), 5);
  EXPECT_TRUE(child->wait()->success());
}

// In a child of its own: the test keeps its own stdin.
TEST(SubprocessTest, AClosedStdinBecomesDevNullAndNotAPipeOfOurs) {
  EXPECT_EXIT(
      {
        ::close(0);
        Program program = shell("readlink /proc/self/fd/0; cat");
        program.in = Stream::inherit();
        const auto result = run_to_end(program);
        ::_exit(result && result->out == "/dev/null\n" && result->status.success() ? 0 : 1);
      },
      testing::ExitedWithCode(0), "");
}

TEST(SubprocessTest, TheProgramGetsNoDescriptorButThoseNamed) {
  const int leaked = ::open("/dev/null", O_RDONLY);  // without O_CLOEXEC, as a library might
  const UniqueFd kept(::open("/dev/null", O_RDONLY | O_CLOEXEC));
  ASSERT_GE(leaked, 3);
  const std::string list = "n=3; while [ $n -lt 300 ]; do [ -L /proc/$$/fd/$n ] && echo $n; n=$((n+1)); done";
  const auto plain = run_to_end(shell(list));
  Program program = shell(list);
  program.keep = {kept.get()};
  const auto with_one = run_to_end(program);
  ::close(leaked);
  ASSERT_TRUE(plain && with_one);
  EXPECT_EQ(plain->out, "");
  EXPECT_EQ(with_one->out, std::to_string(kept.get()) + "\n");
}

TEST(SubprocessTest, NoneOfOurDescriptorsAreLeftOpenEither) {
  const auto lowest = [] {
    const UniqueFd fd(::open("/dev/null", O_RDONLY | O_CLOEXEC));
    return fd.get();
  };
  const int before = lowest();
  ASSERT_TRUE(run_to_end(shell("true")));
  ASSERT_FALSE(run_to_end({.arguments = {"/nowhere/program"}}));
  EXPECT_EQ(lowest(), before);
}

TEST(SubprocessTest, EnvironmentAndDirectoryAreThoseGiven) {
  const UniqueFd directory(::open("/proc", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  Program program = shell("echo \"$WORD $HOME\"; pwd");
  program.environment = {"WORD=yes", "PATH=/usr/bin:/bin"};
  program.directory = directory.get();
  const auto result = run_to_end(program);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->out, "yes \n/proc\n");
}

TEST(SubprocessTest, SignalsAreNotBlockedInTheProgram) {
  sigset_t all, before;
  ::sigfillset(&all);
  ::sigprocmask(SIG_BLOCK, &all, &before);
  const auto result = run_to_end(shell("grep SigBlk /proc/self/status"));
  ::sigprocmask(SIG_SETMASK, &before, nullptr);
  ASSERT_TRUE(result);
  EXPECT_EQ(result->out, "SigBlk:\t0000000000000000\n");
}

TEST(SubprocessTest, TheErrnoOfTheHookEndsTheStart) {
  Program program = shell("echo ran");
  program.before_exec = [] { return EPERM; };
  const auto result = run_to_end(program);
  ASSERT_FALSE(result);
  EXPECT_EQ(result.error().code, EPERM);
}

TEST(SubprocessTest, AFileOfTheCallersIsWrittenInto) {
  int ends[2];
  ASSERT_EQ(::pipe2(ends, O_CLOEXEC), 0);
  UniqueFd from(ends[0]), to(ends[1]);
  Program program = shell("echo text");
  program.out = Stream::file(to.get());
  ASSERT_TRUE(run_to_end(program));
  char buffer[16];
  EXPECT_EQ(::read(from.get(), buffer, sizeof buffer), 5);
}

TEST(SubprocessTest, AProgramEndsWithItsOwner) {
  pid_t pid = 0;
  {
    Program program = shell("sleep 1000");
    program.own_group = true;
    program.out = program.err = Stream::null();
    auto child = Subprocess::start(program);
    ASSERT_TRUE(child);
    pid = child->pid();
    EXPECT_FALSE(is_gone(pid));
  }
  EXPECT_TRUE(is_gone(pid));
}

}  // namespace
