#include "unify/exchange.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <linux/fs.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <optional>

#include "core/dir_reader.h"
#include "core/escape.h"
#include "unify/journal.h"

namespace vs::unify {
namespace {

// A guest that wins the race this often in a row does nothing else; then its file waits in lost/.
constexpr int kPatience = 16;

int exchange(const Store& store, const std::string& staged, const GuestName& name) {
  const long done = ::syscall(SYS_renameat2, store.staging_fd(), staged.c_str(), name.dir, name.name.c_str(), RENAME_EXCHANGE);
  return done == 0 ? 0 : errno;
}

// Nothing when it cannot be told; the log says why.
std::optional<uint64_t> staged_ino(const Store& store, const std::string& staged, const GuestName& name, Log& log) {
  const auto stat = stat_at(store.staging_fd(), staged.c_str(), store.path() + "/staging/" + staged + ", which came from " + name.shown);
  if (stat) return stat->ino;
  log.object_failed(stat.error().message);
  return std::nullopt;
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

void keep_as_lost(const Store& store, const std::string& staged, const std::string& shown, Log& log) {
  const std::string kept = new_run_id() + "-" + staged;
  if (::syscall(SYS_renameat2, store.staging_fd(), staged.c_str(), store.lost_fd(), kept.c_str(), RENAME_NOREPLACE) != 0) {
    log.object_failed(problem_from_errno("keep " + store.path() + "/lost/" + kept + " for", shown).message);
    return;
  }
  log.object_failed(fmt::format("{}: could not be put back (the guest moved or removed it meanwhile, or see above); what it had is kept as {}/lost/{}",
                                escaped(shown), store.path(), kept));
}

// Each round puts what is in staging where the guest's name is. Did what we put there the round before (first: new_ino) come out,
// then the guest did nothing meanwhile and all is in place. Otherwise something newer of the guest came out, and the next
// round puts that back.
Exchange put_back(const Store& store, const std::string& staged, const GuestName& name, uint64_t new_ino, Log& log) {
  GuestName at = name;
  uint64_t expected = new_ino;
  for (int round = 0; round < kPatience; ++round) {
    const auto placing = staged_ino(store, staged, name, log);
    const int error = exchange(store, staged, at);
    if (error == ENOENT) {
      at.name = find_moved(at, expected);
      if (at.name.empty()) break;
      continue;
    }
    if (error != 0) {
      log.object_failed(problem_from(error, "put back", name.shown).message);
      break;
    }
    const auto came_out = placing ? staged_ino(store, staged, name, log) : placing;
    if (!came_out) return Exchange::put_back;  // one exchange back is right unless the guest did something in this very moment
    if (*came_out != expected) {
      expected = *placing;
      continue;
    }
    // Not ours, then it is an inode that the guest has replaced itself: without a name it would be gone already.
    if (expected != new_ino && ::unlinkat(store.staging_fd(), staged.c_str(), 0) != 0) keep_as_lost(store, staged, name.shown, log);
    return Exchange::put_back;
  }
  keep_as_lost(store, staged, name.shown, log);
  return Exchange::lost;
}

Expected<Exchange> exchange_names(const Store& store, const std::string& staged, const GuestName& name, uint64_t new_ino, uint64_t old_ino, Log& log) {
  if (const int error = exchange(store, staged, name); error != 0) return problem_from(error, "exchange", name.shown);
  if (staged_ino(store, staged, name, log) == old_ino) return Exchange::done;
  return put_back(store, staged, name, new_ino, log);
}

}  // namespace vs::unify
