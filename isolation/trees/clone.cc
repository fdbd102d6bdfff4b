#include "isolation/trees/clone.h"

#include <dirent.h>
#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <csignal>
#include <vector>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/store/store_place.h"
#include "core/store/unsealed_window.h"
#include "core/tree/listing.h"
#include "core/tree/root_dir.h"
#include "core/tree/walker.h"
#include "isolation/context/run_program.h"
#include "isolation/trees/copy_tree.h"

namespace vs::isolation {
namespace {

// --- what is sealed ----------------------------------------------------------------------------------------

// Paths of all names of sealed files. What is mounted in the tree is not cloned.
class SealedFiles final : public TreeVisitor {
 public:
  Expected<bool> visit(const WalkEntry& entry) override {
    const bool sealed =
        entry.type == DT_REG && entry.stat->nlink > 1 && (entry.stat->attributes & STATX_ATTR_IMMUTABLE) != 0;
    if (sealed && !entry.foreign) found.push_back(join_path(entry.in, entry.name));
    return entry.type == DT_DIR;
  }
  bool failed(const Problem&) override { return false; }
  std::vector<std::string> found;
};

// --- one more name each ------------------------------------------------------------------------------------

// The directory `path`, made with those above it that are missing: owner and mode come with the copy. One
// step at a time, so any depth will do.
Expected<UniqueFd> open_making(const RootDir& to, std::string_view path) {
  std::string_view there = path;
  auto dir = to.open_dir(there);
  while (!dir && dir.error().code == ENOENT && !there.empty()) {
    there = split_path(there).first;
    dir = to.open_dir(there);
  }
  for (size_t at = there.empty() ? 0 : there.size() + 1; dir && at < path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string name(path.substr(at, end - at));
    if (::mkdirat(dir->get(), name.c_str(), 0700) != 0 && errno != EEXIST)
      return problem_from_errno("create", shown_path(to, path.substr(0, end)));
    dir = RootDir(std::move(*dir), to.path(), false).open_dir(name);
    at = end + 1;
  }
  return dir;
}

Result link_one(SealKeeper& keeper, const RootDir& from, const RootDir& to, const std::string& path) {
  FileStat stat;
  const auto file = from.open_regular(path, &stat);
  if (!file) return file.error();
  if (!is_sealed(file->get())) return problem_from(EAGAIN, "find sealed", from.host_path(path));
  const auto parts = split_path(path);
  const std::string name(parts.second);
  const auto dir = open_making(to, parts.first);
  if (!dir) return dir.error();
  return in_unsealed_moment(keeper, file->get(), from.host_path(path), [&] {
    return ::linkat(AT_FDCWD, fmt::format("/proc/self/fd/{}", file->get()).c_str(), dir->get(), name.c_str(),
                    AT_SYMLINK_FOLLOW) == 0
               ? 0
               : errno;
  });
}

// In the process of its own; one byte for each path tells what became of it. Ends early when nobody listens
// any more: between two windows.
int link_all(const RootDir& from, const RootDir& to, const std::vector<std::string>& paths, int report) {
  ::setsid();
  ::signal(SIGPIPE, SIG_IGN);
  expect_lease_signals();
  SealKeeper keeper;
  ok_or_throw(keeper.start());
  for (const auto& path : paths) {
    const auto linked = link_one(keeper, from, to, path);
    const bool can_be_copied = !linked && (linked.error().code == EAGAIN || linked.error().code == EMLINK ||
                                           linked.error().code == EXDEV);
    if (!linked && !can_be_copied) {
      ::dprintf(2, "%s\n", linked.error().message.c_str());
      return 1;
    }
    if (::write(report, linked ? "l" : "c", 1) != 1) return 1;
  }
  return 0;
}

CloneCounts link_sealed(const RootDir& from, const RootDir& to, const std::vector<std::string>& paths) {
  int pipe[2];
  if (::pipe2(pipe, O_CLOEXEC) != 0) throw Error(problem_from_errno("make", "a pipe").message);
  UniqueFd reading(pipe[0]), writing(pipe[1]);
  const pid_t worker = ::fork();
  if (worker < 0) throw Error(problem_from_errno("fork for", to.path()).message);
  if (worker == 0) {
    reading.reset();
    int status = 1;
    try {
      status = link_all(from, to, paths, writing.get());
    } catch (const std::exception& error) {
      ::dprintf(2, "%s\n", error.what());
    }
    ::_exit(status);
  }
  writing.reset();
  CloneCounts counts;
  char buffer[4096];
  for (ssize_t got; (got = ::read(reading.get(), buffer, sizeof buffer)) > 0 || (got < 0 && errno == EINTR);)
    for (ssize_t i = 0; i < got; ++i) ++(buffer[i] == 'l' ? counts.linked : counts.copied);
  if (wait_for_child(worker) != 0)
    throw Error(fmt::format("could not link what {} shares into {}", from.path(), to.path()));
  return counts;
}

}  // namespace

CloneCounts clone_tree(const std::string& from, const std::string& to, const std::string& vunify_conf,
                       Log& log) {
  CloneCounts counts;
  const RootDir source(from), target(to);
  if (source.stat().dev == target.stat().dev) {
    const auto locks = lock_stores(source, vunify_conf);
    SealedFiles sealed;
    ok_or_throw(walk_tree(source, sealed, {.stat_all = true}));
    if (!sealed.found.empty()) counts = link_sealed(source, target, sealed.found);
    log.verbose(
        fmt::format("{} names of shared files linked, {} shared files copied", counts.linked, counts.copied));
  }
  ok_or_throw(copy_tree(source, target));  // the rest: what is there already is left alone
  return counts;
}

}  // namespace vs::isolation
