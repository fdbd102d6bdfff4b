// What keeps a guest from changing what it shares. One header, one file a mechanism:
//   guard_immutable.cc  FS_IMMUTABLE_FL on masters (any kernel, filesystems that enforce it on open files)
//   guard_reflink.cc    nothing to seal: extents are shared by FIDEDUPERANGE, writes copy (xfs, btrfs)
// To come: iunlink (our kernel) and bpf (BPF LSM), each one more file and one more line in make_guard().
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace vs {

class Guard {
 public:
  virtual ~Guard() = default;
  virtual std::string_view name() const = 0;
  // True: guests hold names of one master inode. False: each keeps its own inode, only extents are shared.
  virtual bool shares_inodes() const = 0;
  // True: a sealed master must be unsealed for a moment to gain or lose a name (see unsealed_window.h).
  virtual bool needs_window() const = 0;
  // Tries the mechanism on scratch files in this host-only directory; a Problem says what is missing.
  virtual Result probe(int scratch_dir) const = 0;
  // On an open master. seal() is idempotent.
  virtual Result seal(int fd, const std::string& object) const = 0;
  virtual Result unseal(int fd, const std::string& object) const = 0;
  virtual Expected<bool> is_sealed(int fd, const std::string& object) const = 0;
};

std::unique_ptr<Guard> make_immutable_guard();
// The same by exactly these attributes of kSealFlags: for a file that is sealed and shall be again as it was.
std::unique_ptr<Guard> make_flags_guard(uint32_t flags);
std::unique_ptr<Guard> make_reflink_guard();

// "immutable", "reflink"; throws Error(Exit::usage) for a name that is no guard or is not in this build.
std::unique_ptr<Guard> make_guard(std::string_view name);

struct GuardVerdict {
  std::string name;
  bool usable = false;
  std::string why;  // "probe passed", or what failed
};

struct GuardChoice {
  std::unique_ptr<Guard> guard;
  std::vector<GuardVerdict> considered;  // strongest first
};

// `requested`: "auto" (the strongest whose probe passes) or a name (throws Error when its probe fails, saying
// why and what would work). `inode_sharing_possible` false: the guests lie on several subvolumes, which hard
// links cannot cross. `where` is for messages. With `looking` a filesystem that is read-only, so that nothing
// can be tried, gets the guard asked for (auto: immutable) untried.
GuardChoice choose_guard(std::string_view requested, int scratch_dir, bool inode_sharing_possible,
                         bool looking, const std::string& where);

// A fresh nameless file in the directory, for probes and masters: O_TMPFILE, read and write, 0600.
Expected<int> open_scratch_file(int dir);

}  // namespace vs
