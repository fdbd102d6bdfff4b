// A day of real guests with servers up: two nightly runs, a service restarted in between, an upgrade, a guest
// dropped.
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <chrono>
#include <filesystem>
#include <memory>
#include <optional>

#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::EndsWith;
using testing::HasSubstr;
using testing::Not;

constexpr const char* kGuests = VS_SOURCE_DIR "/tests/support/guests.sh";

class GuestDayTest : public testing::Test {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    VS_NEEDS_PROGRAM("mmdebstrap", "mmdebstrap");
    host_ = std::make_unique<IsolationHost>();
    write_file(host_->path("vservers.conf"), "STOP_TIMEOUT=30\n");
    std::string trees;
    for (const char* name : {"one", "two"}) {
      guests_.push_back(host_->add_debian(
          name,
          fmt::format("IPROOT=10.99.0.{}\nIPROOTDEV=lo\nGUARD=\"!abstract-sockets\"\n", 30 + guests_.size()),
          "systemd-sysv dbus nginx openssh-server"));
      trees += fmt::format("tree = {}={}\n", guests_.back(), host_->tree(guests_.back()));
    }
    write_file(host_->path("vunify.conf"),
               trees + fmt::format("store = {0}/store\nstate = {0}/state\n", host_->path("")));
    for (const auto& guest : guests_) {
      const auto started = host_->vserver(guest, {"start"});
      ASSERT_EQ(started.exit_code, 0) << shown(started);
      ASSERT_TRUE(within(60s, [&] { return main_process(guest, "sshd") && main_process(guest, "nginx"); }));
    }
  }
  RunResult vunify(Command words) const {
    words.insert(words.begin(), VS_BINARY_DIR "/vunify");
    words.insert(words.end(), {"--config", host_->path("vunify.conf"), "--progress", "never"});
    return run(words, {{}, {}, 3min});
  }
  RunResult inside(const std::string& guest, Command words) const {
    words.insert(words.begin(), "exec");
    return host_->vserver(guest, words);
  }
  // The oldest process of the guest with this name.
  std::optional<pid_t> main_process(const std::string& guest, const std::string& name) const {
    struct stat tree {};
    EXPECT_EQ(::stat(host_->tree(guest).c_str(), &tree), 0);
    std::optional<pid_t> found;
    for (const auto& entry : fs::directory_iterator("/proc")) {
      const std::string pid = entry.path().filename();
      struct stat root {};
      if (pid.find_first_not_of("0123456789") != std::string::npos ||
          ::stat(("/proc/" + pid + "/root").c_str(), &root) != 0 || root.st_ino != tree.st_ino ||
          root.st_dev != tree.st_dev || read_file("/proc/" + pid + "/comm") != name + "\n")
        continue;
      if (const auto number = static_cast<pid_t>(std::stoi(pid)); !found || number < *found) found = number;
    }
    return found;
  }
  std::string exe(const std::string& guest, const std::string& name) const {
    std::error_code error;
    return fs::read_symlink(fmt::format("/proc/{}/exe", main_process(guest, name).value_or(0)), error);
  }
  bool shared(const std::string& path) const {
    struct stat one {
    }, two{};
    return ::stat((host_->tree(guests_[0]) + path).c_str(), &one) == 0 &&
           ::stat((host_->tree(guests_[1]) + path).c_str(), &two) == 0 && one.st_ino == two.st_ino;
  }
  std::unique_ptr<IsolationHost> host_;
  std::vector<std::string> guests_;
};

TEST_F(GuestDayTest, ServicesAreRestartedUpgradedAndDropped) {
  const std::string &one = guests_[0], &two = guests_[1];
  // The first night: both run all the time.
  const auto first = vunify({"run"});
  ASSERT_EQ(first.exit_code, 0) << shown(first);
  EXPECT_TRUE(shared("/usr/sbin/sshd") && shared("/usr/sbin/nginx"));
  for (const auto& guest : guests_)
    for (const char* name : {"sshd", "nginx"})
      EXPECT_THAT(exe(guest, name), EndsWith(fmt::format("/usr/sbin/{} (deleted)", name)));
  EXPECT_THAT(read_file(fmt::format("/proc/{}/maps", main_process(one, "sshd").value_or(0))),
              Not(HasSubstr("staging")));

  // The day: a restart, which runs from the shared file then.
  const auto before = main_process(one, "sshd");
  EXPECT_EQ(inside(one, {"systemctl", "restart", "ssh"}).exit_code, 0);
  EXPECT_TRUE(within(30s, [&] { return main_process(one, "sshd") && main_process(one, "sshd") != before; }));
  EXPECT_THAT(exe(one, "sshd"), EndsWith("/usr/sbin/sshd"));

  // An upgrade, as vapt does it, which restarts what it replaced.
  const std::string deb = must_run({"bash", kGuests, "deb", host_->tree(one), "openssh-server"});
  fs::copy_file(deb.substr(0, deb.find('\n')), host_->tree(one) + "/root/new.deb");
  const auto shared_one = main_process(one, "sshd");
  const auto upgraded = run({VS_BINARY_DIR "/vapt", "--vunify-config", host_->path("vunify.conf"), one, "--",
                             "-y", "--reinstall", "install", "/root/new.deb"},
                            {host_->environment(), {}, 3min});
  ASSERT_EQ(upgraded.exit_code, 0) << shown(upgraded);
  EXPECT_TRUE(within(30s, [&] {
    return main_process(one, "sshd") && main_process(one, "sshd") != shared_one;
  })) << "its script has restarted it";
  EXPECT_FALSE(shared("/usr/sbin/sshd"));

  // The second night, and a guest that goes.
  const auto second = vunify({"run"});
  EXPECT_EQ(second.exit_code, 0) << shown(second);
  EXPECT_TRUE(shared("/usr/sbin/sshd"));
  EXPECT_THAT(exe(one, "sshd"), EndsWith("/usr/sbin/sshd (deleted)"));
  EXPECT_EQ(host_->vserver(two, {"stop"}).exit_code, 0);
  const auto forgotten = vunify({"forget", "--yes", two});
  EXPECT_EQ(forgotten.exit_code, 0) << shown(forgotten);
  EXPECT_FALSE(fs::exists(host_->tree(two) + "/usr/sbin/sshd"));
  EXPECT_TRUE(within(30s, [&] { return main_process(one, "sshd").has_value(); }));
  const auto checked = vunify({"check"});
  EXPECT_EQ(checked.exit_code, 0) << checked.out;
}

}  // namespace
}  // namespace vs::test
