// Processes of all contexts from the host: vps, vpstree, vtop, vkill, and the spectator's sessions of the
// original guide.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <linux/sched.h>
#include <signal.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include <filesystem>
#include <fstream>
#include <sstream>

#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;
using testing::Not;

class ProcessToolsTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    VS_NEEDS_PROGRAM("ps", "procps");
    VS_NEEDS_PROGRAM("top", "procps");
    VS_NEEDS_PROGRAM("pstree", "psmisc");
    host_ = std::make_unique<IsolationHost>();
    // A program of a name that no other test on this machine has: killall goes by it.
    xterm_ = fmt::format("xterm{}", ::getpid() % 100000);
    fs::copy_file("/bin/sleep", host_->path(xterm_));
  }

  struct Row {
    std::string pid, context, name;
  };
  // What vps says about the one process whose command line has `text`.
  Row row_of(const std::string& text) {
    Row row;
    EXPECT_TRUE(within(std::chrono::seconds(10), [&] {
      std::istringstream lines(host_->tool({"vps", "axww", "-o", "pid,args"}).out);
      for (std::string line; std::getline(lines, line);)
        if (line.find(text) != std::string::npos && line.find("chcontext") == std::string::npos)
          std::istringstream(line) >> row.pid >> row.context >> row.name;
      return !row.pid.empty();
    })) << text;
    return row;
  }
  std::unique_ptr<Process> in_context(const std::string& number) {
    return std::make_unique<Process>(
        Command{VS_BINARY_DIR "/chcontext", "--ctx", number, host_->path(xterm_), "297"},
        RunOptions{host_->environment(), {}, std::chrono::milliseconds(60000)});
  }
  std::string start_guest(const std::string& command) {
    const auto guest = host_->add("guest", "S_CONTEXT=300\n");
    EXPECT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
    host_->vserver(guest, {"exec", "sh", "-c", "(" + command + ") >/dev/null 2>&1 </dev/null &"});
    return guest;
  }

  std::unique_ptr<IsolationHost> host_;
  std::string xterm_;
};

TEST_F(ProcessToolsTest, VpsTellsTheContextAndTheVserverOfEachProcess) {
  const std::string mark = fmt::format("3{}.25", ::getpid());
  const auto guest = start_guest("exec sleep " + mark);
  const Row inside = row_of("sleep " + mark);
  EXPECT_EQ(inside.context, "300");
  EXPECT_EQ(inside.name, guest.substr(0, 10));
  const Process outside({"sleep", mark + "1"});
  EXPECT_EQ(row_of("sleep " + mark + "1").name, "MAIN");
  const auto own = host_->tool({"vps", "ax", "-o", "pid,args"});
  EXPECT_THAT(own.out, testing::ContainsRegex(" 1 ALL_PROCS +ps ax"));
  EXPECT_EQ(host_->tool({"vps", "--no-such-option"}).exit_code, 1) << "the status of ps";
  EXPECT_THAT(host_->tool({"vps", "ax", "-o", "comm,pid"}).err, HasSubstr("no contexts are shown"));
}

TEST_F(ProcessToolsTest, EscapeCodesInNamesOfProcessesReachNoTerminal) {
  const std::string mark = fmt::format("4{}.25", ::getpid());
  start_guest("printf '\\033[31mEVIL' > /proc/self/comm; sleep " + mark + "; true");
  row_of("sleep " + mark);
  EXPECT_THAT(must_run({"sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null; true"}), HasSubstr("\033[31mEVIL"))
      << "the harness";
  // procps and psmisc by themselves, as vtop relies on for what it draws on a terminal; and a ps that does
  // not escape.
  EXPECT_THAT(must_run({"top", "-b", "-n", "1", "-w", "200"}), Not(HasSubstr("\033")));
  for (const Command& command :
       {Command{"vps", "ax"}, Command{"vpstree", "-A"}, Command{"vtop", "-b", "-n", "1", "-w", "200"}}) {
    const auto shown_by = host_->tool(command);
    EXPECT_EQ(shown_by.exit_code, 0) << shown(shown_by);
    EXPECT_THAT(shown_by.out, HasSubstr("EVIL")) << command[0];
    EXPECT_THAT(shown_by.out, Not(HasSubstr("\033"))) << command[0];
  }
  std::ofstream(host_->path("ps")) << "#!/bin/sh\nexec busybox ps -o pid,comm\n";
  fs::permissions(host_->path("ps"), fs::perms::owner_all);
  auto environment = host_->environment();
  environment["PATH"] = host_->path("") + ":/usr/sbin:/usr/bin:/sbin:/bin";
  const auto raw = run({VS_BINARY_DIR "/vps"}, {environment, {}, std::chrono::milliseconds(60000)});
  EXPECT_THAT(raw.out, HasSubstr("EVIL")) << shown(raw);
  EXPECT_THAT(raw.out, Not(HasSubstr("\033")));
}

TEST_F(ProcessToolsTest, VkillSignalsAProcessOfAnyContextAndWithCtxOnlyOfThatOne) {
  const std::string mark = fmt::format("5{}.25", ::getpid());
  const auto guest = start_guest("exec sleep " + mark);
  const Row row = row_of("sleep " + mark);
  const auto elsewhere = host_->tool({"vkill", "--ctx", "301", "-KILL", row.pid});
  EXPECT_EQ(elsewhere.exit_code, 1);
  EXPECT_THAT(elsewhere.err, HasSubstr("it is in context 300, not 301"));
  EXPECT_EQ(row_of("sleep " + mark).pid, row.pid) << "alive";
  EXPECT_EQ(host_->tool({"vkill", "-s", "NOSUCH", row.pid}).exit_code, 2);
  EXPECT_EQ(host_->tool({"vkill", "-KILL"}).exit_code, 2);
  EXPECT_EQ(host_->tool({"vkill", "--ctx", guest, "-s", "KILL", row.pid}).exit_code, 0);
  EXPECT_TRUE(within(std::chrono::seconds(10), [&] { return !fs::exists("/proc/" + row.pid); }));
  const auto gone = host_->tool({"vkill", "-9", row.pid});
  EXPECT_EQ(gone.exit_code, 1);
  EXPECT_THAT(gone.err, HasSubstr("No such process"));
}

// Child `number`, which sleeps; false when it is taken.
bool fork_as(pid_t number, const std::string& mark) {
  struct clone_args arguments {};
  arguments.exit_signal = SIGCHLD;
  arguments.set_tid = reinterpret_cast<uint64_t>(&number);
  arguments.set_tid_size = 1;
  const long pid = ::syscall(SYS_clone3, &arguments, sizeof arguments);
  if (pid == 0) {
    ::execl("/bin/sleep", "sleep", mark.c_str(), nullptr);
    ::_exit(127);
  }
  return pid == number;
}

// The first of these processes has looked another one up: it holds a descriptor of it.
bool has_pidfd(const std::vector<pid_t>& processes) {
  if (processes.empty()) return false;
  std::error_code error;
  for (const auto& fd : fs::directory_iterator(fmt::format("/proc/{}/fd", processes[0]), error))
    if (fs::read_symlink(fd, error).string().find("pidfd") != std::string::npos) return true;
  return false;
}

TEST_F(ProcessToolsTest, VkillNeverHitsWhoGotTheNumberMeanwhile) {
  VS_NEEDS_PROGRAM("strace", "strace");
  const std::string mark = fmt::format("8{}", ::getpid());
  auto victim = std::make_unique<Process>(Command{"sleep", "100"});
  const pid_t number = victim->pid();
  // It has looked the number up, and stands still for two seconds before it signals.
  Process vkill({"strace", "-qq", "-o", host_->path("trace"), "-e", "trace=pidfd_send_signal", "-e",
                 "inject=pidfd_send_signal:delay_enter=2000000", VS_BINARY_DIR "/vkill", "-KILL",
                 fmt::to_string(number)},
                {host_->environment(), {}, std::chrono::milliseconds(60000)});
  ASSERT_TRUE(within(std::chrono::seconds(10), [&] { return has_pidfd(children_of(vkill.pid())); }));
  ASSERT_TRUE(vkill.running());
  victim.reset();
  if (!fork_as(number, mark))
    VS_SKIP(kChance) << "somebody else got the number, or this kernel gives none out on request";
  const auto result = vkill.wait();
  EXPECT_EQ(result.exit_code, 1) << shown(result);
  EXPECT_THAT(result.err, HasSubstr("No such process"));
  EXPECT_EQ(::waitpid(number, nullptr, WNOHANG), 0) << "it lives";
  EXPECT_EQ(host_->tool({"vkill", "-KILL", fmt::to_string(number)}).exit_code, 0)
      << "the harness: a new look-up reaches it";
  int status = 0;
  ASSERT_EQ(::waitpid(number, &status, 0), number);
  EXPECT_TRUE(WIFSIGNALED(status));
}

TEST_F(ProcessToolsTest, VtopDrawsOnATerminalAndEscapesNamesThere) {
  VS_NEEDS_PROGRAM("script", "bsdutils");
  const std::string mark = fmt::format("9{}.25", ::getpid());
  start_guest("printf 'x\\033]0;EVIL\\007' > /proc/self/comm; sleep " + mark + "; true");
  row_of("sleep " + mark);
  EXPECT_THAT(must_run({"sh", "-c", "cat /proc/[0-9]*/comm 2>/dev/null; true"}), HasSubstr("\033]0;EVIL"))
      << "the harness";
  // 'c' would show command lines; 'q' ends it. A wide and high terminal, so that every process has a line.
  auto environment = host_->environment();
  environment["TERM"] = "xterm";
  const auto result = run(
      {"sh", "-c",
       "(sleep 2; printf q) | script -qec 'stty rows 2000 cols 160; " VS_BINARY_DIR "/vtop -d 1' /dev/null"},
      {environment, {}, std::chrono::milliseconds(30000)});
  EXPECT_EQ(result.exit_code, 0) << shown(result);
  EXPECT_THAT(result.out, HasSubstr("\033[")) << "it draws";
  EXPECT_THAT(result.out, HasSubstr("EVIL")) << "it shows the processes of vservers";
  EXPECT_THAT(result.out, Not(HasSubstr("\033]0;EVIL"))) << "the name is escaped";
}

// The sessions of the guide, 2.6, with a program of our own in the place of xterm.
TEST_F(ProcessToolsTest, KillallInANewContextReachesNobody) {
  Process outside({host_->path(xterm_), "297"});
  const auto result = host_->tool({"chcontext", "--silent", "busybox", "killall", xterm_});
  EXPECT_EQ(result.exit_code, 1);
  EXPECT_THAT(result.err, HasSubstr("no process killed"));
  EXPECT_TRUE(outside.running());
}

TEST_F(ProcessToolsTest, ContextOneSeesAndCannotKillAndTheNumberReadFromAProcessIsUsedToKill) {
  const auto one = in_context("4711"), other = in_context("4712");
  const Row row = row_of(xterm_ + " 297");
  ASSERT_TRUE(row.context == "4711" || row.context == "4712") << row.context;
  EXPECT_THAT(host_->tool({"chcontext", "--silent", "--ctx", "1", "ps", "ax"}).out, HasSubstr(xterm_));
  // It sees them, and the kernel finds no process of these numbers where it sends from.
  for (const Command& kill : {Command{"busybox", "killall", "-9", xterm_}, Command{"kill", "-9", row.pid}}) {
    Command command = {"chcontext", "--silent", "--ctx", "1"};
    command.insert(command.end(), kill.begin(), kill.end());
    EXPECT_THAT(host_->tool(command).err, HasSubstr("No such process"));
  }
  EXPECT_TRUE(one->running());
  EXPECT_TRUE(other->running());
  host_->tool({"chcontext", "--silent", "--ctx", row.context, "busybox", "killall", "-9", xterm_});
  auto& hit = row.context == "4711" ? *one : *other;
  auto& spared = row.context == "4711" ? *other : *one;
  EXPECT_EQ(hit.wait().exit_code, 137);
  EXPECT_TRUE(spared.running()) << "a process of the same name in another context";
  host_->end(spared);
}

TEST_F(ProcessToolsTest, TheSpectatorsHostNameIsItsOwn) {
  const std::string before = must_run({"hostname"});
  EXPECT_THAT(host_->tool({"chcontext", "--ctx", "1", "--hostname", "watcher", "hostname"}).out,
              testing::EndsWith("watcher\n"));
  EXPECT_EQ(must_run({"hostname"}), before);
}

}  // namespace
}  // namespace vs::test
