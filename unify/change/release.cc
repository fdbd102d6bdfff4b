#include "unify/change/release.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <tbb/parallel_for.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <memory>
#include <mutex>
#include <set>
#include <tuple>

#include "core/escape.h"
#include "core/store/seal_keeper.h"
#include "core/store/unsealed_window.h"
#include "unify/change/exchange.h"
#include "unify/scan/scanner.h"

namespace vs::unify {
namespace {

constexpr size_t kBatchNames = 2048;

class MasterNameDirectory final : public DirectoryVisitor {
 public:
  explicit MasterNameDirectory(const MasterTable& masters) : masters_(masters) {}
  std::optional<uint32_t> wants(const DirEntry& entry) override { return masters_.find(entry.ino); }

 private:
  const MasterTable& masters_;
};

class MasterNameVisitor final : public ScanVisitor {
 public:
  explicit MasterNameVisitor(const MasterTable& masters) : masters_(masters) {}
  std::unique_ptr<DirectoryVisitor> enter(uint32_t, std::string_view, const FileStat&) override {
    return std::make_unique<MasterNameDirectory>(masters_);
  }

 private:
  const MasterTable& masters_;
};

// Names of one master that go in one window; copies are one a link group.
struct MasterRelease {
  uint32_t master = 0;
  std::vector<NameOfMaster> names;
  std::vector<std::string> staged;  // beside names
  std::vector<bool> stuck;       // beside names: what is in staging is the guest's, for recovery to put back
  std::vector<uint64_t> copies;  // inode of the copy, beside names; 0: could not be made
  std::vector<std::shared_ptr<UniqueFd>> files;  // the copies, without a name until the journal tells of them
  OpenMaster open;
  bool ready = false;
  bool left_in_staging =
      false;          // a name there could not be removed: the batch is not done, recovery removes it
  bool torn = false;  // some names of a link group are released, others not, and that could not be mended
  UnsealedWindow::Verdict verdict = UnsealedWindow::Verdict::intact;
  ReasonCounts skipped{};
  uint64_t released = 0, bytes = 0;
};

// Hard links of one another before they were unified: they move together or not at all.
bool linked(const NameOfMaster& a, const NameOfMaster& b) {
  return a.master == b.master && a.guest == b.guest && a.link_group == b.link_group && a.link_group != 0;
}

// Names [begin, this) are one link group; mostly one name.
size_t end_of_group(const MasterRelease& one, size_t begin) {
  size_t end = begin + 1;
  while (end < one.names.size() && linked(one.names[end - 1], one.names[end])) ++end;
  return end;
}

class Releaser {
 public:
  Releaser(const ReleaseInput& input, RunContext& context)
      : input_(input),
        context_(context),
        journal_(input.state_dir + "/journal", input.run),
        exchanger_(input.store, input.guard, input.masters, &keeper_, counts_, context.log) {}

  ReleaseResult run(std::vector<NameOfMaster> names) {
    ok_or_throw(keeper_.start());
    context_.progress.start("release", "files", names.size());
    for (size_t at = 0; at < names.size() && !context_.cancel.stop();) {
      size_t end = std::min(names.size(), at + kBatchNames);
      while (end < names.size() && linked(names[end - 1], names[end])) ++end;  // a link group is in one batch
      run_batch({names.begin() + static_cast<long>(at), names.begin() + static_cast<long>(end)});
      at = end;
    }
    context_.progress.finish();
    journal_.finish();
    return result_;
  }

 private:
  void run_batch(const std::vector<NameOfMaster>& names) {
    std::vector<MasterRelease> batch;
    uint32_t number = 0;
    for (const auto& name : names) {
      if (batch.empty() || batch.back().master != name.master) batch.emplace_back().master = name.master;
      batch.back().names.push_back(name);
      batch.back().staged.push_back(fmt::format("{:08x}", number++));
    }
    each(batch, [&](MasterRelease& one) { make_copies(one); });
    if (auto synced = input_.store.sync(); !synced) throw Error(synced.error().message);
    JournalBatch intent;
    intent.number = ++batch_number_;
    intent.kind = StepKind::release;
    std::vector<int> fds;
    for (const auto& one : batch) announce(one, intent, fds);
    ok_or_throw(journal_.intend(intent));
    ok_or_throw(keeper_.hand_over(fds));
    each(batch, [&](MasterRelease& one) { swap(one); });
    std::vector<MasterRecord> retired;
    for (const auto& one : batch) {
      if (one.verdict >= UnsealedWindow::Verdict::tainted) {
        input_.masters.retire(one.master);
        retired.push_back(input_.masters[one.master]);
      }
      result_.released += one.released;
      result_.bytes_copied += one.bytes;
      for (size_t i = 0; i < kReasons; ++i) result_.skipped[i] += one.skipped[i];
    }
    for (const auto& record : exchanger_.strays().retire_changed(input_.masters)) retired.push_back(record);
    input_.index.put_masters(input_.store.id(), retired);
    context_.progress.add(names.size());
    stop_if_left_for_recovery(batch, exchanger_.strays(), input_.store);
    // Recovery gives the others their names of the copy, or none of them (recovery.h), when the system lets
    // it.
    if (std::any_of(batch.begin(), batch.end(), [](const MasterRelease& one) { return one.torn; }))
      throw Error(
          "stopped, since of the hard links of one file some could be released and others not (see above); "
          "vunify recover makes them one file again");
    ok_or_throw(keeper_.forget());
    ok_or_throw(journal_.done(batch_number_));
  }

  template <class Do>
  void each(std::vector<MasterRelease>& batch, Do what) {
    tbb::parallel_for(size_t{0}, batch.size(), [&](size_t i) { what(batch[i]); });
  }

  // The names [begin, end), of which the first stands for all in messages.
  void fail(MasterRelease& one, size_t begin, size_t count, const Problem& problem) {
    const Reason reason = reason_of_errno(problem.code);
    one.skipped[static_cast<size_t>(reason)] += count;
    context_.log.remember_first(reason_name(reason),
                                fmt::format("{}{}{}", escaped(shown(one.names[begin])),
                                            problem.message.empty() ? "" : ": ", problem.message));
    if (reason == Reason::io_error && !problem.message.empty()) context_.log.object_failed(problem.message);
  }
  std::string shown(const NameOfMaster& name) const {
    return input_.guests[name.guest].root.host_path(name.path);
  }

  // Names of one link group get names of one copy, as it was before; each other name gets a copy of its own.
  void make_copies(MasterRelease& one) {
    one.copies.resize(one.names.size());
    one.stuck.resize(one.names.size());
    one.files.resize(one.names.size());
    auto master = open_master(input_.store, input_.guard, input_.masters[one.master]);
    if (!master) return fail(one, 0, one.names.size(), master.error());
    one.open = std::move(*master);
    one.ready = true;
    for (size_t begin = 0; begin < one.names.size();) {
      const size_t end = end_of_group(one, begin);
      if (auto copied = make_copy(one, begin, end); !copied) fail(one, begin, end - begin, copied.error());
      begin = end;
    }
  }

  Result make_copy(MasterRelease& one, size_t begin, size_t end) {
    auto writer = private_copy(input_.store, one.open);
    if (!writer) return writer.error();
    const auto stat = stat_fd(writer->get(), input_.store.path() + "/staging");
    if (!stat) return stat.error();
    // Kept open for reading only: what a guest got must not look as if somebody wrote to it, and leases can
    // be taken.
    auto copy = reopen_for_reading(writer->get(), input_.store.path() + "/staging");
    if (!copy) return copy.error();
    const auto file = std::make_shared<UniqueFd>(std::move(*copy));
    std::fill(one.files.begin() + static_cast<long>(begin), one.files.begin() + static_cast<long>(end), file);
    std::fill(one.copies.begin() + static_cast<long>(begin), one.copies.begin() + static_cast<long>(end),
              stat->ino);
    return Ok{};
  }

  void announce(const MasterRelease& one, JournalBatch& intent, std::vector<int>& fds) const {
    if (!one.ready) return;
    intent.masters.push_back(one.open.record.name);
    fds.push_back(one.open.fd.get());
    for (size_t i = 0; i < one.names.size(); ++i)
      if (one.copies[i] != 0)
        intent.steps.push_back({one.staged[i], input_.guests[one.names[i].guest].name, one.names[i].path,
                                one.copies[i], one.open.record.ino});
  }

  void swap(MasterRelease& one) {
    if (!one.ready) return;
    UnsealedWindow window(input_.guard, shared_file(one.open), nullptr, counts_, &context_.log);
    const auto opened = window.open();
    for (size_t begin = 0; begin < one.names.size();) {
      const size_t end = end_of_group(one, begin);
      if (one.copies[begin] != 0) {
        uint64_t released = 0;
        const Result swapped = opened ? swap_group(one, begin, end, released) : opened;
        if (released != 0) one.bytes += one.open.record.size;
        one.released += released;
        if (!swapped) fail(one, begin, end - begin - released, swapped.error());
      }
      for (; begin < end; ++begin) remove_staged(one, begin);
    }
    one.verdict = window.close();
  }

  // The master's name, or the copy that was not used.
  void remove_staged(MasterRelease& one, size_t i) {
    const Result removed = one.stuck[i] ? Ok{} : exchanger_.remove(one.staged[i], shown(one.names[i]));
    if (!removed) context_.log.object_failed(removed.error().message);
    one.left_in_staging = one.left_in_staging || one.stuck[i] || !removed;
  }

  struct Place {
    UniqueFd dir;
    GuestName name;
  };

  // All names or none. What can be refused (a directory that is gone, a name that is not the master's, no
  // room for a link) is tried for all of them before the first is exchanged; what is refused after that is
  // taken back.
  Result swap_group(MasterRelease& one, size_t begin, size_t end, uint64_t& released) {
    std::vector<Place> places;
    for (size_t i = begin; i < end; ++i) {
      auto place = locate(one, i);
      if (!place) return place.error();
      places.push_back(std::move(*place));
    }
    for (size_t i = begin; i < end; ++i)
      if (::linkat(one.files[i]->get(), "", input_.store.staging_fd(), one.staged[i].c_str(),
                   AT_EMPTY_PATH) != 0)
        return problem_from_errno("stage a copy for", places[i - begin].name.shown);
    // One that is written to before the others are exchanged must be noticed: it cannot be taken back any
    // more.
    Lease lease;
    if (end - begin > 1) {
      auto taken = Lease::take(one.files[begin]->get(), places[0].name.shown);
      if (!taken) return taken.error();
      lease = std::move(*taken);
    }
    for (size_t i = begin; i < end; ++i) {
      const auto exchanged =
          exchanger_.exchange(one.staged[i], places[i - begin].name, one.copies[i], one.open.record.ino);
      if (exchanged && *exchanged == Exchange::done) continue;
      one.stuck[i] = exchanged && *exchanged == Exchange::stuck;
      released = take_back(one, lease, places, begin, i);
      return exchanged ? Result(Problem{ESTALE, ""}) : Result(exchanged.error());
    }
    released = end - begin;
    return Ok{};
  }

  // Looked at before, so that what is surely not the master is not even touched.
  Expected<Place> locate(const MasterRelease& one, size_t i) {
    const RootDir& root = input_.guests[one.names[i].guest].root;
    const auto [parent, name] = split_path(one.names[i].path);
    auto dir = root.open_dir(parent);
    if (!dir) return dir.error();
    Place place{std::move(*dir), {}};
    place.name = {place.dir.get(), std::string(name), shown(one.names[i])};
    const auto now = stat_at(place.name.dir, place.name.name.c_str(), place.name.shown);
    if (!now) return now.error();
    if (now->ino != one.open.record.ino) return Problem{ESTALE, ""};
    return place;
  }

  // The names [begin, end) of one link group become the master's again, because a later one could not be
  // exchanged. Returns how many of them stay released: all, when the guest has begun to use its copy, for
  // what it wrote must not be lost.
  uint64_t take_back(MasterRelease& one, const Lease& lease, const std::vector<Place>& places, size_t begin,
                     size_t end) {
    if (begin == end) return 0;
    if (!lease.unbroken() || !still_the_masters_class(one, begin)) {
      context_.log.object_failed(
          fmt::format("{} was changed as soon as it was released and stays so, but a hard link of it could "
                      "not be released (see below)",
                      escaped(places[0].name.shown)));
      return end - begin;
    }
    std::vector<size_t> taken;
    uint64_t stay = 0;
    for (size_t i = begin; i < end; ++i) {
      const GuestName& name = places[i - begin].name;
      const auto now = stat_at(name.dir, name.name.c_str(), name.shown);
      if (!now || now->ino != one.copies[i]) continue;  // the guest removed or replaced it
      const auto back = exchanger_.put_back(one.staged[i], name, one.copies[i]);
      if (back == Exchange::put_back) {
        taken.push_back(i);
        continue;
      }
      one.stuck[i] = back == Exchange::stuck;
      const auto then = stat_at(name.dir, name.name.c_str(), name.shown);
      one.torn = one.torn || (then && then->ino == one.copies[i]);  // else the guest removed it meanwhile
      ++stay;
    }
    if (lease.unbroken()) return stay;
    // Somebody had found the copy before it was taken back and waits to write to it.
    for (const size_t i : taken) {
      const auto again =
          exchanger_.exchange(one.staged[i], places[i - begin].name, one.copies[i], one.open.record.ino);
      one.stuck[i] = again && *again == Exchange::stuck;
      stay += again && *again == Exchange::done;
    }
    return stay;
  }

  bool still_the_masters_class(const MasterRelease& one, size_t i) const {
    const auto stat = stat_fd(one.files[i]->get(), one.open.shown);
    const auto xattrs = xattr_hash_of(one.files[i]->get(), one.open.shown);
    return stat && xattrs && class_of(*stat, *xattrs) == one.open.record.file_class;
  }

  const ReleaseInput& input_;
  RunContext& context_;
  Journal journal_;
  SealKeeper keeper_;
  WindowCounts counts_;
  Exchanger exchanger_;
  uint32_t batch_number_ = 0;
  ReleaseResult result_;
};

// True for a path that leads to nothing or through something that is no directory any more; false also when
// that cannot be told.
bool surely_gone(const RootDir& root, std::string_view path) {
  const auto [parent, name] = split_path(path);
  const auto dir = root.open_dir(parent);
  const int code = dir ? 0 : dir.error().code;
  if (!dir) return code == ENOENT || code == ENOTDIR || code == ELOOP;
  const auto stat = stat_at(dir->get(), std::string(name).c_str(), root.host_path(path));
  return stat || stat.error().code ==
                     ENOENT;  // one that can be looked at is another file: the walk would have found it
}

// Notes which names were hard links of one another. One that the walk could not look at (a read error, a
// mount above it) may still be a name of the master: it comes along, so that its group is refused as a whole
// if it cannot be released with the others.
void add_link_groups(std::span<const Guest> guests,
                     const std::map<std::pair<std::string, std::string>, uint64_t>& groups,
                     std::vector<NameOfMaster>& names) {
  std::map<std::pair<uint32_t, uint64_t>, std::set<uint32_t>> masters;  // of (guest, link group)
  std::set<std::pair<uint32_t, std::string>> found;
  for (auto& name : names) {
    const auto it = groups.find({guests[name.guest].name, name.path});
    if (it == groups.end()) continue;
    name.link_group = it->second;
    masters[{name.guest, name.link_group}].insert(name.master);
    found.emplace(name.guest, name.path);
  }
  for (uint32_t guest = 0; guest < guests.size(); ++guest)
    for (auto it = groups.lower_bound({guests[guest].name, ""});
         it != groups.end() && it->first.first == guests[guest].name; ++it) {
      const auto of = masters.find({guest, it->second});
      const std::string& path = it->first.second;
      if (of == masters.end() || found.contains({guest, path}) || surely_gone(guests[guest].root, path))
        continue;
      for (const uint32_t master : of->second) names.push_back({guest, master, path, it->second, false});
    }
}

}  // namespace

std::vector<NameOfMaster> find_names_of_masters(std::span<const Guest> guests, const MasterTable& masters,
                                                const std::string& state_dir, RunContext& context) {
  std::vector<NameOfMaster> names;
  if (masters.empty()) return names;
  MasterNameVisitor visitor(masters);
  FileTable table;
  context.progress.start("scan", "entries", 0);
  scan_trees(guests, visitor, table, context);
  context.progress.finish();
  for (const auto& row : table.rows())
    if (masters[row.tag].ino == row.ino)
      names.push_back({.guest = table.guest(row), .master = row.tag, .path = table.path(row)});
  add_link_groups(guests, known_link_groups(state_dir), names);
  std::sort(names.begin(), names.end(), [](const NameOfMaster& a, const NameOfMaster& b) {
    return std::tie(a.master, a.guest, a.link_group, a.path) <
           std::tie(b.master, b.guest, b.link_group, b.path);
  });
  return names;
}

std::vector<NameOfMaster> select_names(std::vector<NameOfMaster> names,
                                       const std::function<bool(const NameOfMaster&)>& wanted) {
  std::set<std::tuple<uint32_t, uint32_t, uint64_t>> groups;
  std::vector<bool> chosen;
  for (const auto& name : names) {
    chosen.push_back(wanted(name));
    if (chosen.back() && name.link_group != 0) groups.emplace(name.master, name.guest, name.link_group);
  }
  std::vector<NameOfMaster> selected;
  for (size_t i = 0; i < names.size(); ++i)
    if (chosen[i] ||
        (names[i].link_group != 0 && groups.contains({names[i].master, names[i].guest, names[i].link_group})))
      selected.push_back(std::move(names[i]));
  return selected;
}

ReleaseResult release_names(const ReleaseInput& input, std::vector<NameOfMaster> names, RunContext& context) {
  return Releaser(input, context).run(std::move(names));
}

std::vector<uint32_t> spoiled_masters(const Store& store, const MasterTable& masters) {
  std::vector<uint32_t> spoiled;
  for (uint32_t i = 0; i < masters.size(); ++i) {
    const MasterRecord& record = masters[i];
    if (!record.retired) continue;
    const auto fd = store.open_master(record.name);
    if (!fd) continue;
    const auto stat = stat_fd(fd->get(), store.shown_master(record.name));
    const auto xattrs = xattr_hash_of(fd->get(), store.shown_master(record.name));
    if (stat && xattrs && stat->nlink > 1 && class_of(*stat, *xattrs) != record.file_class)
      spoiled.push_back(i);
  }
  return spoiled;
}

namespace {

// A master without names in guests. A guest whose name of it is gone may still have it open, and others
// mapped: so it is removed in a window like any other, and sealed also when its last name is gone.
Result remove_unused(const GcInput& input, const MasterRecord& record, Log& log) {
  const auto master = open_recorded(input.store, record);
  if (!master) return master.error();
  // With the class it has, not the recorded one: it may have been retired because a guest changed that.
  auto file = shared_as_it_is(master->fd.get(), master->shown);
  if (!file) return file.error();
  WindowCounts counts;
  // No keeper: the journal of this run stays until all is done, and recovery seals every master.
  UnsealedWindow window(input.guard, std::move(*file), nullptr, counts, &log);
  if (auto opened = window.open(); !opened) return opened;
  return input.store.remove_master(record.name);
}

// What the master takes on disk if no guest has a name of it.
std::optional<uint64_t> bytes_if_unused(const Store& store, const MasterRecord& record) {
  const auto stat = store.stat_master(record.name);
  if (!stat || stat->nlink != 1) return std::nullopt;
  return stat->blocks * 512;
}

}  // namespace

GcResult find_garbage(const Store& store, const MasterTable& masters, RunContext& context) {
  GcResult result;
  for (const auto& record : masters.records()) {
    if (context.cancel.stop()) break;
    const auto bytes = bytes_if_unused(store, record);
    if (!bytes) continue;
    ++result.removed;
    result.bytes_freed += *bytes;
  }
  return result;
}

GcResult collect_garbage(const GcInput& input, RunContext& context) {
  GcResult result;
  std::vector<uint64_t> gone;
  Journal journal(input.state_dir + "/journal", input.run);
  for (const auto& record : input.masters.records()) {
    if (context.cancel.stop()) break;
    const auto bytes = bytes_if_unused(input.store, record);
    if (!bytes) continue;
    if (auto removed = remove_unused(input, record, context.log); !removed) {
      context.log.object_failed(removed.error().message);
      ++result.failed;
      continue;
    }
    gone.push_back(record.ino);
    ++result.removed;
    result.bytes_freed += *bytes;
  }
  input.index.erase_masters(input.store.id(), gone);
  journal.finish();
  return result;
}

}  // namespace vs::unify
