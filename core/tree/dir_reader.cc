#include "core/tree/dir_reader.h"

#include <dirent.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>

namespace vs {

void DirReader::start(int fd, const std::string& object) {
  fd_ = fd;
  at_ = end_ = 0;
  failed_ = false;
  object_ = object;
}

bool DirReader::next(DirEntry& entry) {
  for (;;) {
    if (at_ == end_) {
      long got = 0;
      do {
        got = ::syscall(SYS_getdents64, fd_, buffer_.data(), buffer_.size());
      } while (got < 0 && errno == EINTR);
      if (got < 0) {
        // ENOENT: the directory was removed while we read it; nothing is left to list.
        failed_ = errno != ENOENT;
        if (failed_) problem_ = problem_from_errno("list directory", object_);
        return false;
      }
      if (got == 0) return false;
      at_ = 0;
      end_ = static_cast<size_t>(got);
    }
    dirent64* raw = reinterpret_cast<dirent64*>(buffer_.data() + at_);
    at_ += raw->d_reclen;
    const std::string_view name(raw->d_name);
    if (name == "." || name == "..") continue;
    entry = {raw->d_ino, raw->d_type, name};
    return true;
  }
}

}  // namespace vs
