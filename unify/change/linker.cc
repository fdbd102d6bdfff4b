#include "unify/change/linker.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <cstring>
#include <utility>

#include "core/escape.h"
#include "core/full_io.h"

namespace vs::unify {
namespace {

// Masters up to this size are read once a group and kept while its duplicates are compared; larger ones are
// read beside each duplicate.
constexpr uint64_t kKeepWhole = 8u << 20;
constexpr size_t kBlock = 256 * 1024;

// What one window takes: names, and the time after which no other name is begun. A name takes some 30 us.
constexpr size_t kNamesInWindow = 32;
constexpr std::chrono::microseconds kWindowTime{1500};

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

// Somebody has the file open. No message: that is no trouble either.
Problem in_use() {
  return {ETXTBSY, ""};
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

// Then no master is made of them, which no guest might ever use.
bool Linker::all_in_use(const GroupWork& work) const {
  for (DuplicateNumber v = work.begin; v < work.end; ++v) {
    const RowNumber r = files_.plan.names[files_.plan.duplicates[v].begin];
    const auto fd = guest(r).root.open_regular(files_.table.path(row(r)), nullptr);
    if (!fd) return false;
    auto lease = Lease::take(fd->get(), "");
    if (!lease) return false;
    const auto alone = lease->nobody_else("");
    if (!alone || *alone) return false;
  }
  return true;
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
  if (work.processes == Processes::running && all_in_use(work)) {
    for (DuplicateNumber v = work.begin; v < work.end; ++v) work.in_use.push_back(v);
    return;
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

Expected<UniqueFd> Linker::open_dir_of(RowNumber r) const {
  return guest(r).root.open_dir(files_.table.dir_path(row(r).dir));
}

GuestName Linker::name_in(int dir, RowNumber r) const {
  return {dir, std::string(files_.table.name(row(r))), shown(r)};
}

Expected<const Linker::BatchDirectory*> Linker::directory_of(RowNumber r) {
  {
    const std::lock_guard lock(directories_mutex_);
    if (const auto known = directories_.find(row(r).dir); known != directories_.end()) return &known->second;
  }
  auto fd = open_dir_of(r);
  if (!fd) return fd.error();
  DirectoryTimes::Directory* const watched = directory_times_.before(fd->get());
  const std::lock_guard lock(directories_mutex_);
  return &directories_.try_emplace(row(r).dir, BatchDirectory{std::move(*fd), watched}).first->second;
}

void Linker::finish_directories() {
  directories_.clear();
  directory_times_.put_back();
}

Result Linker::same_bytes(int duplicate_fd, const GroupWork& work, const std::string& bytes,
                          const std::string& object) const {
  const uint64_t size = work.master.record.size;
  static thread_local std::string theirs(kBlock, '\0'), ours(kBlock, '\0');
  for (uint64_t offset = 0; offset < size; offset += kBlock) {
    if (files_.cancel != nullptr && files_.cancel->stop()) return Problem{ECANCELED, ""};
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
  if (work.processes == Processes::running) {
    const auto alone = duplicate.lease.nobody_else(shown(r));
    if (!alone) return alone.error();
    if (!*alone) return duplicate.lease.unbroken() ? in_use() : Problem{EAGAIN, ""};
  }
  const MasterRecord& master = work.master.record;
  FileClass wanted = master.file_class;
  if (ignore_mtime_) wanted.mtime_ns = duplicate.before.mtime_ns;
  const auto equal = has_class(duplicate.fd.get(), duplicate.before, wanted, master.xattrs, shown(r));
  if (!equal) return equal.error();
  if (!*equal || duplicate.before.size != master.size) return changed();
  if (auto same = same_bytes(duplicate.fd.get(), work, bytes, shown(r)); !same) return same.error();
  for (uint32_t n = 0; n < names_of(v); ++n)
    duplicate.names.push_back({staged_name(work, v, n), files_.plan.names[names.begin + n]});
  return duplicate;
}

// Gives the guest its own inode back under each name that was exchanged.
void Linker::take_back(GroupWork& work, SwappedDuplicate& duplicate) {
  using State = StagedName::State;
  ++counts_.put_back;
  const InWindow window = in_window(work);
  for (auto& name : duplicate.names) {
    const State state = std::exchange(name.state, State::planned);
    if (state == State::staged) remove_staged(work, name);
    if (state != State::exchanged && state != State::unexpected) continue;
    const auto dir = open_dir_of(name.row);
    if (!dir) {
      // Its directory is gone or moved: the inode has to wait where the administrator finds it.
      work.left_in_staging =
          !exchanger_.keep_as_lost(name.staged, shown(name.row), window) || work.left_in_staging;
      continue;
    }
    directory_times_.give_up(dir->get());
    const auto back =
        exchanger_.put_back(name.staged, name_in(dir->get(), name.row), work.master.record.ino, window);
    if (back == Exchange::put_back) remove_staged(work, name);
    work.left_in_staging = work.left_in_staging || back == Exchange::stuck;
  }
}

// The window of the master, for one step; nobody else unseals it meanwhile.
InWindow Linker::in_window(GroupWork& work) {
  return [this, &work](const std::function<Result()>& step) -> Result {
    const auto alone = strays().alone();
    if (auto opened = work.window->unseal_again(); !opened) return opened;
    auto done = step();
    work.window->seal();
    return done;
  };
}

void Linker::remove_staged(GroupWork& work, const StagedName& name) {
  const auto removed = exchanger_.remove(name.staged, shown(name.row), in_window(work));
  if (removed) return;
  log_.object_failed(removed.error().message);
  work.left_in_staging = true;
}

// A file that cannot be looked at is not known to be unchanged.
bool Linker::unchanged(const SwappedDuplicate& duplicate, const MasterRecord& master) const {
  const std::string object = shown(duplicate.names[0].row);
  const auto now = stat_fd(duplicate.fd.get(), object);
  if (!now) {
    log_.object_failed(now.error().message);
    return false;
  }
  FileClass own = class_of(duplicate.before, master.file_class.xattrs);
  own.mtime_ns = now->mtime_ns;  // compared below
  const auto equal = has_class(duplicate.fd.get(), *now, own, master.xattrs, object);
  if (!equal) log_.object_failed(equal.error().message);
  if (!equal || !*equal || !duplicate.lease.unbroken()) return false;
  FileStat expected = duplicate.before;
  expected.ctime_ns = now->ctime_ns;  // moved by the exchange
  expected.blocks = now->blocks;      // delayed allocation
  expected.mount_id = now->mount_id;
  return *now == expected;
}

void Linker::refuse(GroupWork& work, DuplicateNumber v, const Problem& problem) {
  if (problem.code == ETXTBSY) return work.in_use.push_back(v);
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

void Linker::compare(GroupWork& work) {
  if (!work.ready) return;
  std::string bytes;
  if (auto read = read_whole_master(work.master, bytes); !read) {
    log_.object_failed(read.error().message);
    for (DuplicateNumber v = work.begin; v < work.end; ++v) work.refused.emplace_back(v, Reason::io_error);
    return;
  }
  for (DuplicateNumber v = work.begin; v < work.end; ++v) {
    if (is_refused(work, v)) continue;
    if (left_alone_(files_.table.guest(row(files_.plan.names[files_.plan.duplicates[v].begin])))) {
      work.refused.emplace_back(v, Reason::package_work);
      continue;
    }
    auto duplicate = check_duplicate(work, v, bytes);
    if (duplicate)
      work.checked.push_back(std::move(*duplicate));
    else
      refuse(work, v, duplicate.error());
  }
}

// Cheap, and again right before its names are exchanged: reading the others took time.
Result Linker::unchanged_so_far(const SwappedDuplicate& duplicate) const {
  const auto now = stat_fd(duplicate.fd.get(), shown(duplicate.names[0].row));
  if (!now) return now.error();
  if (!duplicate.lease.unbroken()) return Problem{EAGAIN, ""};  // somebody begins to write
  return now->ctime_ns == duplicate.before.ctime_ns && now->nlink == duplicate.before.nlink
             ? Result(Ok{})
             : Result(changed());
}

// Names of one guest, from this one on, each with its directory open and looked up: what a guest can make
// take long is done here. Those that cannot be located refuse their duplicate.
std::vector<Linker::NextName> Linker::next_names(std::vector<SwappedDuplicate>& checked, size_t& duplicate,
                                                 size_t& name) {
  std::vector<NextName> next;
  for (; duplicate < checked.size(); ++duplicate, name = 0) {
    SwappedDuplicate& one = checked[duplicate];
    const bool same_guest = next.empty() || &guest(one.names[0].row) == &guest(next[0].name->row);
    if (!same_guest) return next;
    if (name == 0 && !one.refused)
      if (const auto same = unchanged_so_far(one); !same) one.refused = same.error();
    for (; name < one.names.size() && !one.refused; ++name) {
      if (next.size() == kNamesInWindow) return next;
      const auto directory = directory_of(one.names[name].row);
      if (!directory) {
        one.refused = directory.error();
        break;
      }
      NextName add{&one, &one.names[name], (*directory)->watched,
                   name_in((*directory)->fd.get(), one.names[name].row)};
      if (const auto there = stat_at(add.place.dir, add.place.name.c_str(), add.place.shown); !there) {
        const bool gone = there.error().code == ENOENT || there.error().code == ENOTDIR;
        one.refused = gone ? changed() : there.error();
        break;
      }
      next.push_back(std::move(add));
    }
  }
  return next;
}

Result Linker::exchange_name(GroupWork& work, NextName& next) {
  StagedName& name = *next.name;
  if (::linkat(work.master.fd.get(), "", store_.staging_fd(), name.staged.c_str(), AT_EMPTY_PATH) != 0)
    return problem_from_errno("link master " + work.master.shown + " for", next.place.shown);
  name.state = StagedName::State::staged;
  const uint64_t old_ino = next.duplicate->before.ino;
  if (work.processes == Processes::standing_still) {
    const Result done = exchanger_.try_replace(name.staged, next.place, next.duplicate->fd.get(), old_ino);
    if (done) name.state = StagedName::State::exchanged;
    return done;
  }
  const auto done = exchanger_.try_exchange(name.staged, next.place, old_ino);
  if (!done) return done.error();
  name.state = *done ? StagedName::State::exchanged : StagedName::State::unexpected;
  return *done ? Result(Ok{}) : Result(changed());
}

void Linker::note_changed(const GroupWork& work, const NextName& next) {
  if (next.name->state == StagedName::State::exchanged)
    DirectoryTimes::changed(next.directory, work.processes == Processes::standing_still ? 1 : 2);
  else if (next.name->state == StagedName::State::unexpected)
    DirectoryTimes::give_up(next.directory);
}

// Nothing in here takes a time that a guest can choose. Returns how many of the names were done.
size_t Linker::exchange_in_window(GroupWork& work, std::vector<NextName>& names) {
  // Where the master may have been unsealed before, one that is in the way of another exchange may have a
  // window of its own just now.
  const auto beside = work.opened ? strays().beside_others() : std::shared_lock<std::shared_mutex>();
  const auto until = std::chrono::steady_clock::now() + kWindowTime;
  const Result opened = work.opened ? work.window->unseal_again() : work.window->open();
  size_t done = 0;
  while (done < names.size() && (done == 0 || std::chrono::steady_clock::now() < until)) {
    NextName& next = names[done++];
    if (next.duplicate->refused) continue;
    const Result exchanged = opened ? exchange_name(work, next) : opened;
    if (!exchanged) next.duplicate->refused = exchanged.error();
  }
  work.opened = work.opened || opened;
  work.verdict = work.window->seal();
  for (size_t i = 0; i < done; ++i) note_changed(work, names[i]);
  return done;
}

void Linker::exchange_all(GroupWork& work) {
  auto& checked = work.checked;
  size_t duplicate = 0, name = 0;
  while (duplicate < checked.size()) {
    auto names = next_names(checked, duplicate, name);
    if (names.empty()) continue;
    const size_t done = exchange_in_window(work, names);
    if (done < names.size()) {  // its time was over: these are the first of the next one
      duplicate = static_cast<size_t>(names[done].duplicate - checked.data());
      name = static_cast<size_t>(names[done].name - names[done].duplicate->names.data());
    }
    if (work.verdict >= UnsealedWindow::Verdict::tainted) break;
  }
}

void Linker::exchange(GroupWork& work) {
  if (work.checked.empty()) return;
  work.window = std::make_unique<UnsealedWindow>(guard_, shared_file(work.master), nullptr, counts_, &log_);
  exchange_all(work);
  for (auto& one : work.checked) {
    const bool all = std::all_of(one.names.begin(), one.names.end(), [](const StagedName& name) {
      return name.state == StagedName::State::exchanged;
    });
    if (all) {
      work.swapped.push_back(std::move(one));
      continue;
    }
    const bool begun = std::any_of(one.names.begin(), one.names.end(), [](const StagedName& name) {
      return name.state != StagedName::State::planned;
    });
    if (begun) take_back(work, one);
    refuse(work, one.duplicate, one.refused.value_or(changed()));
  }
  work.checked.clear();
}

void Linker::settle(GroupWork& work) {
  std::vector<SwappedDuplicate*> to_return;
  for (auto& duplicate : work.swapped) {
    const auto alone = duplicate.lease.nobody_else(shown(duplicate.names[0].row));
    const bool used = alone && !*alone;
    if (!alone) duplicate.refused = alone.error();
    if (!alone || work.verdict >= UnsealedWindow::Verdict::tainted ||
        !unchanged(duplicate, work.master.record)) {
      to_return.push_back(&duplicate);
      continue;
    }
    if (used && work.processes == Processes::running) {  // begun since it was compared
      duplicate.refused = in_use();
      to_return.push_back(&duplicate);
      continue;
    }
    for (const auto& name : duplicate.names) remove_staged(work, name);
    (used ? counts_.bytes_held : counts_.bytes_freed) += duplicate.before.blocks * 512;
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
  for (SwappedDuplicate* duplicate : to_return) {
    const bool unbroken = duplicate->lease.unbroken();
    take_back(work, *duplicate);
    if (duplicate->refused && duplicate->refused->code != ETXTBSY) {
      refuse(work, duplicate->duplicate, *duplicate->refused);
      continue;
    }
    // What was begun in the midst of it is not tried again in this run: it is not what was scanned any more
    // (ctime).
    const bool begun = unbroken && duplicate->refused;
    work.refused.emplace_back(duplicate->duplicate, begun      ? Reason::running
                                                    : unbroken ? Reason::changed_meanwhile
                                                               : Reason::busy);
    log_.remember_first(reason_name(work.refused.back().second), escaped(shown(duplicate->names[0].row)));
  }
}

}  // namespace vs::unify
