// Extents shared by FIDEDUPERANGE. The kernel locks both files, compares the bytes and only then shares them;
// a later write by a guest copies. So there is nothing to seal, no window and no trust in what we read.
#include <unistd.h>

#include <string>

#include "core/store/guard.h"
#include "core/store/reflinker.h"
#include "core/unique_fd.h"

namespace vs {
namespace {

class ReflinkGuard final : public Guard {
 public:
  std::string_view name() const override { return "reflink"; }
  bool shares_inodes() const override { return false; }
  bool needs_window() const override { return false; }

  Result probe(int scratch_dir) const override {
    const auto first = open_scratch_file(scratch_dir);
    if (!first) return first.error();
    const UniqueFd a(*first);
    const auto second = open_scratch_file(scratch_dir);
    if (!second) return second.error();
    const UniqueFd b(*second);
    const std::string block(64 * 1024, 'x');
    for (const int fd : {a.get(), b.get()})
      if (::pwrite(fd, block.data(), block.size(), 0) != static_cast<ssize_t>(block.size()) ||
          ::fsync(fd) != 0)
        return problem_from_errno("write a probe file in", "the store");
    const auto shared = share_extents(a.get(), b.get(), 0, block.size());
    if (!shared) return Problem{shared.error().code, "this filesystem cannot share extents between files"};
    return Ok{};
  }

  Result seal(int, const std::string&) const override { return Ok{}; }
  Result unseal(int, const std::string&) const override { return Ok{}; }
  Expected<bool> is_sealed(int, const std::string&) const override { return true; }
};

}  // namespace

std::unique_ptr<Guard> make_reflink_guard() {
  return std::make_unique<ReflinkGuard>();
}

}  // namespace vs
