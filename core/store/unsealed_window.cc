#include "core/store/unsealed_window.h"

#include <algorithm>
#include <cerrno>
#include <fstream>
#include <utility>

#include "core/crash_point.h"
#include "core/store/inode_flags.h"

namespace vs {
namespace {

// After lease-break-time the kernel ends a lease that somebody waits for, whether its holder agrees or not.
// Half of it is left for what is done under the lease. 0 when unknown.
std::chrono::milliseconds sure_of_lease() {
  std::ifstream in("/proc/sys/fs/lease-break-time");
  long seconds = 0;
  in >> seconds;
  return std::chrono::milliseconds(std::max(0L, seconds) * 500);
}

}  // namespace

Expected<SharedFile> shared_as_it_is(int fd, const std::string& shown) {
  const auto stat = stat_fd(fd, shown);
  if (!stat) return stat.error();
  auto xattrs = read_xattrs(fd, shown);
  if (!xattrs) return xattrs.error();
  const FileClass file_class = class_of(*stat, xattr_hash(*xattrs));
  return SharedFile{fd, shown, file_class, std::move(*xattrs), {}};
}

UnsealedWindow::~UnsealedWindow() {
  close();
}

Result UnsealedWindow::open() {
  leased_at_ = std::chrono::steady_clock::now();
  auto lease = Lease::take(file_.fd, file_.shown);
  if (!lease) return lease.error();
  lease_ = std::move(*lease);
  if (keeper_ != nullptr)
    if (auto handed = keeper_->hand_over({&file_.fd, 1}); !handed) return handed;
  return lift_seal();
}

Result UnsealedWindow::lift_seal() {
  if (!marks_) marks_ = marks_of(file_.fd);
  unsealed_at_ = std::chrono::steady_clock::now();
  if (guard_.needs_window())
    if (auto unsealed = guard_.unseal(file_.fd, file_.shown); !unsealed) return unsealed;
  unsealed_ = true;
  return Ok{};
}

bool UnsealedWindow::lease_is_surely_ours() const {
  return lease_.unbroken() || std::chrono::steady_clock::now() - leased_at_ < sure_of_lease();
}

Result UnsealedWindow::unseal_again() {
  if (unsealed_) return Ok{};
  if (!lease_is_surely_ours())
    return Problem{EAGAIN, "unseal " + file_.shown + " again: somebody has it open for writing"};
  return lift_seal();
}

void UnsealedWindow::report(const std::string& text) {
  trouble_ = text;
  if (log_ != nullptr) log_->object_failed(text);
}

void UnsealedWindow::seal_with_its_class() {
  const Seal seal{
      [this] { return guard_.seal(file_.fd, file_.shown); },
      [this] { return guard_.needs_window() ? guard_.unseal(file_.fd, file_.shown) : Result(Ok{}); }};
  const auto changed = [this] {
    if (std::exchange(told_of_class_, true)) return;
    ++counts_.classes_restored;
    if (log_ == nullptr) return;
    log_->warning("a guest changed owner, mode, time, attributes, flags or project of the shared file " +
                  file_.shown + " in its unsealed moment; putting them back");
  };
  const auto right = reseal(file_.fd, {file_.file_class, file_.xattrs, marks_.value_or(InodeMarks{})},
                            file_.shown, seal, changed);
  note_length();
  if (right && *right) return;
  if (!right) report(right.error().message);
  const auto sealed = right ? Result(Ok{}) : seal.set();
  verdict_ = std::max(verdict_, sealed ? Verdict::tainted : Verdict::unsealed);
  if (!sealed) return report(sealed.error().message);
  report("owner, mode, time, attributes, flags or project of the shared file " + file_.shown +
         " could not be made what they were (a guest may keep changing them); nothing new is shared with it");
}

void UnsealedWindow::note_length() {
  const auto length = std::chrono::steady_clock::now() - unsealed_at_;
  const auto ns = static_cast<uint64_t>(std::chrono::nanoseconds(length).count());
  uint64_t longest = counts_.longest_ns;
  while (ns > longest && !counts_.longest_ns.compare_exchange_weak(longest, ns)) {
  }
}

void UnsealedWindow::judge_content() {
  if (lease_.unbroken()) return;
  if (!std::exchange(told_of_lease_, true)) ++counts_.leases_broken;
  if (file_.same_content ? file_.same_content() : lease_is_surely_ours()) {
    verdict_ = std::max(verdict_, Verdict::retire);
    return;
  }
  verdict_ = std::max(verdict_, Verdict::tainted);
  trouble_ = "the content of the shared file " + file_.shown + " may not be what it was";
}

UnsealedWindow::Verdict UnsealedWindow::seal() {
  if (!std::exchange(unsealed_, false)) return verdict_;
  seal_with_its_class();
  judge_content();
  return verdict_;
}

UnsealedWindow::Verdict UnsealedWindow::close() {
  seal();
  lease_.release();
  return verdict_;
}

// --- One file, one change ---------------------------------------------------------------------------------

WindowOutcome in_unsealed_window(const Guard& guard, SharedFile file, SealKeeper& keeper,
                                 WindowCounts& counts, Log* log, const std::function<Result()>& change,
                                 const std::function<Result()>& take_back) {
  using Verdict = UnsealedWindow::Verdict;
  WindowOutcome outcome;
  UnsealedWindow window(guard, std::move(file), &keeper, counts, log);
  outcome.changed = window.open();
  if (outcome.changed) {
    crash_point("unseal");
    outcome.changed = change();
    if (window.seal() >= Verdict::tainted && take_back) {
      outcome.changed = window.unseal_again();
      if (outcome.changed) outcome.changed = take_back();
    }
  }
  outcome.verdict = window.close();
  outcome.trouble = window.trouble();
  // One that is not sealed stays with the keeper, which tries once more when this process ends.
  if (outcome.verdict != Verdict::unsealed)
    if (auto forgotten = keeper.forget(); !forgotten && outcome.changed) outcome.changed = forgotten;
  return outcome;
}

bool is_sealed(int fd) {
  const auto flags = inode_flags(fd, "");
  return flags && (*flags & kSealFlags) != 0;
}

Result in_unsealed_moment(SealKeeper& keeper, int fd, const std::string& shown,
                          const std::function<int()>& change) {
  const auto flags = inode_flags(fd, shown);
  if (!flags) return flags.error();
  auto file = shared_as_it_is(fd, shown);
  if (!file) return file.error();
  const auto as_it_was = make_flags_guard(*flags & kSealFlags);
  WindowCounts counts;
  const auto outcome = in_unsealed_window(
      *as_it_was, std::move(*file), keeper, counts, nullptr,
      [&] {
        const int failed = change();
        return failed == 0 ? Result(Ok{}) : Result(problem_from(failed, "change the names of", shown));
      },
      {});
  if (outcome.verdict >= UnsealedWindow::Verdict::tainted) return Problem{EBUSY, outcome.trouble};
  return outcome.changed;
}

}  // namespace vs
