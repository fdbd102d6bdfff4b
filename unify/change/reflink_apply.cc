#include <tbb/parallel_for.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <ctime>
#include <mutex>
#include <utility>
#include <vector>

#include "core/escape.h"
#include "core/store/reflinker.h"
#include "unify/change/apply.h"

namespace vs::unify {
namespace {

int64_t now_ns() {
  timespec t{};
  ::clock_gettime(CLOCK_REALTIME, &t);
  return t.tv_sec * 1'000'000'000 + t.tv_nsec;
}

struct Shared {
  std::vector<Index::Learned> learned;
  std::vector<std::pair<DuplicateNumber, Reason>> refused;
  uint64_t files = 0, bytes = 0, in_extents = 0;  // bytes: freed on disk
};

// Of its first name.
const FileRow& first_row(const PlannedFiles& files, DuplicateNumber v) {
  return files.table.rows()[files.plan.names[files.plan.duplicates[v].begin]];
}

class Reflinker {
 public:
  Reflinker(const ApplyInput& input, Log& log) : input_(input), log_(log) {}

  // The stage body: one group. The first duplicate is the donor; whoever cannot be opened any more is passed
  // over. One that no donor so far can share with (one of them is NOCOW, say) is the donor of the others of
  // its kind: what one guest did to its file keeps nobody else from sharing.
  Shared share(const PlanGroup& group) const {
    Shared result;
    std::vector<Donor> donors;
    const uint64_t id = group.shared_with != 0 ? group.shared_with : group.keys[0].low | 1;
    for (DuplicateNumber v = group.begin; v < group.end; ++v) {
      auto fd = open(v);
      if (!fd)
        refuse(v, reason_of_errno(fd.error().code), fd.error().message, result);
      else if (std::none_of(donors.begin(), donors.end(),
                            [&](Donor& donor) { return share_one(group, donor, fd->get(), v, result); }))
        add_donor(donors, std::move(*fd), v, id, result);
    }
    for (const Donor& donor : donors) {
      const bool shared_before = donor.duplicate == group.begin && group.shared_with != 0;
      if (donor.used && !shared_before)
        learn(group, donor.duplicate, donor.id, result);
      else if (!donor.used && !shared_before && donors.size() > 1)
        refuse(donor.duplicate, Reason::unshareable_extents, "", result);
    }
    return result;
  }

 private:
  const FileRow& row(DuplicateNumber v) const { return first_row(input_.files, v); }

  std::string shown(DuplicateNumber v) const {
    return escaped(input_.files.guests[input_.files.table.guest(row(v))].root.host_path(
        input_.files.table.path(row(v))));
  }
  void refuse(DuplicateNumber v, Reason reason, const std::string& message, Shared& result) const {
    result.refused.emplace_back(v, reason);
    if (is_trouble(reason))
      log_.remember_first(reason_name(reason), shown(v) + (message.empty() ? "" : ": " + message));
  }

  Expected<UniqueFd> open(DuplicateNumber v) const {
    FileStat stat;
    auto fd = input_.files.guests[input_.files.table.guest(row(v))].root.open_regular(
        input_.files.table.path(row(v)), &stat);
    if (fd && !same_identity(row(v), stat)) return Problem{ESTALE, ""};
    return fd;
  }

  struct Donor {
    UniqueFd fd;
    DuplicateNumber duplicate;
    uint64_t id = 0;  // of who shares with it
    bool used = false;
  };
  // How many kinds of files that cannot share with one another are looked for in a group.
  static constexpr size_t kDonors = 4;

  void add_donor(std::vector<Donor>& donors, UniqueFd fd, DuplicateNumber v, uint64_t id,
                 Shared& result) const {
    if (donors.size() < kDonors)
      donors.push_back({std::move(fd), v, id + 2 * donors.size()});
    else
      refuse(v, Reason::unshareable_extents, "", result);
  }

  // False: these two cannot share. True: they do, or why not was said.
  bool share_one(const PlanGroup& group, Donor& donor, int target, DuplicateNumber v, Shared& result) const {
    const auto before = exclusive_bytes(target);
    const auto shared = share_extents(donor.fd.get(), target, 0, group.size, input_.files.cancel);
    if (!shared && (shared.error().code == EINVAL || shared.error().code == EOPNOTSUPP)) return false;
    if (!shared) {
      const Reason reason = reason_of_errno(shared.error().code);
      if (reason == Reason::io_error) log_.object_failed(shared.error().message + " (" + shown(v) + ")");
      refuse(v, reason, shared.error().message, result);
    } else if (*shared < group.size) {
      refuse(v, Reason::changed_meanwhile, "", result);
    } else {
      donor.used = true;
      result.files += input_.files.plan.duplicates[v].end - input_.files.plan.duplicates[v].begin;
      // Clones and snapshots shared all of it before.
      result.bytes += before ? *before : *shared;
      result.in_extents += group.size;
      learn(group, v, donor.id, result);
    }
    return true;
  }

  // Sharing leaves times as they are, so the scanned identity stays the key.
  void learn(const PlanGroup& group, DuplicateNumber v, uint64_t id, Shared& result) const {
    if (row(v).ctime_ns >= now_ns() - kRacyNs) return;
    result.learned.push_back({input_.devices[input_.files.table.guest(row(v))],
                              row(v),
                              {group.content, group.xattrs, true, group.keys[0], id}});
  }

  const ApplyInput& input_;
  Log& log_;
};

}  // namespace

ApplyResult apply_reflinks(const ApplyInput& input, RunContext& context) {
  ApplyResult result;
  result.skipped.resize(input.files.guests.size());
  const Reflinker reflinker(input, context.log);
  RunHistory history(input.state_dir, input.run);
  std::mutex mutex;
  std::vector<Index::Learned> learned;
  const auto& plan = input.files.plan;
  context.progress.start("share", "files", plan.file_count());
  tbb::parallel_for(size_t{0}, plan.groups.size(), [&](size_t g) {
    const PlanGroup& group = plan.groups[GroupNumber(g)];
    Shared shared;
    if (context.cancel.stop()) {
      for (DuplicateNumber v = group.begin; v < group.end; ++v)
        shared.refused.emplace_back(v, Reason::out_of_time);
    } else {
      shared = reflinker.share(group);
    }
    const std::lock_guard guard(mutex);
    result.files_linked += shared.files;
    result.bytes_saved += shared.bytes;
    result.bytes_in_extents += shared.in_extents;
    for (const auto& [v, reason] : shared.refused) {
      const GuestNumber guest = input.files.table.guest(first_row(input.files, v));
      result.skipped[guest][static_cast<size_t>(reason)] += plan.duplicates[v].end - plan.duplicates[v].begin;
    }
    learned.insert(learned.end(), shared.learned.begin(), shared.learned.end());
    context.progress.add(group.end - group.begin);
  });
  context.progress.finish();
  input.index.learn(learned);
  return result;
}

uint64_t bytes_not_shared(const PlannedFiles& files) {
  std::atomic<uint64_t> sum{0};
  tbb::parallel_for(size_t{0}, files.plan.groups.size(), [&](size_t g) {
    const PlanGroup& group = files.plan.groups[GroupNumber(g)];
    for (DuplicateNumber v = group.begin + 1; v < group.end && !files.cancel->stop(); ++v) {
      const FileRow& row = first_row(files, v);
      const auto fd = files.guests[files.table.guest(row)].root.open_regular(files.table.path(row), nullptr);
      const auto bytes = fd ? exclusive_bytes(fd->get()) : Expected<uint64_t>(0);
      if (bytes) sum += *bytes;
    }
  });
  return sum;
}

}  // namespace vs::unify
