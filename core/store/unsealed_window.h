// The moment in which a file that several guests share is unsealed, so that it can gain or lose a name.
// Nothing else in this product takes the seal off a shared file (tests/core/layering_test.cc looks for it).
//
// A shared file (of a store: a master) is immutable: no guest can write to it, change its owner, mode, times
// or attributes, or remove it. The same attribute forbids us to link, rename or unlink it. So for a moment it
// has to be off, while guests run that have names of the file. Why no guest can use that moment:
//
//   Writing. Before the seal comes off we take a read lease (lease.h), which the kernel grants only when
//   nobody has the file open for writing. While we hold it, an open for writing waits or fails. An open that
//   waited gets its descriptor when the lease ends, which is after the seal is on again, and then the
//   filesystem refuses to write through it (the guard's probe has proved that it does). Owner, mode, times,
//   attributes, inode flags, project. A lease does not protect these. They are known from before the seal
//   came off, and compared when it is on again, so that nobody can change them after we looked. If one is
//   another, the seal comes off once more, it is put back, and we look again (reseal.h). Its length. What is
//   done in it takes no time that a guest can choose: no reading of files or directories
//   (unify/change/linker.h).
//   A lease that ends. The kernel gives us lease-break-time (45 s) to let a waiting open through, then it
//   does so by itself. If the lease was broken, the content is therefore looked at again, where the caller
//   knows what it was. Where nobody knows, it is taken as unchanged as long as half of that time is not over.
//   Our death. Before the seal comes off, a small process (seal_keeper.h) gets a copy of the descriptor, and
//   with it the lease. If we are killed, it seals the file. If the whole machine dies, `vunify recover` seals
//   every master before guests start again. A guest that wins all the same. With many processors a guest may
//   change the class again and again, each time just before our seal. Then the file is sealed as it is and
//   the verdict is `tainted`: whoever opened the window takes back the names it gave, says which file it is,
//   and goes on without it.
//
// The lease outlives the seal, until close(): so a file can be unsealed a second time to take names back,
// also while somebody waits with an open for writing.
#pragma once

#include <atomic>
#include <chrono>
#include <functional>
#include <optional>
#include <string>
#include <vector>

#include "core/log.h"
#include "core/store/file_class.h"
#include "core/store/guard.h"
#include "core/store/lease.h"
#include "core/store/reseal.h"
#include "core/store/seal_keeper.h"

namespace vs {

// An open file that is shared, and what it must be when its window is over.
struct SharedFile {
  int fd = -1;        // open for reading only; not owned, and open as long as the window exists
  std::string shown;  // its path on the host, for messages
  FileClass file_class;
  std::vector<Xattr> xattrs;  // all that it has
  // Reads the file: is the content what it was? Called only if the lease was broken. Empty: nobody knows.
  std::function<bool()> same_content;
  // None: those that it has when its window opens, which nobody can change of a sealed file.
  std::optional<InodeMarks> marks = std::nullopt;
};

// With the class that it has now. `fd` is of a sealed file, so that this cannot change meanwhile.
Expected<SharedFile> shared_as_it_is(int fd, const std::string& shown);

struct WindowCounts {
  // How many files had owner, mode, times, attributes, flags or project changed by a guest in their window.
  std::atomic<uint64_t> classes_restored{0};
  // How many files a guest tried to open for writing in their window.
  std::atomic<uint64_t> leases_broken{0};
  // How long a file was unsealed at the longest.
  std::atomic<uint64_t> longest_ns{0};
};

class UnsealedWindow {
 public:
  // `keeper` was started, and is handed the file before it is unsealed. nullptr: the caller has handed it
  // over already (with all files of a batch), or is recovery, whose journal stays until all is sealed. `log`:
  // nullptr to be silent, for who asks trouble() instead.
  UnsealedWindow(const Guard& guard, SharedFile file, SealKeeper* keeper, WindowCounts& counts, Log* log)
      : guard_(guard),
        file_(std::move(file)),
        keeper_(keeper),
        counts_(counts),
        log_(log),
        marks_(file_.marks) {}
  ~UnsealedWindow();
  UnsealedWindow(const UnsealedWindow&) = delete;
  UnsealedWindow& operator=(const UnsealedWindow&) = delete;

  // A Problem: it is sealed as before. Its code is EAGAIN when somebody has the file open for writing.
  Result open();

  enum class Verdict {  // of all that happened since open(), the worst
    intact,
    retire,    // intact, but somebody waits with an open for writing: it should get no new names
    tainted,   // its content or class is not what it was: names given in this window must be taken back
    unsealed,  // as tainted, and the filesystem would not seal it: recovery has to
  };
  Verdict seal();
  // After seal(), under the same lease. A Problem (EAGAIN) when the kernel may have ended the lease because
  // somebody waits.
  Result unseal_again();
  // seal(), and the end of the lease.
  Verdict close();
  // Why the verdict is `tainted` or `unsealed`; "" as long as it is not.
  const std::string& trouble() const { return trouble_; }

 private:
  Result lift_seal();
  void seal_with_its_class();
  void judge_content();
  void note_length();
  bool lease_is_surely_ours() const;
  void report(const std::string& text);

  const Guard& guard_;
  const SharedFile file_;
  SealKeeper* const keeper_;
  WindowCounts& counts_;
  Log* const log_;
  Lease lease_;
  std::chrono::steady_clock::time_point leased_at_, unsealed_at_;
  std::optional<InodeMarks> marks_;  // as given, or from before the seal came off
  bool unsealed_ = false;
  bool told_of_class_ = false, told_of_lease_ = false;
  Verdict verdict_ = Verdict::intact;
  std::string trouble_;
};

// --- One file, one change ---------------------------------------------------------------------------------

struct WindowOutcome {
  UnsealedWindow::Verdict verdict = UnsealedWindow::Verdict::intact;
  Result changed = Ok{};  // of the change, or why there was no window for it
  std::string trouble;    // why the verdict is tainted or unsealed
};

// Runs `change` in a window of its own and, if the file is tainted after it, `take_back` (may be empty) in
// the same one. The keeper was started, and keeps nothing but this file. Throws what `change` throws, sealed.
WindowOutcome in_unsealed_window(const Guard& guard, SharedFile file, SealKeeper& keeper,
                                 WindowCounts& counts, Log* log, const std::function<Result()>& change,
                                 const std::function<Result()>& take_back);

// The same for a file of which nothing is known but that it is sealed now: it will have the attributes and
// the class that it has now. `change` returns 0 or an errno. Problem code EAGAIN: somebody has it open for
// writing, and nothing was done. EBUSY: it was done, but a guest keeps changing the file.
Result in_unsealed_moment(SealKeeper& keeper, int fd, const std::string& shown,
                          const std::function<int()>& change);

// Has this open file an attribute that keeps names from coming and going?
bool is_sealed(int fd);

}  // namespace vs
