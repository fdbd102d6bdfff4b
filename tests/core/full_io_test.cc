#include "core/full_io.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <pthread.h>
#include <unistd.h>

#include <cerrno>
#include <chrono>
#include <csignal>
#include <string>
#include <thread>

#include "core/unique_fd.h"

namespace vs {
namespace {

struct Pipe {
  UniqueFd out, in;
  Pipe() {
    int ends[2];
    EXPECT_EQ(::pipe2(ends, O_CLOEXEC), 0);
    out.reset(ends[0]);
    in.reset(ends[1]);
  }
};

TEST(FullIoTest, PutsTogetherWhatComesInPieces) {
  Pipe pipe;
  // Without SA_RESTART, so that the read below is interrupted.
  struct sigaction action {};
  action.sa_handler = [](int) {};
  struct sigaction before {};
  ASSERT_EQ(::sigaction(SIGUSR1, &action, &before), 0);
  const pthread_t reader = ::pthread_self();
  std::jthread writer([&] {
    for (const char* piece : {"one", "two", "three"}) {
      std::this_thread::sleep_for(std::chrono::milliseconds(20));
      ::pthread_kill(reader, SIGUSR1);
      EXPECT_GT(::write(pipe.in.get(), piece, std::string(piece).size()), 0);
    }
    pipe.in.reset();
  });
  char bytes[64];
  EXPECT_EQ(read_full(pipe.out.get(), bytes, 6), 6);
  EXPECT_EQ(std::string(bytes, 6), "onetwo");
  EXPECT_EQ(read_full(pipe.out.get(), bytes, sizeof bytes), 5) << "the end of the pipe";
  EXPECT_EQ(std::string(bytes, 5), "three");
  ::sigaction(SIGUSR1, &before, nullptr);
}

TEST(FullIoTest, ReadsAtAnOffsetAndStopsAtTheEndOfTheFile) {
  const UniqueFd file(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
  char magic[4];
  ASSERT_EQ(pread_full(file.get(), magic, sizeof magic, 0), 4);
  EXPECT_EQ(std::string(magic + 1, 3), "ELF");
  ASSERT_EQ(pread_full(file.get(), magic, 3, 1), 3);
  EXPECT_EQ(std::string(magic, 3), "ELF");
  const off_t size = ::lseek(file.get(), 0, SEEK_END);
  char tail[64];
  EXPECT_EQ(pread_full(file.get(), tail, sizeof tail, static_cast<uint64_t>(size) - 10), 10);
  EXPECT_EQ(pread_full(file.get(), tail, sizeof tail, static_cast<uint64_t>(size)), 0);
}

TEST(FullIoTest, SaysWhyReadingFailed) {
  char byte;
  EXPECT_EQ(read_full(-1, &byte, 1), -1);
  EXPECT_EQ(errno, EBADF);
  EXPECT_EQ(pread_full(-1, &byte, 1, 0), -1);
  EXPECT_EQ(errno, EBADF);
  EXPECT_EQ(read_full(-1, &byte, 0), 0) << "nothing is asked of the system";
}

}  // namespace
}  // namespace vs
