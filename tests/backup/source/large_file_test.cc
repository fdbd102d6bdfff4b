// Files larger than one piece are stored while they are read: what becomes of those that change meanwhile,
// and of those the target has already.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <csignal>
#include <filesystem>
#include <thread>

#include "tests/backup/backup_host.h"
#include "tests/support/test_host.h"
#include "tests/support/within.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;
using namespace std::chrono_literals;
using testing::HasSubstr;

constexpr uintmax_t kSize = 64'000'000;

void make_large(const BackupHost& host) {
  fs::create_directories(host.tree("beta"));
  fs::create_directories(host.tree("alpha"));
  must_run({"bash", "-c",
            "head -c " + std::to_string(kSize) + " /dev/urandom > '" + host.tree("alpha") + "/large'"});
}

uintmax_t parts_size(const std::string& set) {
  uintmax_t size = 0;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(set, error))
    if (entry.path().filename().string().starts_with(".vbackup-")) size += fs::file_size(entry.path(), error);
  return size;
}

void write_at(const std::string& path, off_t at, const std::string& bytes) {
  const int fd = ::open(path.c_str(), O_WRONLY | O_CLOEXEC);
  ASSERT_EQ(::pwrite(fd, bytes.data(), bytes.size(), at), static_cast<ssize_t>(bytes.size()));
  ::close(fd);
}

// A backup that is held in the middle of the file while its first bytes change.
RunResult create_with_a_change_in_the_middle(const BackupHost& host) {
  Command line = host.command("create", {"--init", "--state", host.scratch("state"), "--json"});
  for (const auto& [name, path] : host.trees()) line.insert(line.end(), {"--tree", name + "=" + path});
  Process backup(line);
  while (backup.running() && parts_size(host.set()) < kSize / 20) std::this_thread::sleep_for(1ms);
  backup.signal(SIGSTOP);
  EXPECT_TRUE(within(10s, [&] {
    const auto state = read_file("/proc/" + std::to_string(backup.pid()) + "/stat");
    return state.find(") T ") != std::string::npos;
  }));
  const auto stored = parts_size(host.set());
  EXPECT_GT(stored, kSize / 20);
  EXPECT_LT(stored, kSize / 2) << "stopped too late for this test to say anything";
  write_at(host.tree("alpha") + "/large", 0, "changed while it was read");
  backup.signal(SIGCONT);
  return backup.wait();
}

TEST(LargeFile, ThatChangesOnceWhileItIsReadIsReadAgainAndWhole) {
  for (const bool linked : {false, true}) {
    BackupHost host;
    make_large(host);
    if (linked) fs::create_hard_link(host.tree("alpha") + "/large", host.tree("alpha") + "/the-same");
    const RunResult result = create_with_a_change_in_the_middle(host);
    ASSERT_EQ(result.exit_code, 0) << result.err;
    EXPECT_EQ(summary_number(result, "inconsistent"), 0u);
    EXPECT_EQ(summary_number(result, "bytes_read"), 2 * kSize);
    EXPECT_EQ(host.vbackup("check").exit_code, 0);
    EXPECT_EQ(difference(everything_of(host.trees()), everything_of(host.restored("r"))), "");
    // For stock tools the last one counts too.
    const std::string target = host.scratch("tar");
    must_run({"bash", "-c",
              "mkdir '" + target + "' && cd '" + target +
                  "' && tar --zstd -xf ../set/alpha-full*.zst && cmp alpha/large '" + host.tree("alpha") +
                  "/large' && { [ ! -e '" + host.tree("alpha") +
                  "/the-same' ] || [ alpha/large -ef alpha/the-same ]; }"});
  }
}

TEST(LargeFile, ThatNeverHoldsStillIsMarkedAndCanBeRestored) {
  BackupHost host;
  make_large(host);
  const Process writer(
      {"bash", "-c", "cd '" + host.tree("alpha") + "'; while :; do echo more >> large; done"});
  const RunResult result = host.create({"--json"});
  ASSERT_EQ(result.exit_code, 0) << result.err;
  EXPECT_THAT(result.err, HasSubstr("marked inconsistent"));
  EXPECT_EQ(summary_number(result, "inconsistent"), 1u);
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  const auto restored = host.restored("r");
  EXPECT_GE(fs::file_size(restored.at("alpha") + "/large"), kSize);
}

TEST(LargeFile, IsNotStoredAgainByWhoLostTheIndex) {
  BackupHost host;
  make_large(host);
  must_run({"bash", "-c",
            "head -c 9000000 /dev/urandom > '" + host.tree("alpha") + "/shared' && ln '" +
                host.tree("alpha") + "/shared' '" + host.tree("beta") + "/shared'"});
  ASSERT_EQ(host.create().exit_code, 0);
  fs::remove_all(host.scratch("state"));
  const RunResult again = host.create({"--json"});
  ASSERT_EQ(again.exit_code, 0) << again.err;
  EXPECT_EQ(summary_number(again, "bytes_read"), kSize + 9'000'000);
  EXPECT_LT(summary_number(again, "bytes_stored"), 100'000u) << again.out;
  // Of the same size and time, but other bytes: it is stored.
  const auto time = fs::last_write_time(host.tree("alpha") + "/large");
  write_at(host.tree("alpha") + "/large", 30'000'000, "other bytes");
  fs::last_write_time(host.tree("alpha") + "/large", time);
  fs::remove_all(host.scratch("state"));
  const RunResult changed = host.create({"--json"});
  EXPECT_GT(summary_number(changed, "bytes_stored"), kSize) << changed.out;
  EXPECT_EQ(host.vbackup("check").exit_code, 0);
  EXPECT_EQ(difference(everything_of(host.trees()), everything_of(host.restored("r"))), "");
}

}  // namespace
}  // namespace vs::test
