// Whatever number of threads writes it, a set is the same.
#include <gtest/gtest.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "tests/backup/backup_host.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;

// What each archive of a set unpacks to, by guest and number. (Names and catalogs hold the time of the run.)
std::map<std::string, std::string> unpacked(const std::string& set) {
  std::map<std::string, std::string> digests;
  std::vector<std::string> names;
  for (const auto& entry : fs::directory_iterator(set)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  std::map<std::string, int> count;
  for (const auto& name : names) {
    if (!name.ends_with(".tar.zst")) continue;
    const std::string guest = name.substr(0, name.find('-'));
    digests[guest + " " + std::to_string(count[guest]++)] =
        must_run({"sh", "-c", "zstd -dc -- \"$1\" | sha256sum", "sh", set + "/" + name});
  }
  return digests;
}

TEST(BackupThreads, OneAndEightWriteTheSameBytes) {
  BackupHost host;
  host.make_guests();
  // What changed in the last seconds is not learned. Where the first run is early enough for that and the
  // second is not, one index knows what the other does not, and the directory lists of the next runs differ.
  BackupHost::let_clock_pass();
  const auto create = [&](const std::string& jobs) {
    const RunResult result =
        run({vbackup_path(), "create", "--init", "--to", "archive:" + host.scratch("set" + jobs), "--state",
             host.scratch("state" + jobs), "--tree", "alpha=" + host.tree("alpha"), "--tree",
             "beta=" + host.tree("beta"), "-j", jobs, "--progress", "never", "--consistency", "live"});
    ASSERT_EQ(result.exit_code, 0) << result.err;
  };
  create("1");
  create("8");
  BackupHost::let_clock_pass();
  host.change(1);
  create("1");
  create("8");
  const auto one = unpacked(host.scratch("set1")), eight = unpacked(host.scratch("set8"));
  EXPECT_GE(one.size(), 5u) << "a pool archive, and two of each guest";
  EXPECT_EQ(one, eight);
}

}  // namespace
}  // namespace vs::test
