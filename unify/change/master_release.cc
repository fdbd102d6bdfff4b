#include "unify/change/master_release.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/escape.h"

namespace vs::unify {
namespace {

// Names [begin, this) are one link group; mostly one name.
size_t end_of_group(const MasterRelease& one, size_t begin) {
  size_t end = begin + 1;
  while (end < one.names.size() && were_linked(one.names[end - 1], one.names[end])) ++end;
  return end;
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
  auto master = open_master(store_, guard_, masters_[one.master]);
  if (!master) return fail(one, 0, one.names.size(), master.error());
  one.open = std::move(*master);
  one.ready = true;
  for (size_t begin = 0; begin < one.names.size();) {
    const size_t end = end_of_group(one, begin);
    if (auto copied = make_copy(one, begin, end); !copied) fail(one, begin, end - begin, copied.error());
    begin = end;
  }
}

Result MasterReleaser::make_copy(MasterRelease& one, size_t begin, size_t end) const {
  auto writer = private_copy(store_, one.open);
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
  UnsealedWindow window(guard_, shared_file(one.open), nullptr, counts_, &log_);
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
void MasterReleaser::remove_staged(MasterRelease& one, size_t i) {
  const Result removed = one.stuck[i] ? Ok{} : exchanger_.remove(one.staged[i], shown(one.names[i]));
  if (!removed) log_.object_failed(removed.error().message);
  one.left_in_staging = one.left_in_staging || one.stuck[i] || !removed;
}

// All names or none. What can be refused (a directory that is gone, a name that is not the master's, no
// room for a link) is tried for all of them before the first is exchanged; what is refused after that is
// taken back.
Result MasterReleaser::swap_group(MasterRelease& one, size_t begin, size_t end, uint64_t& released) {
  std::vector<Place> places;
  for (size_t i = begin; i < end; ++i) {
    auto place = locate(one, i);
    if (!place) return place.error();
    places.push_back(std::move(*place));
  }
  for (size_t i = begin; i < end; ++i)
    if (::linkat(one.files[i]->get(), "", store_.staging_fd(), one.staged[i].c_str(), AT_EMPTY_PATH) != 0)
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
Expected<MasterReleaser::Place> MasterReleaser::locate(const MasterRelease& one, size_t i) const {
  const RootDir& root = guests_[one.names[i].guest].root;
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
uint64_t MasterReleaser::take_back(MasterRelease& one, const Lease& lease, const std::vector<Place>& places,
                                   size_t begin, size_t end) {
  if (begin == end) return 0;
  if (!lease.unbroken() || !still_the_masters_class(one, begin)) {
    log_.object_failed(
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

bool MasterReleaser::still_the_masters_class(const MasterRelease& one, size_t i) const {
  const auto stat = stat_fd(one.files[i]->get(), one.open.shown);
  if (!stat) return false;
  const MasterRecord& record = one.open.record;
  const auto right = has_class(one.files[i]->get(), *stat, record.file_class, record.xattrs, one.open.shown);
  return right && *right;
}

}  // namespace vs::unify
