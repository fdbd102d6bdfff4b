#include "tests/support/deep_tree.h"

#include <fcntl.h>
#include <sys/stat.h>

#include <stdexcept>

#include "core/unique_fd.h"

namespace vs::test {
namespace {

UniqueFd go_down(int dir, const std::string& name = "d") {
  return UniqueFd(::openat(dir, name.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
}

}  // namespace

void make_nested(const std::string& top, size_t depth) {
  make_nested(top, depth, "d");
}

UniqueFd make_nested(const std::string& top, size_t depth, const std::string& name) {
  UniqueFd dir(::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  for (size_t i = 1; dir && i <= depth; ++i) {
    if (::mkdirat(dir.get(), name.c_str(), 0755) != 0)
      throw std::runtime_error("cannot make a directory below " + top);
    dir = go_down(dir.get(), name);
    if (i % 100 == 0 || i == depth) UniqueFd(::openat(dir.get(), "f", O_WRONLY | O_CREAT | O_CLOEXEC, 0644));
  }
  if (!dir) throw std::runtime_error("cannot open a directory below " + top);
  return dir;
}

size_t nested_below(const std::string& top) {
  size_t depth = 0;
  for (UniqueFd dir(::open(top.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)); (dir = go_down(dir.get()));)
    ++depth;
  return depth;
}

FewDescriptors::FewDescriptors() {
  ::getrlimit(RLIMIT_NOFILE, &before_);
  const rlimit few{256, before_.rlim_max};
  if (::setrlimit(RLIMIT_NOFILE, &few) != 0) throw std::runtime_error("setrlimit");
}

FewDescriptors::~FewDescriptors() {
  ::setrlimit(RLIMIT_NOFILE, &before_);
}

}  // namespace vs::test
