#include "isolation/trees/sealed_window.h"

#include <linux/fs.h>

#include <cerrno>
#include <csignal>

#include "core/store/inode_flags.h"
#include "core/store/lease.h"
#include "core/store/reseal.h"
#include "isolation/context/die_if_told.h"

namespace vs::isolation {
namespace {

struct Before {
  uint32_t sealed_by = 0;
  FileClass file_class;
  std::vector<Xattr> xattrs;
};

Expected<Before> look(int fd, const std::string& shown) {
  const auto flags = inode_flags(fd, shown);
  if (!flags) return flags.error();
  const auto stat = stat_fd(fd, shown);
  if (!stat) return stat.error();
  auto xattrs = read_xattrs(fd, shown);
  if (!xattrs) return xattrs.error();
  const FileClass file_class = class_of(*stat, xattr_hash(*xattrs));
  return Before{*flags & kSealFlags, file_class, std::move(*xattrs)};
}

Result seal_as_before(int fd, const Before& before, const Seal& seal, const std::string& shown) {
  const auto right = reseal(fd, before.file_class, before.xattrs, shown, seal, [] {});
  if (!right) return right.error();
  if (!*right)
    return Problem{EBUSY,
                   "owner, mode, time or attributes of " + shown +
                       " could not be made what they were: a guest that shares it keeps changing them"};
  return Ok{};
}

}  // namespace

void expect_lease_signals() {
  ::signal(SIGIO, SIG_IGN);
}

bool is_sealed(int fd) {
  const auto flags = inode_flags(fd, "");
  return flags && (*flags & kSealFlags) != 0;
}

Result in_unsealed_moment(SealKeeper& keeper, int fd, const std::string& shown,
                          const std::function<int()>& change) {
  const auto before = look(fd, shown);
  if (!before) return before.error();
  auto lease = Lease::take(fd, shown);
  if (!lease) return lease.error();
  // It knows the immutable attribute only; files that a guest made append-only are shared with nobody.
  if ((before->sealed_by & FS_IMMUTABLE_FL) != 0)
    if (auto done = keeper.hand_over({&fd, 1}); !done) return done;
  const Seal seal{[&] { return change_inode_flags(fd, before->sealed_by, true, shown); },
                  [&] { return change_inode_flags(fd, before->sealed_by, false, shown); }};
  if (auto lifted = seal.lift(); !lifted) return lifted;
  die_if_told("unseal");
  const int failed = change();
  const auto after = stat_fd(fd, shown);
  const bool gone = after && after->nlink == 0;
  const auto sealed = gone ? Result(Ok{}) : seal_as_before(fd, *before, seal, shown);
  if (!sealed) return sealed;  // the keeper has it still, and will try
  if (auto done = keeper.forget(); !done) return done;
  return failed == 0 ? Result(Ok{}) : Result(problem_from(failed, "change the names of", shown));
}

}  // namespace vs::isolation
