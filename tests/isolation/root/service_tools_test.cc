// v_SERVICE, newvserver, and verbs that run services inside.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>

#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using testing::HasSubstr;

void write_script(const std::string& path, const std::string& text) {
  fs::create_directories(fs::path(path).parent_path());
  std::ofstream(path) << "#!/bin/sh\n" << text;
  fs::permissions(path, fs::perms::owner_all);
}

class ServiceToolsTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    host_ = std::make_unique<IsolationHost>();
  }
  RunResult wrapper(const std::string& name, Command words) {
    const std::string link = host_->path(name);
    if (!fs::exists(link)) fs::create_symlink(VS_BINARY_DIR "/v_service", link);
    words.insert(words.begin(), link);
    auto environment = host_->environment();
    environment["VS_INIT_SCRIPTS"] = host_->path("init.d");
    return run(words, {environment, {}, std::chrono::milliseconds(60000)});
  }
  std::unique_ptr<IsolationHost> host_;
};

TEST_F(ServiceToolsTest, AWrapperTiesTheHostsServiceToTheAddressesOfItsFile) {
  must_run({"ip", "addr", "add", "10.97.0.9/32", "dev", "lo"});
  const std::string attacker = VS_BINARY_DIR "/isolation_attacker";
  write_script(
      host_->path("init.d/named"),
      fmt::format(
          "echo $0 \"$@\" $SYSTEMCTL_SKIP_REDIRECT\n{0} bind 127.0.0.1 && ! {0} bind 10.97.0.9 && exit 7\n",
          attacker));
  std::ofstream(host_->path("services/named.conf")) << "# of the original's kind\nIP=\"10.97.0.9\"\n";
  const auto result = wrapper("v_named", {"restart", "now"});
  EXPECT_EQ(result.exit_code, 7) << shown(result);
  EXPECT_THAT(result.out, testing::StartsWith("ipv4root is now 10.97.0.9\n"));
  EXPECT_THAT(result.out, HasSubstr("init.d/named restart now 1\n"));
  const auto by_word = wrapper("v_service", {"named", "restart"});
  EXPECT_EQ(by_word.exit_code, 7) << shown(by_word);
  host_->tool({"vserver-stat"});  // sweeps
  must_run({"ip", "addr", "del", "10.97.0.9/32", "dev", "lo"});
}

TEST_F(ServiceToolsTest, AServiceIsNeverStartedOnAllAddressesByMistake) {
  write_script(host_->path("init.d/sshd"), "touch " + host_->path("ran") + "\n");
  EXPECT_EQ(wrapper("v_sshd", {"start"}).exit_code, 125) << "no file";
  for (const char* conf : {"", "IP=\"\"\n", "IPS=1.2.3.4\n", "IP=$(ip)\n", "IP=no.such.name.invalid\n"}) {
    std::ofstream(host_->path("services/sshd.conf")) << conf;
    EXPECT_EQ(wrapper("v_sshd", {"start"}).exit_code, 125) << conf;
  }
  EXPECT_EQ(wrapper("v_service", {"../sshd", "start"}).exit_code, 125);
  EXPECT_FALSE(fs::exists(host_->path("ran")));
  std::ofstream(host_->path("services/gated.conf")) << "IP=lo\n";
  EXPECT_EQ(wrapper("v_gated", {"start"}).exit_code, 127) << "no script";
  host_->tool({"vserver-stat"});
}

TEST_F(ServiceToolsTest, NewvserverShowsWhatItDoesAndDoesIt) {
  // Named by the test's host, which looks for what is left of it.
  const auto name = host_->add("new", "");
  fs::remove_all(host_->tree(name));
  fs::remove(host_->path("conf/" + name + ".conf"));
  const Command words = {"newvserver",   "--name",  name, "--hostname", "www",     "--ip",
                         "10.99.0.7/32", "--ondev", "lo", "--method",   "skeleton"};
  Command only_shown = words;
  only_shown.push_back("--dry-run");
  const auto shown_only = host_->tool(only_shown);
  EXPECT_EQ(shown_only.exit_code, 0) << shown(shown_only);
  EXPECT_THAT(shown_only.out,
              HasSubstr("/vserver " + name +
                        " build --method skeleton --ip 10.99.0.7/32 --ondev lo --hostname www\n"));
  EXPECT_FALSE(fs::exists(host_->tree(name)));
  const auto made = host_->tool(words);
  EXPECT_EQ(made.exit_code, 0) << shown(made);
  EXPECT_EQ(read_file(host_->path("conf/" + name + ".conf")),
            "ONBOOT=\"no\"\nIPROOT=\"10.99.0.7/32\"\nIPROOTDEV=\"lo\"\nS_HOSTNAME=\"www\"\n");
  EXPECT_EQ(host_->tool(words).exit_code, 1) << "it exists";
  EXPECT_EQ(host_->tool({"newvserver", "--method", "skeleton"}).exit_code, 2)
      << "without a terminal nothing is asked";
  EXPECT_EQ(host_->tool({"newvserver", "--name", "../x"}).exit_code, 2);
}

TEST_F(ServiceToolsTest, NewvserverAsksOnATerminal) {
  VS_NEEDS_PROGRAM("script", "bsdutils");
  const auto name = host_->add("asked", "");
  fs::remove_all(host_->tree(name));
  fs::remove(host_->path("conf/" + name + ".conf"));
  const auto session = [&](const std::string& last) {
    std::ofstream(host_->path("answers")) << name << "\nlab\n\nskeleton\n0\n" << last << "\n";
    return run(
        {"sh", "-c", "script -qec '" VS_BINARY_DIR "/newvserver' /dev/null < " + host_->path("answers")},
        {host_->environment(), {}, std::chrono::milliseconds(60000)});
  };
  const auto refused = session("no");
  EXPECT_EQ(refused.exit_code, 130) << shown(refused);
  EXPECT_FALSE(fs::exists(host_->tree(name)));
  const auto made = session("yes");
  EXPECT_EQ(made.exit_code, 0) << shown(made);
  EXPECT_THAT(read_file(host_->path("conf/" + name + ".conf")), HasSubstr("S_HOSTNAME=\"lab\""));
}

TEST_F(ServiceToolsTest, ServiceChkconfigAndSuexecRunInsideAndPassTheirStatus) {
  const auto guest = host_->add("guest", "");
  write_script(host_->tree(guest) + "/etc/init.d/httpd", "echo httpd $1 $(hostname); exit 3\n");
  write_script(host_->tree(guest) + "/bin/chkconfig", "echo chkconfig \"$@\"; exit 4\n");
  ASSERT_EQ(host_->vserver(guest, {"start"}).exit_code, 0);
  const auto service = host_->vserver(guest, {"service", "httpd", "restart"});
  EXPECT_EQ(service.exit_code, 3);
  EXPECT_EQ(service.out, "httpd restart " + guest + "\n");
  EXPECT_EQ(host_->vserver(guest, {"service", "../../etc/init.d/httpd", "start"}).exit_code, 125);
  EXPECT_EQ(host_->vserver(guest, {"service", "httpd"}).exit_code, 125) << "what to do is missing";
  EXPECT_EQ(host_->vserver(guest, {"service", "no-such", "start"}).exit_code, 127);
  const auto chkconfig = host_->vserver(guest, {"chkconfig", "--list", "httpd"});
  EXPECT_EQ(chkconfig.exit_code, 4);
  EXPECT_EQ(chkconfig.out, "chkconfig --list httpd\n");
  EXPECT_EQ(host_->vserver(guest, {"suexec", "www", "sh", "-c", "id -un; pwd"}).out, "www\n/tmp\n");
  EXPECT_EQ(host_->vserver(guest, {"suexec", "www"}).exit_code, 125);
}

TEST_F(ServiceToolsTest, VserversStartsOneProfileAndSideBySideWhereItIsTold) {
  const auto first = host_->add("a", "ONBOOT=yes\nPROFILE=backup\n"),
             second = host_->add("b", "ONBOOT=yes\nPROFILE=backup\n"),
             other = host_->add("c", "ONBOOT=yes\n");
  // Each waits for the other: one after the other they would never start.
  for (const auto& [self, peer] : {std::pair{first, second}, {second, first}})
    write_script(host_->path("conf/" + self + ".sh"),
                 fmt::format("[ $1 = pre-start ] || exit 0\ntouch {0}/{1}.here\nfor i in $(seq 200); do [ -e "
                             "{0}/{2}.here ] && exit 0; sleep 0.05; done; exit 1\n",
                             host_->path("run"), self, peer));
  std::ofstream(host_->path("vservers.conf")) << "BACKGROUND=yes\nPROFILE=backup\nSTOP_TIMEOUT=2\n";
  const auto started = host_->tool({"vservers", "start"});
  EXPECT_EQ(started.exit_code, 0) << shown(started);
  EXPECT_EQ(host_->vserver(first, {"running"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(second, {"running"}).exit_code, 0);
  EXPECT_EQ(host_->vserver(other, {"running"}).exit_code, 1) << "of another profile";
  EXPECT_THAT(host_->tool({"vservers", "status"}).out, HasSubstr("Server " + other + " is not running"));
  EXPECT_EQ(host_->tool({"vservers", "stop"}).exit_code, 0);
  std::ofstream(host_->path("vservers.conf")) << "BACKGROUND=perhaps\n";
  const auto wrong = host_->tool({"vservers", "start"});
  EXPECT_EQ(wrong.exit_code, 2);
  EXPECT_THAT(wrong.err, HasSubstr("vservers.conf:1: BACKGROUND: expected yes or no"));
}

}  // namespace
}  // namespace vs::test
