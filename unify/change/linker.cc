#include "unify/change/linker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/escape.h"
#include "core/full_read.h"

namespace vs::unify {
namespace {

// Masters up to this size are read once a group and kept while its duplicates are compared; larger ones are
// read beside each duplicate.
constexpr uint64_t kKeepWhole = 8u << 20;
constexpr size_t kBlock = 256 * 1024;

// A guest's file that is not what the plan says any more. No message: a living guest is no trouble.
Problem changed() {
  return {ESTALE, ""};
}

Result read_exactly(int fd, char* buffer, size_t size, uint64_t offset, const std::string& object) {
  const ssize_t got = pread_full(fd, buffer, size, offset);
  if (got < 0) return problem_from_errno("read", object);
  return static_cast<size_t>(got) < size ? Result(changed()) : Result(Ok{});
}

Result read_whole_master(const OpenMaster& master, std::string& bytes) {
  bytes.clear();
  if (master.record.size > kKeepWhole) return Ok{};
  bytes.resize(master.record.size);
  return read_exactly(master.fd.get(), bytes.data(), bytes.size(), 0, master.shown);
}

bool is_refused(const GroupWork& work, DuplicateNumber v) {
  return std::any_of(work.refused.begin(), work.refused.end(),
                     [&](const auto& one) { return one.first == v; });
}

}  // namespace

std::string Linker::staged_name(const GroupWork& work, DuplicateNumber duplicate, uint32_t name) const {
  const auto& duplicates = files_.plan.duplicates;
  return fmt::format("{:08x}",
                     work.first_staged + (duplicates[duplicate].begin - duplicates[work.begin].begin) + name);
}

void Linker::prepare(GroupWork& work) {
  const PlanGroup& group = files_.plan.groups[work.group];
  if (work.master_index) {
    auto master = open_master(store_, guard_, masters_[*work.master_index]);
    if (master) {
      work.master = std::move(*master);
      work.ready = true;
      return;
    }
    log_.object_failed(master.error().message);
    work.unusable_master = work.master_index;
  }
  auto master = make_master(store_, files_, group, work.begin, work.end, ignore_mtime_, work.refused, log_);
  if (master) {
    // Sealed from the start, so that one that is never used is no exception; its window unseals it.
    if (auto sealed = guard_.seal(master->fd.get(), master->shown); !sealed) {
      (void)store_.remove_master(master->record.name);
      master = sealed.error();
    }
  }
  if (master) {
    work.master = std::move(*master);
    work.ready = true;
    return;
  }
  const Reason reason = reason_of_errno(master.error().code);
  if (reason == Reason::io_error) log_.object_failed(master.error().message);
  log_.remember_first(reason_name(reason), master.error().message);
  for (DuplicateNumber v = work.begin; v < work.end; ++v)
    if (!is_refused(work, v)) work.refused.emplace_back(v, reason);
}

void Linker::announce(const GroupWork& work, JournalBatch& batch) const {
  batch.masters.push_back(work.master.record.name);
  for (DuplicateNumber v = work.begin; v < work.end; ++v)
    for (uint32_t n = 0; n < names_of(v); ++n) {
      const RowNumber r = files_.plan.names[files_.plan.duplicates[v].begin + n];
      batch.steps.push_back({staged_name(work, v, n), guest(r).name, files_.table.path(row(r)),
                             work.master.record.ino, row(r).ino});
    }
}

Expected<GuestName> Linker::locate(RowNumber r, UniqueFd& dir) const {
  auto opened = guest(r).root.open_dir(files_.table.dir_path(row(r).dir));
  if (!opened) return opened.error();
  dir = std::move(*opened);
  return GuestName{dir.get(), std::string(files_.table.name(row(r))), shown(r)};
}

Result Linker::same_bytes(int duplicate_fd, const GroupWork& work, const std::string& bytes,
                          const std::string& object) const {
  const uint64_t size = work.master.record.size;
  static thread_local std::string theirs(kBlock, '\0'), ours(kBlock, '\0');
  for (uint64_t offset = 0; offset < size; offset += kBlock) {
    const auto length = static_cast<size_t>(std::min<uint64_t>(kBlock, size - offset));
    if (auto read = read_exactly(duplicate_fd, theirs.data(), length, offset, object); !read) return read;
    const char* expected = bytes.data() + offset;
    if (bytes.empty()) {
      if (auto read = read_exactly(work.master.fd.get(), ours.data(), length, offset, work.master.shown);
          !read)
        return read;
      expected = ours.data();
    }
    if (std::memcmp(theirs.data(), expected, length) != 0) return changed();
  }
  return Ok{};
}

// The duplicate is pinned by a descriptor, is what was scanned, nobody writes to it or can begin to
// unnoticed, and it equals the master.
Expected<SwappedDuplicate> Linker::check_duplicate(GroupWork& work, DuplicateNumber v,
                                                   const std::string& bytes) {
  const Duplicate& names = files_.plan.duplicates[v];
  const RowNumber r = files_.plan.names[names.begin];
  SwappedDuplicate duplicate;
  duplicate.duplicate = v;
  auto fd = guest(r).root.open_regular(files_.table.path(row(r)), &duplicate.before);
  if (!fd) return fd.error();
  if (!same_identity(row(r), duplicate.before)) return changed();
  duplicate.fd = std::move(*fd);
  auto lease = Lease::take(duplicate.fd.get(), shown(r));
  if (!lease) return lease.error();
  duplicate.lease = std::move(*lease);
  const auto xattrs = xattr_hash_of(duplicate.fd.get(), shown(r));
  if (!xattrs) return xattrs.error();
  FileClass own = class_of(duplicate.before, *xattrs);
  if (ignore_mtime_) own.mtime_ns = work.master.record.file_class.mtime_ns;
  if (own != work.master.record.file_class || duplicate.before.size != work.master.record.size)
    return changed();
  if (auto same = same_bytes(duplicate.fd.get(), work, bytes, shown(r)); !same) return same.error();
  for (uint32_t n = 0; n < names_of(v); ++n)
    duplicate.names.push_back({staged_name(work, v, n), files_.plan.names[names.begin + n], false});
  return duplicate;
}

// All names or none: on trouble those already exchanged are exchanged back.
Result Linker::swap_names(GroupWork& work, SwappedDuplicate& duplicate) {
  const uint64_t new_ino = work.master.record.ino;
  for (auto& name : duplicate.names) {
    UniqueFd dir;
    const auto place = locate(name.row, dir);
    if (!place) return place.error();
    if (::linkat(work.master.fd.get(), "", store_.staging_fd(), name.staged.c_str(), AT_EMPTY_PATH) != 0)
      return problem_from_errno("link master " + work.master.shown + " for", place->shown);
    const auto exchanged = exchanger_.exchange(name.staged, *place, new_ino, duplicate.before.ino);
    name.exchanged = exchanged && *exchanged == Exchange::done;
    if (name.exchanged) continue;
    if (exchanged && *exchanged == Exchange::stuck)
      work.left_in_staging = true;
    else
      remove_staged(work, name);  // the master's name, if anything
    return exchanged ? changed() : exchanged.error();
  }
  return Ok{};
}

// Within the master's window: gives the guest its own inode back under each name.
void Linker::take_back(GroupWork& work, SwappedDuplicate& duplicate) {
  ++counts_.put_back;
  for (auto& name : duplicate.names) {
    if (!name.exchanged) continue;
    name.exchanged = false;
    UniqueFd dir;
    const auto place = locate(name.row, dir);
    if (!place) {
      // Its directory is gone or moved: the inode has to wait where the administrator finds it.
      work.left_in_staging = !exchanger_.keep_as_lost(name.staged, shown(name.row)) || work.left_in_staging;
      continue;
    }
    const auto back = exchanger_.put_back(name.staged, *place, work.master.record.ino);
    if (back == Exchange::put_back) remove_staged(work, name);
    work.left_in_staging = work.left_in_staging || back == Exchange::stuck;
  }
}

void Linker::remove_staged(GroupWork& work, const StagedName& name) {
  const auto removed = exchanger_.remove(name.staged, shown(name.row));
  if (removed) return;
  log_.object_failed(removed.error().message);
  work.left_in_staging = true;
}

// A file that cannot be looked at is not known to be unchanged.
bool Linker::unchanged(const SwappedDuplicate& duplicate, uint64_t xattrs) const {
  const std::string object = shown(duplicate.names[0].row);
  const auto now = stat_fd(duplicate.fd.get(), object);
  const auto hash = xattr_hash_of(duplicate.fd.get(), object);
  if (!now) log_.object_failed(now.error().message);
  if (!hash) log_.object_failed(hash.error().message);
  if (!now || !hash || *hash != xattrs || !duplicate.lease.unbroken()) return false;
  FileStat expected = duplicate.before;
  expected.ctime_ns = now->ctime_ns;  // moved by the exchange
  expected.blocks = now->blocks;      // delayed allocation
  expected.mount_id = now->mount_id;
  return *now == expected;
}

void Linker::refuse(GroupWork& work, DuplicateNumber v, const Problem& problem) {
  const Reason reason = reason_of_errno(problem.code);
  if (reason == Reason::too_many_links) {
    work.full = true;
    work.deferred.push_back(v);
    return;
  }
  work.refused.emplace_back(v, problem.code == EOPNOTSUPP                         ? Reason::lease_refused
                               : problem.code == EINVAL || problem.code == EACCES ? Reason::changed_meanwhile
                                                                                  : reason);
  log_.remember_first(reason_name(work.refused.back().second),
                      problem.message.empty()
                          ? escaped(shown(files_.plan.names[files_.plan.duplicates[v].begin]))
                          : problem.message);
  if (reason == Reason::io_error && !problem.message.empty()) log_.object_failed(problem.message);
}

void Linker::link_duplicate(GroupWork& work, DuplicateNumber v, const std::string& bytes) {
  if (work.full) return work.deferred.push_back(v);
  auto duplicate = check_duplicate(work, v, bytes);
  if (!duplicate) return refuse(work, v, duplicate.error());
  if (auto swapped = swap_names(work, *duplicate); !swapped) {
    take_back(work, *duplicate);
    return refuse(work, v, swapped.error());
  }
  work.swapped.push_back(std::move(*duplicate));
}

void Linker::link(GroupWork& work) {
  if (!work.ready) return;
  std::string bytes;
  if (auto read = read_whole_master(work.master, bytes); !read) {
    log_.object_failed(read.error().message);
    for (DuplicateNumber v = work.begin; v < work.end; ++v) work.refused.emplace_back(v, Reason::io_error);
    return;
  }
  work.window = std::make_unique<UnsealedWindow>(guard_, shared_file(work.master), nullptr, counts_, &log_);
  if (auto opened = work.window->open(); !opened) {
    for (DuplicateNumber v = work.begin; v < work.end; ++v) refuse(work, v, opened.error());
    return;
  }
  for (DuplicateNumber v = work.begin; v < work.end; ++v)
    if (!is_refused(work, v)) link_duplicate(work, v, bytes);
  work.verdict = work.window->seal();
}

void Linker::settle(GroupWork& work) {
  std::vector<SwappedDuplicate*> to_return;
  for (auto& duplicate : work.swapped) {
    if (work.verdict >= UnsealedWindow::Verdict::tainted ||
        !unchanged(duplicate, work.master.record.file_class.xattrs)) {
      to_return.push_back(&duplicate);
      continue;
    }
    for (const auto& name : duplicate.names) remove_staged(work, name);
    counts_.bytes_freed += duplicate.before.blocks * 512;
    counts_.files_linked += duplicate.names.size();
    for (const auto& name : duplicate.names) work.linked.emplace_back(name.row, duplicate.duplicate);
  }
  if (!to_return.empty()) return_duplicates(work, to_return);
  if (work.window) work.verdict = std::max(work.verdict, work.window->close());
  work.window.reset();
  // Closing the last descriptor frees the old inode on disk, which takes as long as the exchange: here all
  // threads share that.
  work.swapped.clear();
}

void Linker::return_duplicates(GroupWork& work, const std::vector<SwappedDuplicate*>& to_return) {
  const auto alone = strays().alone();
  if (auto opened = work.window->unseal_again(); !opened) log_.object_failed(opened.error().message);
  for (SwappedDuplicate* duplicate : to_return) {
    const bool unbroken = duplicate->lease.unbroken();
    take_back(work, *duplicate);
    work.refused.emplace_back(duplicate->duplicate, unbroken ? Reason::changed_meanwhile : Reason::busy);
    log_.remember_first(reason_name(work.refused.back().second), escaped(shown(duplicate->names[0].row)));
  }
  work.window->seal();
}

}  // namespace vs::unify
