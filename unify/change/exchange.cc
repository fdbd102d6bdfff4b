#include "unify/change/exchange.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "core/escape.h"
#include "core/store/project.h"
#include "core/tree/dir_reader.h"
#include "unify/change/journal.h"
#include "unify/change/master_maker.h"

namespace vs::unify {
namespace {

// A guest that wins the race this often in a row does nothing else; then its file waits in lost/.
constexpr int kPatience = 16;

bool rename_to_guest(const Store& store, const std::string& staged, const GuestName& name, unsigned flags) {
  return ::syscall(SYS_renameat2, store.staging_fd(), staged.c_str(), name.dir, name.name.c_str(), flags) ==
         0;
}

// What is renamed over has this name until the rename is done.
std::string kept_name(const std::string& staged) {
  return staged + ".kept";
}

// A name of `ino` in the directory, other than the one we know: where a guest moved it to.
std::string find_moved(const GuestName& name, uint64_t ino) {
  const UniqueFd dir(::openat(name.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) return {};
  DirReader reader;
  reader.start(dir.get(), name.shown);
  for (DirEntry entry; reader.next(entry);)
    if (entry.ino == ino && entry.name != name.name) return std::string(entry.name);
  return {};
}

}  // namespace

Result Exchanger::swap(const char* doing, const std::string& staged, const GuestName& name,
                       unsigned flags) const {
  if (rename_to_guest(store_, staged, name, flags)) return Ok{};
  const Result refused = problem_from_errno(doing, name.shown);
  return refused.error().code == EXDEV ? swap_as_project(doing, staged, name, flags, refused) : refused;
}

Result Exchanger::swap_as_project(const char* doing, const std::string& staged, const GuestName& name,
                                  unsigned flags, const Result& refused) const {
  const UniqueFd dir(::openat(name.dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  const uint32_t project = dir ? inherited_project(dir.get()) : 0;
  const UniqueFd ours(project != 0 ? ::openat(store_.staging_fd(), staged.c_str(),
                                              O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC)
                                   : -1);
  const auto stat = ours ? stat_fd(ours.get(), name.shown) : Expected<FileStat>(refused.error());
  if (!stat || !S_ISREG(stat->mode)) return refused;
  const uint32_t before = project_of(ours.get());
  if (auto set = set_project(ours.get(), project, name.shown); !set) return set;
  const Result swapped = rename_to_guest(store_, staged, name, flags)
                             ? Result(Ok{})
                             : Result(problem_from_errno(doing, name.shown));
  if (swapped && !masters_.find(stat->ino)) return Ok{};
  if (auto set = set_project(ours.get(), before, name.shown); !set) log_.object_failed(set.error().message);
  return swapped;
}

// The step again, which a seal refused: in the caller's window, and if the seal of another master is in the
// way too, in one of that.
Result Exchanger::unsealed(std::initializer_list<uint64_t> inos, const InWindow& in_window,
                           const std::function<Result()>& step) {
  if (!in_window) return strays_.with_unsealed(inos, step);
  return in_window([&]() -> Result {
    const Result refused = step();
    return refused || refused.error().code != EPERM ? refused : strays_.with_unsealed(inos, step);
  });
}

// Refused (EPERM) when one of the two is a sealed master.
Result Exchanger::swap_unsealed(const std::string& staged, const GuestName& name, const InWindow& in_window) {
  const Result refused = swap("put back", staged, name, RENAME_EXCHANGE);
  if (refused || refused.error().code != EPERM) return refused;
  const auto ours = staged_ino(staged, name.shown);
  if (!ours) return refused;
  const auto theirs = stat_at(name.dir, name.name.c_str(), name.shown);
  if (!theirs) return theirs.error();
  return unsealed({*ours, theirs->ino}, in_window,
                  [&] { return swap("put back", staged, name, RENAME_EXCHANGE); });
}

// Nothing when it cannot be told; the log says why.
std::optional<uint64_t> Exchanger::staged_ino(const std::string& staged, const std::string& shown) {
  const auto stat = stat_at(store_.staging_fd(), staged.c_str(),
                            store_.path() + "/staging/" + staged + ", which came from " + shown);
  if (stat) return stat->ino;
  log_.object_failed(stat.error().message);
  return std::nullopt;
}

Result Exchanger::remove(const std::string& staged, const std::string& shown, const InWindow& in_window) {
  const auto unlink = [&]() -> Result {
    if (::unlinkat(store_.staging_fd(), staged.c_str(), 0) == 0 || errno == ENOENT) return Ok{};
    return problem_from_errno("remove " + store_.path() + "/staging/" + staged + ", which belongs to", shown);
  };
  const Result refused = unlink();
  if (refused || refused.error().code != EPERM) return refused;
  const auto ino = staged_ino(staged, shown);
  return ino ? unsealed({*ino}, in_window, unlink) : refused;
}

// A master has its name in the store, where links are counted: what is kept of it is a copy, which can also
// be moved out.
Result Exchanger::move_to_lost(const std::string& staged, const std::string& kept, const std::string& shown,
                               const InWindow& in_window) {
  if (::syscall(SYS_renameat2, store_.staging_fd(), staged.c_str(), store_.lost_fd(), kept.c_str(),
                RENAME_NOREPLACE) == 0)
    return Ok{};
  const Result refused = problem_from_errno("keep " + store_.path() + "/lost/" + kept + " for", shown);
  const auto ino = refused.error().code == EPERM ? staged_ino(staged, shown) : std::nullopt;
  const auto master = ino ? strays_.find(*ino) : std::nullopt;
  if (!master) return refused;
  const auto copy = private_copy(store_, *master);
  if (!copy) return copy.error();
  if (::linkat(copy->get(), "", store_.lost_fd(), kept.c_str(), AT_EMPTY_PATH) != 0)
    return problem_from_errno("keep " + store_.path() + "/lost/" + kept + " for", shown);
  const auto removed = remove(staged, shown, in_window);
  if (!removed) ::unlinkat(store_.lost_fd(), kept.c_str(), 0);
  return removed;
}

bool Exchanger::keep_as_lost(const std::string& staged, const std::string& shown, const InWindow& in_window) {
  const std::string kept = new_run_id() + "-" + staged;
  if (auto moved = move_to_lost(staged, kept, shown, in_window); !moved) {
    log_.object_failed(moved.error().message + "; it stays in " + store_.path() + "/staging/" + staged +
                       " for vunify recover");
    return false;
  }
  log_.object_failed(
      fmt::format("{}: could not be put back (the guest moved or removed it meanwhile, or see above); what "
                  "it had is kept as {}/lost/{}",
                  escaped(shown), store_.path(), kept));
  return true;
}

// Each round puts what is in staging where the guest's name is. Did what we put there the round before
// (first: new_ino) come out, then the guest did nothing meanwhile and all is in place. Otherwise something
// newer of the guest came out, and the next round puts that back.
Exchange Exchanger::put_back(const std::string& staged, const GuestName& name, uint64_t new_ino,
                             const InWindow& in_window) {
  GuestName at = name;
  uint64_t expected = new_ino;
  for (int round = 0; round < kPatience; ++round) {
    const auto placing = staged_ino(staged, name.shown);
    if (const Result swapped = swap_unsealed(staged, at, in_window); !swapped) {
      if (swapped.error().code == ENOENT) {
        at.name = find_moved(at, expected);
        if (at.name.empty()) break;
        continue;
      }
      if (swapped.error().code == EPERM && round + 1 < kPatience)
        continue;  // another sealed one may stand there by now
      log_.object_failed(swapped.error().message);
      break;
    }
    const auto came_out = staged_ino(staged, name.shown);
    if (!came_out)
      return Exchange::stuck;  // one exchange back is right unless the guest did something in this very
                               // moment
    if (*came_out != expected) {
      if (!placing) return Exchange::stuck;
      expected = *placing;
      continue;
    }
    if (expected == new_ino) return Exchange::put_back;
    // Not ours, then it is an inode that the guest has replaced itself: without a name it would be gone
    // already.
    const Result removed = remove(staged, name.shown, in_window);
    if (removed) return Exchange::put_back;
    log_.object_failed(removed.error().message);
    break;
  }
  return keep_as_lost(staged, name.shown, in_window) ? Exchange::lost : Exchange::stuck;
}

Expected<bool> Exchanger::try_exchange(const std::string& staged, const GuestName& name, uint64_t old_ino) {
  if (const Result swapped = swap("exchange", staged, name, RENAME_EXCHANGE); !swapped)
    return swapped.error();
  return staged_ino(staged, name.shown) == old_ino;
}

Result Exchanger::try_replace(const std::string& staged, const GuestName& name, int old_fd,
                              uint64_t old_ino) {
  const int staging = store_.staging_fd();
  const std::string kept = kept_name(staged);
  const auto before = stat_fd(old_fd, name.shown);
  if (!before) return before.error();
  if (::linkat(old_fd, "", staging, kept.c_str(), AT_EMPTY_PATH) != 0) {
    Problem refused = problem_from_errno("keep in " + store_.path() + "/staging", name.shown);
    if (refused.code == EMLINK) refused.code = EBUSY;  // of the old inode: another master would not help
    return refused;
  }
  const auto there = stat_at(name.dir, name.name.c_str(), name.shown);
  const Result replaced = !there                  ? Result(there.error())
                          : there->ino != old_ino ? Result(Problem{ESTALE, ""})
                                                  : swap("rename over", staged, name, 0);
  if (!replaced) {
    ::unlinkat(staging, kept.c_str(), 0);
    return replaced;
  }
  if (::renameat(staging, kept.c_str(), staging, staged.c_str()) != 0) {
    const Problem refused = problem_from_errno("keep in " + store_.path() + "/staging", name.shown);
    ::renameat(staging, kept.c_str(), name.dir, name.name.c_str());
    return refused;
  }
  if (const auto after = stat_fd(old_fd, name.shown); !after || after->nlink > before->nlink)
    log_.object_failed(escaped(name.shown) +
                       ": what somebody put there at the moment in which it was renamed over is lost");
  return Ok{};
}

void Exchanger::settle_replace(const std::string& staged, uint64_t old_ino) {
  const int staging = store_.staging_fd();
  const std::string kept = kept_name(staged);
  const auto old = stat_at(staging, kept.c_str(), kept);
  if (!old || old->ino != old_ino) return;
  const bool begun = !stat_at(staging, staged.c_str(), staged);
  const int failed = begun ? ::renameat(staging, kept.c_str(), staging, staged.c_str())
                           : ::unlinkat(staging, kept.c_str(), 0);
  if (failed != 0)
    log_.object_failed(problem_from_errno("settle", store_.path() + "/staging/" + kept).message);
}

Expected<Exchange> Exchanger::exchange(const std::string& staged, const GuestName& name, uint64_t new_ino,
                                       uint64_t old_ino, const InWindow& in_window) {
  bool done = false;
  const auto step = [&]() -> Result {
    const auto tried = try_exchange(staged, name, old_ino);
    done = tried && *tried;
    return tried ? Result(Ok{}) : Result(tried.error());
  };
  if (const Result tried = in_window ? in_window(step) : step(); !tried) return tried.error();
  return done ? Exchange::done : put_back(staged, name, new_ino, in_window);
}

}  // namespace vs::unify
