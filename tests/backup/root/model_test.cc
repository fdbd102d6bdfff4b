// Random histories of guests, sets and damage, against a model that remembers each night (model/history.h).
// More of them: VS_MODEL_SEEDS=1-2000 backup_root_tests --gtest_filter='BackupModel.*'
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/mount.h>

#include <cstdlib>
#include <memory>
#include <optional>
#include <string>

#include "tests/backup/model/history.h"
#include "tests/support/temp_dir.h"

namespace vs::test {
namespace {

void shell(const std::string& script) {
  must_run({"bash", "-euc", script});
}

// Disks are in memory: thousands of archives and trees are made durable on them.
class InMemory {
 public:
  InMemory() { ::setenv("TMPDIR", "/dev/shm", 1); }
  ~InMemory() { kept_ ? ::setenv("TMPDIR", kept_->c_str(), 1) : ::unsetenv("TMPDIR"); }
  InMemory(const InMemory&) = delete;

 private:
  static std::optional<std::string> current() {
    const char* dir = std::getenv("TMPDIR");
    return dir != nullptr ? std::optional<std::string>(dir) : std::nullopt;
  }
  const std::optional<std::string> kept_ = current();
};

struct Disk {
  explicit Disk(const std::string& type) : filesystem(type, 700) {}
  ~Disk() { ::umount2((filesystem.path() + "/alpha").c_str(), MNT_DETACH); }  // where there is an overlay
  Disk(const Disk&) = delete;
  LoopFilesystem filesystem;
};

HistoryPlace place_on(const std::string& type, const std::string& script = ":") {
  const auto disk = std::make_shared<Disk>(type);
  HistoryPlace place{disk->filesystem.path()};
  place.disk = disk;
  shell("cd '" + place.dir + "'; " + script);
  return place;
}

// Both guests are subvolumes of their own, read from snapshots.
HistoryPlace place_of_snapshots() {
  HistoryPlace place = place_on("btrfs", "btrfs -q subvolume create alpha; btrfs -q subvolume create beta");
  place.consistency = "snapshot";
  return place;
}

HistoryPlace place_with_subvolume() {
  return place_on("btrfs", "mkdir alpha; btrfs -q subvolume create alpha/sub");
}

// One guest is on overlayfs, and has some of what it has in the lower layer.
HistoryPlace place_with_overlay() {
  HistoryPlace place = place_on("ext4", R"sh(
    mkdir -p alpha upper work lower/dir; echo lower > lower/a; ln lower/a lower/b; ln lower/a lower/dir/c
    head -c 100000 /dev/urandom > lower/dir/log; mkfifo lower/dir/etc
    mount -t overlay overlay -o lowerdir=lower,upperdir=upper,workdir=work alpha)sh");
  place.options.flags = false;  // not every file on overlayfs tells them
  return place;
}

HistoryPlace place_of(uint64_t seed) {
  switch (seed % 8) {
    case 2:
      return place_of_snapshots();
    case 6:
      return place_with_subvolume();
    case 3:
    case 7:
      return place_with_overlay();
    default:
      return place_on("ext4");
  }
}

TEST(BackupModel, EachListedStateIsWhatItWasOrIsRefused) {
  const InMemory disks;
  VS_NEEDS_FILESYSTEM("ext4");
  VS_NEEDS_FILESYSTEM("btrfs");
  EXPECT_THAT(faults_of_seeds(1, 8, place_of), testing::IsEmpty());
}

}  // namespace
}  // namespace vs::test
