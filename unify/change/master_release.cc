#include "unify/change/master_release.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/escape.h"

namespace vs::unify {
namespace {

// Names [begin, this) are one link group; mostly one name.
size_t end_of_group(const MasterRelease& one, size_t begin) {
  size_t end = begin + 1;
  while (end < one.names.size() && were_linked(one.names[end - 1], one.names[end])) ++end;
  return end;
}

bool somebody_has_open(const OpenMaster& master) {
  auto lease = Lease::take(master.fd.get(), master.shown);
  if (!lease) return true;
  const auto alone = lease->nobody_else(master.shown);
  return !alone || !*alone;
}

}  // namespace

// `count` names from `begin` on, of which the first stands for all in messages.
void MasterReleaser::fail(MasterRelease& one, size_t begin, size_t count, const Problem& problem) const {
  const Reason reason = reason_of_errno(problem.code);
  one.skipped[static_cast<size_t>(reason)] += count;
  log_.remember_first(reason_name(reason), fmt::format("{}{}{}", escaped(shown(one.names[begin])),
                                                       problem.message.empty() ? "" : ": ", problem.message));
  if (reason == Reason::io_error && !problem.message.empty()) log_.object_failed(problem.message);
}

std::string MasterReleaser::shown(const NameOfMaster& name) const {
  return guests_[name.guest].root.host_path(name.path);
}

void MasterReleaser::make_copies(MasterRelease& one) const {
  one.copies.resize(one.names.size());
  one.stuck.resize(one.names.size());
  one.files.resize(one.names.size());
  // Whatever it is by now: its names must go. Its window puts the class back.
  auto master = open_recorded(store_, masters_[one.master]);
  const auto stat = master ? stat_fd(master->fd.get(), master->shown) : Expected<FileStat>(master.error());
  if (!stat) return fail(one, 0, one.names.size(), stat.error());
  if (stat->ino != master->record.ino)
    return fail(one, 0, one.names.size(), {ESTALE, master->shown + " is not the file the index knows"});
  one.open = std::move(*master);
  one.ready = true;
  for (size_t begin = 0; begin < one.names.size();) {
    const size_t end = end_of_group(one, begin);
    if (auto copied = make_copy(one, begin, end); !copied) fail(one, begin, end - begin, copied.error());
    begin = end;
  }
}

Expected<UniqueFd> MasterReleaser::copy_of(MasterRelease& one) const {
  const OpenMaster& master = one.open;
  auto copy = private_copy(store_, master, Copied::if_as_recorded, &cancel_);
  if (copy || copy.error().code != EUCLEAN) return copy;
  for (const auto& other : masters_.records()) {
    if (other.sha256 != master.record.sha256 || other.ino == master.record.ino) continue;
    auto fd = store_.open_master(other.name);
    if (!fd) continue;
    if (auto right = private_copy(store_, {master.record, store_.shown_master(other.name), std::move(*fd)}))
      return right;
  }
  if (!std::exchange(one.as_seen, true))
    log_.object_failed(
        fmt::format("{}{} has not the bytes that it was made with; private copies have those that their "
                    "vservers see now: install it again in them",
                    master.shown, of_package(master.record)));
  return private_copy(store_, master, Copied::as_it_is, &cancel_);
}

Result MasterReleaser::make_copy(MasterRelease& one, size_t begin, size_t end) const {
  auto writer = copy_of(one);
  if (!writer) return writer.error();
  const auto stat = stat_fd(writer->get(), store_.path() + "/staging");
  if (!stat) return stat.error();
  // Kept open for reading only: what a guest got must not look as if somebody wrote to it, and leases can
  // be taken.
  auto copy = reopen_for_reading(writer->get(), store_.path() + "/staging");
  if (!copy) return copy.error();
  const auto file = std::make_shared<UniqueFd>(std::move(*copy));
  std::fill(one.files.begin() + static_cast<long>(begin), one.files.begin() + static_cast<long>(end), file);
  std::fill(one.copies.begin() + static_cast<long>(begin), one.copies.begin() + static_cast<long>(end),
            stat->ino);
  return Ok{};
}

void MasterReleaser::announce(const MasterRelease& one, JournalBatch& intent, std::vector<int>& fds) const {
  if (!one.ready) return;
  intent.masters.push_back(one.open.record.name);
  fds.push_back(one.open.fd.get());
  for (size_t i = 0; i < one.names.size(); ++i)
    if (one.copies[i] != 0)
      intent.steps.push_back({one.staged[i], guests_[one.names[i].guest].name, one.names[i].path,
                              one.copies[i], one.open.record.ino});
}

void MasterReleaser::swap(MasterRelease& one) {
  if (!one.ready) return;
  one.in_use = somebody_has_open(one.open);
  UnsealedWindow window(guard_, shared_file(one.open), nullptr, counts_, &log_);
  bool was_open = false;
  const InWindow in_window = [&](const std::function<Result()>& step) -> Result {
    // After its first window the master may have another because it is in the way of some exchange.
    const auto alone = was_open ? strays().alone() : StrayMasters::Alone();
    if (const Result opened = was_open ? window.unseal_again() : window.open(); !opened) return opened;
    was_open = true;
    Result done = step();
    window.seal();
    return done;
  };
  for (size_t begin = 0; begin < one.names.size();) {
    const size_t end = end_of_group(one, begin);
    if (one.copies[begin] != 0) {
      uint64_t released = 0;
      const Result swapped = swap_group(one, begin, end, in_window, released);
      if (released != 0) one.bytes += one.open.record.size;
      one.released += released;
      if (!swapped) fail(one, begin, end - begin - released, swapped.error());
    }
    for (; begin < end; ++begin) remove_staged(one, begin, in_window);
  }
  one.verdict = window.close();
}

// The master's name, or the copy that was not used.
void MasterReleaser::remove_staged(MasterRelease& one, size_t i, const InWindow& in_window) {
  const Result removed =
      one.stuck[i] ? Ok{} : exchanger_.remove(one.staged[i], shown(one.names[i]), in_window);
  if (!removed) log_.object_failed(removed.error().message);
  one.left_in_staging = one.left_in_staging || one.stuck[i] || !removed;
}

// What can be refused (a directory that is gone, a name that is not the master's, no room for a link) is
// tried for all names of a link group before the first is exchanged.
Result MasterReleaser::stage_copies(MasterRelease& one, size_t begin, size_t end, std::vector<Place>& places,
                                    Lease& lease) {
  for (size_t i = begin; i < end; ++i) {
    auto place = locate(one, i);
    if (!place) return place.error();
    place->watched = directory_times_.before(place->dir.get());
    places.push_back(std::move(*place));
  }
  for (size_t i = begin; i < end; ++i)
    if (::linkat(one.files[i]->get(), "", store_.staging_fd(), one.staged[i].c_str(), AT_EMPTY_PATH) != 0)
      return problem_from_errno("stage a copy for", places[i - begin].name.shown);
  if (end - begin == 1) return Ok{};
  // One that is written to before the others are exchanged must be noticed: it cannot be taken back any
  // more.
  auto taken = Lease::take(one.files[begin]->get(), places[0].name.shown);
  if (!taken) return taken.error();
  lease = std::move(*taken);
  return Ok{};
}

// The common case: the name that the master has in staging then goes in the same window.
Expected<Exchange> MasterReleaser::exchange_one(MasterRelease& one, size_t i, const GuestName& name,
                                                const InWindow& in_window) {
  bool done = false;
  const Result tried = in_window([&]() -> Result {
    const uint64_t ino = one.open.record.ino;
    if (one.in_use) {
      if (auto replaced = exchanger_.try_replace(one.staged[i], name, one.open.fd.get(), ino); !replaced)
        return replaced;
      done = true;
    } else {
      const auto exchanged = exchanger_.try_exchange(one.staged[i], name, ino);
      if (!exchanged) return exchanged.error();
      done = *exchanged;
    }
    if (done) remove_staged(one, i, {});
    return Ok{};
  });
  if (!tried) return tried.error();
  return done ? Exchange::done : exchanger_.put_back(one.staged[i], name, one.copies[i], in_window);
}

// The guest's name becomes the copy's, and staging has the master's.
Expected<Exchange> MasterReleaser::give(MasterRelease& one, size_t i, const GuestName& name,
                                        const InWindow& in_window) {
  const uint64_t ino = one.open.record.ino;
  if (!one.in_use) return exchanger_.exchange(one.staged[i], name, one.copies[i], ino, in_window);
  const Result replaced =
      in_window([&] { return exchanger_.try_replace(one.staged[i], name, one.open.fd.get(), ino); });
  return replaced ? Expected<Exchange>(Exchange::done) : Expected<Exchange>(replaced.error());
}

void MasterReleaser::note_changed(const MasterRelease& one, const Place& place,
                                  const Expected<Exchange>& result) {
  if (result && *result == Exchange::done)
    DirectoryTimes::changed(place.watched, one.in_use ? 1 : 2);
  else if (result)
    DirectoryTimes::give_up(place.watched);
}

// All names or none: what is refused is taken back.
Result MasterReleaser::swap_group(MasterRelease& one, size_t begin, size_t end, const InWindow& in_window,
                                  uint64_t& released) {
  std::vector<Place> places;
  Lease lease;
  if (auto staged = stage_copies(one, begin, end, places, lease); !staged) return staged;
  if (end - begin == 1) {
    const auto exchanged = exchange_one(one, begin, places[0].name, in_window);
    note_changed(one, places[0], exchanged);
    if (!exchanged) return exchanged.error();
    one.stuck[begin] = *exchanged == Exchange::stuck;
    released = *exchanged == Exchange::done ? 1 : 0;
    return released == 1 ? Result(Ok{}) : Result(Problem{ESTALE, ""});
  }
  for (size_t i = begin; i < end; ++i) {
    const auto exchanged = give(one, i, places[i - begin].name, in_window);
    note_changed(one, places[i - begin], exchanged);
    if (exchanged && *exchanged == Exchange::done) continue;
    one.stuck[i] = exchanged && *exchanged == Exchange::stuck;
    released = take_back(one, lease, places, begin, i, in_window);
    return exchanged ? Result(Problem{ESTALE, ""}) : Result(exchanged.error());
  }
  released = end - begin;
  return Ok{};
}

// Looked at before, so that what is surely not the master is not even touched.
Expected<MasterReleaser::Place> MasterReleaser::locate(const MasterRelease& one, size_t i) const {
  const RootDir& root = guests_[one.names[i].guest].root;
  const auto [parent, name] = split_path(one.names[i].path);
  auto dir = root.open_dir(parent);
  if (!dir) return dir.error();
  Place place{std::move(*dir), {}, nullptr};
  place.name = {place.dir.get(), std::string(name), shown(one.names[i])};
  const auto now = stat_at(place.name.dir, place.name.name.c_str(), place.name.shown);
  if (!now) return now.error();
  if (now->ino != one.open.record.ino) return Problem{ESTALE, ""};
  return place;
}

// The names [begin, end) of one link group become the master's again, because a later one could not be
// exchanged. Returns how many of them stay released: all, when the guest has begun to use its copy, for
// what it wrote must not be lost.
uint64_t MasterReleaser::take_back(MasterRelease& one, const Lease& lease, const std::vector<Place>& places,
                                   size_t begin, size_t end, const InWindow& in_window) {
  if (begin == end) return 0;
  if (!lease.unbroken() || !still_the_masters_class(one, begin)) {
    log_.object_failed(
        fmt::format("{} was changed as soon as it was released and stays so, but a hard link of it could "
                    "not be released (see below)",
                    escaped(places[0].name.shown)));
    return end - begin;
  }
  for (size_t i = begin; i < end; ++i) DirectoryTimes::give_up(places[i - begin].watched);
  std::vector<size_t> taken;
  uint64_t stay = 0;
  for (size_t i = begin; i < end; ++i) {
    const GuestName& name = places[i - begin].name;
    const auto now = stat_at(name.dir, name.name.c_str(), name.shown);
    if (!now || now->ino != one.copies[i]) continue;  // the guest removed or replaced it
    const auto back = exchanger_.put_back(one.staged[i], name, one.copies[i], in_window);
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
    const auto again = give(one, i, places[i - begin].name, in_window);
    one.stuck[i] = again && *again == Exchange::stuck;
    stay += again && *again == Exchange::done;
  }
  return stay;
}

bool MasterReleaser::still_the_masters_class(const MasterRelease& one, size_t i) const {
  const auto stat = stat_fd(one.files[i]->get(), one.open.shown);
  if (!stat) return false;
  const MasterRecord& record = one.open.record;
  const auto right = has_class(one.files[i]->get(), *stat, record.file_class, record.xattrs, one.open.shown);
  return right && *right;
}

}  // namespace vs::unify
