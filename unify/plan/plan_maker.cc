#include "unify/plan/plan_maker.h"

#include <fcntl.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/store/project.h"
#include "unify/plan/candidate_key.h"

namespace vs::unify {
namespace {

class PlanMaker {
 public:
  PlanMaker(const VerifyInput& input, const Index* index)
      : input_(input), index_(index), counted_(guests_with_project(input.guests)) {
    made_.counts.resize(input.guests.size());
    made_.plan.packages.emplace_back();
  }

  void refuse(CandidateNumber duplicate, Reason reason) {
    if (reason == Reason::no_partner &&
        is_of_several_guests(input_.candidates, input_.table, input_.candidates.duplicates[duplicate]))
      reason = Reason::shared_unsealed;
    for_names(duplicate, [&](GuestCounts& counts) { ++counts.skipped[static_cast<size_t>(reason)]; });
  }

  // Whether the duplicates keep inodes of their own.
  bool add_content(const CandidateGroup& group, const VerifiedContent& content, bool reflink,
                   int64_t read_at_ns) {
    for (const CandidateNumber v : content.changed) refuse(v, Reason::not_pristine);
    uint64_t shared_with = 0;
    const auto todo = reflink ? not_yet_shared(content, shared_with) : content.duplicates;
    const bool lonely = todo.size() == 1 && !content.master && shared_with == 0;
    const bool own_project = !reflink && !lonely && is_of_own_project(input_, counted_, content);
    if (lonely)
      refuse(todo[0], Reason::no_partner);
    else if (own_project)
      for (const CandidateNumber v : todo) refuse(v, Reason::own_project);
    else if (!todo.empty())
      add_group(group, content, shared_with, todo, read_at_ns);
    return reflink || lonely || own_project;
  }

  // The key of one duplicate: of its own in a mixed group.
  Key128 key_of(const CandidateGroup& group, CandidateNumber duplicate) const {
    if (!group.mixed) return group.key;
    const FileRow& row = row_of_duplicate(input_, duplicate);
    return candidate_key(input_.table, row, input_.packages[input_.table.guest(row)], input_.rules);
  }

  MadePlan take() { return std::move(made_); }

 private:
  template <class Do>
  void for_names(CandidateNumber duplicate, Do what) {
    const Duplicate& v = input_.candidates.duplicates[duplicate];
    for (NameNumber n = v.begin; n < v.end; ++n)
      what(made_.counts[input_.table.guest(input_.table.rows()[input_.candidates.names[n]])]);
  }

  // One that shares already comes first, as the donor; nothing is left when all share with one another.
  std::vector<CandidateNumber> not_yet_shared(const VerifiedContent& content, uint64_t& shared_with) {
    std::vector<CandidateNumber> donor, rest;
    std::set<uint64_t> groups;
    for (const CandidateNumber v : content.duplicates) {
      const FileRow& row = row_of_duplicate(input_, v);
      const auto known =
          index_ == nullptr ? std::nullopt : index_->known(input_.devices[input_.table.guest(row)], row);
      if (!known || known->shared_with == 0 || known->content != content.content) {
        rest.push_back(v);
        continue;
      }
      // Of several kinds that cannot share with one another (reflink_apply.cc) the first gives the donor.
      if (shared_with == 0) shared_with = known->shared_with;
      for_names(v, [](GuestCounts& counts) { ++counts.unified; });
      // Each group of those that share has one copy.
      if (groups.insert(known->shared_with).second == false) made_.bytes_shared_before += row.size;
      if (donor.empty()) donor.push_back(v);
    }
    if (rest.empty()) return {};
    donor.insert(donor.end(), rest.begin(), rest.end());
    return donor;
  }

  void add_group(const CandidateGroup& group, const VerifiedContent& content, uint64_t shared_with,
                 const std::vector<CandidateNumber>& duplicates, int64_t read_at_ns) {
    const FileRow& first = row_of_duplicate(input_, duplicates[0]);
    PlanGroup planned;
    for (const CandidateNumber duplicate : duplicates)
      if (const Key128 key = key_of(group, duplicate);
          std::find(planned.keys.begin(), planned.keys.end(), key) == planned.keys.end())
        planned.keys.push_back(key);
    planned.content = content.content;
    planned.read_at_ns = read_at_ns;
    planned.size = first.size;
    planned.xattrs = content.xattrs;
    planned.shared_with = shared_with;
    if (content.master) planned.master = input_.masters[*content.master].name;
    const auto [algorithm, digest] = recorded_digest(input_, duplicates[0]);
    planned.algorithm = algorithm;
    planned.digest = digest;
    planned.package = package_number(first);
    planned.begin = made_.plan.duplicates.next_number();
    for (const CandidateNumber duplicate : duplicates) {
      const Duplicate& v = input_.candidates.duplicates[duplicate];
      const NameNumber begin = made_.plan.names.next_number();
      for (NameNumber n = v.begin; n < v.end; ++n) made_.plan.names.push_back(input_.candidates.names[n]);
      made_.plan.duplicates.push_back({begin, made_.plan.names.next_number()});
    }
    planned.end = made_.plan.duplicates.next_number();
    made_.plan.groups.push_back(std::move(planned));
  }

  PlanPackageNumber package_number(const FileRow& row) {
    if (row.tag == kNoPackage) return {};
    const PackageIndex& packages = input_.packages[input_.table.guest(row)];
    const Package& package = packages.packages()[packages.files()[row.tag].package];
    const auto [it, fresh] = numbers_.emplace(package.name + "\n" + package.version + "\n" + package.arch,
                                              made_.plan.packages.next_number());
    if (fresh) made_.plan.packages.push_back({package.name, package.version, package.arch, package.source});
    return it->second;
  }

  const VerifyInput& input_;
  const Index* index_;
  const TypedBits<GuestNumber> counted_;
  MadePlan made_;
  std::map<std::string, PlanPackageNumber> numbers_;
};

// Contents on their way to the index. They go there in parts: all of them at once, and once more in the pages
// of one transaction, took more memory than the file table.
class Learner {
 public:
  explicit Learner(Index* index) : index_(index) {}

  void add(Index::Learned learned) {
    if (index_ == nullptr) return;
    // A re-read reflink group must not forget that it shares.
    const auto known = index_->known(learned.dev, learned.row);
    if (known && known->shared_with != 0 && known->content == learned.content.content) {
      if (known->recorded == learned.content.recorded) return;
      learned.content.shared_with = known->shared_with;
    }
    waiting_.push_back(std::move(learned));
    if (waiting_.size() >= kAtOnce) flush();
  }

  void flush() {
    if (index_ != nullptr) index_->learn(waiting_);
    waiting_.clear();
  }

 private:
  static constexpr size_t kAtOnce = 16384;  // 2.5 MiB; each part costs one sync of the index
  Index* index_;
  std::vector<Index::Learned> waiting_;
};

}  // namespace

TypedBits<GuestNumber> guests_with_project(Guests guests) {
  TypedBits<GuestNumber> counted;
  for (const auto& guest : guests) {
    const auto top = guest.root.open_dir("");
    // That is a descriptor of the place only, which answers no questions.
    const UniqueFd open(top ? ::openat(top->get(), ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1);
    counted.push_back(open && inherited_project(open.get()) != 0);
  }
  return counted;
}

bool is_of_own_project(const VerifyInput& input, const TypedBits<GuestNumber>& counted,
                       const VerifiedContent& content) {
  std::optional<GuestNumber> owner;
  for (const CandidateNumber duplicate : content.duplicates) {
    const Duplicate& v = input.candidates.duplicates[duplicate];
    for (NameNumber n = v.begin; n < v.end; ++n) {
      const GuestNumber guest = input.table.guest(input.table.rows()[input.candidates.names[n]]);
      if (!counted[guest] || (owner && *owner != guest)) return false;
      owner = guest;
    }
  }
  if (!owner || !content.master || input.store == nullptr) return owner.has_value();
  const auto master = input.store->stat_master(input.masters[*content.master].name);
  return master && master->nlink == 1;  // the store's own name
}

MadePlan make_plan(const VerifyInput& input, std::vector<GroupVerdict> verdicts, bool reflink, Index* index) {
  PlanMaker maker(input, index);
  Learner learner(index);
  for (size_t g = 0; g < verdicts.size(); ++g) {
    const CandidateGroup& group = input.candidates.groups[g];
    const int64_t trusted_before = verdicts[g].read_at_ns - kRacyNs;
    for (const auto& [duplicate, reason] : verdicts[g].refused) maker.refuse(duplicate, reason);
    for (auto& content : verdicts[g].contents) {
      std::sort(content.duplicates.begin(), content.duplicates.end());
      const bool stays = maker.add_content(group, content, reflink, verdicts[g].read_at_ns);
      if (verdicts[g].from_index) continue;
      const auto learn = [&](CandidateNumber v, bool pristine) {
        const FileRow& row = row_of_duplicate(input, v);
        if (row.ctime_ns < trusted_before)
          learner.add({input.devices[input.table.guest(row)],
                       row,
                       {content.content, content.xattrs, pristine, maker.key_of(group, v), 0}});
      };
      // What gets a master's inode now need not be known: the seal is the cache. (A run that ends early
      // remembers the rest, apply.cc.)
      if (stays)
        for (const CandidateNumber v : content.duplicates) learn(v, true);
      for (const CandidateNumber v : content.changed) learn(v, false);
    }
    verdicts[g] = {};
  }
  learner.flush();
  return maker.take();
}

}  // namespace vs::unify
