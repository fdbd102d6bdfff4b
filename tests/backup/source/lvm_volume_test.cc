// What of LVM snapshots can be tested without device mapper; the rest is tests/vm/backup_lvm.sh.
#include "backup/source/lvm_volume.h"

#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdlib>

#include "tests/core/scratch.h"
#include "tests/support/run.h"
#include "tests/support/temp_dir.h"

namespace vs::backup {
namespace {

using testing::HasSubstr;

const std::string kGroup = "QtKTCiQ2rZHzRzLyjgBkWZVBNNEiArxE", kVolume = "VTNXIy0gnAodcpNlgUDEzuyGDdmr2K2F";

TEST(LvmVolumeTest, IdsAreThoseOfAVolumeThatCanBeMountedOnly) {
  const auto ids = lvm_ids("LVM-" + kGroup + kVolume);
  ASSERT_TRUE(ids);
  EXPECT_EQ(ids->group, "QtKTCi-Q2rZ-HzRz-Lyjg-BkWZ-VBNN-EiArxE");
  EXPECT_EQ(ids->volume, "VTNXIy-0gnA-odcp-NlgU-DEzu-yGDd-mr2K2F");
  for (const std::string& other : {"LVM-" + kGroup + kVolume + "-real", "LVM-" + kGroup + kVolume + "-cow",
                                   "LVM-" + kGroup, "CRYPT-LUKS2-" + kGroup + kVolume, std::string()})
    EXPECT_FALSE(lvm_ids(other)) << other;
  // It goes into a selection: nothing but letters and digits comes through.
  EXPECT_FALSE(lvm_ids("LVM-" + kGroup + kVolume.substr(1) + "\""));
}

LvmVolume volume_of(uint64_t mebibytes, uint64_t free_mebibytes) {
  LvmVolume volume;
  volume.bytes = mebibytes << 20;
  volume.extent_bytes = 4 << 20;
  volume.group_free_bytes = free_mebibytes << 20;
  return volume;
}

TEST(LvmVolumeTest, TheReserveIsAShareOfTheVolumeOrWhatIsFree) {
  EXPECT_EQ(volume_of(1000, 4000).reserve_extents(20), 50u);
  EXPECT_EQ(volume_of(1000, 4000).reserve_extents(1), 3u);
  EXPECT_EQ(volume_of(1000, 100).reserve_extents(20), 25u);
  EXPECT_EQ(volume_of(1000, 12).reserve_extents(20), 3u);
  EXPECT_FALSE(volume_of(1000, 8).reserve_extents(20)) << "less than a hundredth would not last";
  EXPECT_FALSE(volume_of(1000, 0).reserve_extents(20));
  EXPECT_EQ(volume_of(8, 4).reserve_extents(20), 1u);
}

TEST(LvmVolumeTest, ReadsWhatLvsPrints) {
  const auto volumes = parse_lvs(R"({"report": [{"lv": [
    {"vg_name":"vg0", "lv_name":"guests", "lv_uuid":"a-b", "lv_size":"314572800", "vg_extent_size":"4194304", "vg_free":"8388608", "segtype":"linear", "lv_kernel_minor":"3", "origin_uuid":""},
    {"vg_name":"vg0", "lv_name":"guests", "lv_uuid":"a-b", "lv_size":"314572800", "vg_extent_size":"4194304", "vg_free":"8388608", "segtype":"linear", "lv_kernel_minor":"3", "origin_uuid":""},
    {"vg_name":"vg0", "lv_name":"thin", "lv_uuid":"c-d", "lv_size":"314572800", "vg_extent_size":"4194304", "vg_free":"8388608", "segtype":"thin", "lv_kernel_minor":"-1", "origin_uuid":"a-b"}]}]})");
  ASSERT_TRUE(volumes) << volumes.error().message;
  ASSERT_EQ(volumes->size(), 2u) << "a row for each segment, one volume";
  EXPECT_EQ(volumes->front().path(), "vg0/guests");
  EXPECT_EQ(volumes->front().bytes, 314572800u);
  EXPECT_EQ(volumes->front().group_free_bytes, 8388608u);
  EXPECT_EQ(volumes->front().minor, 3);
  EXPECT_FALSE(volumes->front().thin);
  EXPECT_TRUE(volumes->back().thin);
  EXPECT_EQ(volumes->back().minor, -1);
  EXPECT_EQ(volumes->back().origin_uuid, "a-b");
  for (const char* nonsense :
       {"", "{}", R"({"report":[]})", R"({"report":[{"lv":[{"vg_name":"x"}]}]})", "WARNING: no"})
    EXPECT_FALSE(parse_lvs(nonsense)) << nonsense;
}

// A program of that name, first in PATH.
class StandIn {
 public:
  explicit StandIn(const std::string& script) {
    vs::test::write_file(dir_ / "lvm", "#!/bin/sh\n" + script);
    ::chmod((dir_ / "lvm").c_str(), 0755);
    ::setenv("PATH", (dir_ / "" + ":" + old_).c_str(), 1);
  }
  ~StandIn() { ::setenv("PATH", old_.c_str(), 1); }

 private:
  vs::test::TempDir dir_;
  std::string old_ = std::getenv("PATH");
};

TEST(LvmVolumeTest, ACommandIsGivenItsWordsAndItsTroubleIsTold) {
  {
    const StandIn lvm("printf '%s|' \"$@\"; printf $LC_ALL");
    const auto text = run_lvm({"lvs", "-S", "a b\"c"});
    ASSERT_TRUE(text) << text.error().message;
    EXPECT_EQ(*text, "lvs|-S|a b\"c|C");
  }
  {
    const StandIn lvm("echo first >&2; echo '  Volume group has insufficient free space' >&2; exit 5");
    const auto text = run_lvm({"lvcreate"});
    ASSERT_FALSE(text);
    EXPECT_EQ(text.error().message,
              "lvm lvcreate ended with status 5: Volume group has insufficient free space");
  }
  {
    const StandIn lvm("ps -o pgid= -p $$ | tr -d ' '");
    const auto group = run_lvm({"lvs"});
    ASSERT_TRUE(group);
    EXPECT_NE(*group, std::to_string(::getpgrp()) + "\n") << "the terminal's interrupt would meet it";
  }
}

}  // namespace
}  // namespace vs::backup
