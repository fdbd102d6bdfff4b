#include "backup/source/settle_writes.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/mman.h>
#include <unistd.h>

#include <chrono>
#include <thread>

#include "core/tree/root_dir.h"
#include "tests/support/run.h"
#include "tests/support/temp_dir.h"
#include "tests/support/within.h"

namespace vs::backup {
namespace {

class SettleWrites : public testing::Test {
 protected:
  SettleWrites() {
    test::write_file(dir_ / "file", std::string(8192, '0'));
    reading_.reset(::open((dir_ / "file").c_str(), O_RDONLY | O_CLOEXEC));
  }
  int64_t ctime() const { return value_or_throw(stat_fd(reading_.get(), "file")).ctime_ns; }
  // Longer than the clock of a filesystem takes for one tick.
  static void let_clock_tick() { std::this_thread::sleep_for(std::chrono::milliseconds(50)); }

  test::TempDir dir_;
  UniqueFd reading_;
};

TEST_F(SettleWrites, AWriteThroughAMappingMovesCtimeAfterwards) {
  const UniqueFd writing(::open((dir_ / "file").c_str(), O_RDWR | O_CLOEXEC));
  ASSERT_EQ(::fsync(writing.get()), 0);
  auto* map = static_cast<char*>(::mmap(nullptr, 8192, PROT_READ | PROT_WRITE, MAP_SHARED, writing.get(), 0));
  ASSERT_NE(map, MAP_FAILED);
  // Somebody may have all files written back in between: then ctime moves, and it is tried again.
  int64_t first = 0;
  const auto second_write_moves_nothing = [&] {
    ++map[0];
    first = ctime();
    let_clock_tick();
    ++map[0];
    return ctime() == first;
  };
  ASSERT_TRUE(test::within(std::chrono::seconds(20), second_write_moves_nothing));
  EXPECT_EQ(settle_writes(reading_.get()), kWriterNs);
  let_clock_tick();
  ++map[0];
  EXPECT_GT(ctime(), first);
  ::munmap(map, 8192);
}

TEST_F(SettleWrites, WithoutAWriterAYoungCtimeIsDoubtedOnly) {
  EXPECT_EQ(settle_writes(reading_.get()), kRacyNs);
  const UniqueFd writing(::open((dir_ / "file").c_str(), O_WRONLY | O_CLOEXEC));
  EXPECT_EQ(settle_writes(reading_.get()), kWriterNs);
}

}  // namespace
}  // namespace vs::backup
