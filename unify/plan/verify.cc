#include "unify/plan/verify.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <ctime>
#include <optional>
#include <variant>

#include "core/escape.h"
#include "core/full_io.h"

namespace vs::unify {
namespace {

// Most package files fit in one block, so they take one read; larger ones keep in step by blocks that stay in
// the cache of a core.
constexpr size_t kBlock = 256 * 1024;
// Files of one group open at a time. A larger group is read in parts, whose contents are then joined by hash:
// the bytes are compared once more with the master before anything is replaced.
constexpr size_t kOpenAtOnce = 400;
constexpr CandidateNumber kNoDuplicate{0xffffffff};

struct Member {
  CandidateNumber duplicate = kNoDuplicate;
  std::optional<MasterNumber> master;  // then no duplicate
  uint64_t xattrs = 0;
  UniqueFd fd;
};

// Members that agree so far; the block just read of the first one is the sample the others are compared with.
struct Content {
  std::vector<Member> members;
  std::string sample;
  FastHasher fast;
  std::vector<std::pair<DigestAlgorithm, Digester>>
      digests;  // one an algorithm that a member's database uses
  bool hashed;  // from the first block on; false: split off later
  Content(const std::vector<DigestAlgorithm>& algorithms, bool from_start) : hashed(from_start) {
    start(algorithms);
  }
  void start(const std::vector<DigestAlgorithm>& algorithms) {
    fast = FastHasher();
    digests.clear();
    for (const auto algorithm : algorithms) digests.emplace_back(algorithm, Digester(algorithm));
  }
  void update(std::string_view bytes) {
    fast.update(bytes);
    for (auto& [_, digester] : digests) digester.update(bytes);
  }
};
using Algorithms = std::vector<DigestAlgorithm>;

Reason reason_of(const Problem& problem) {
  switch (problem.code) {
    case ESTALE:
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
    case EINVAL:
    case EXDEV:
      return Reason::changed_meanwhile;
    case EAGAIN:
      return Reason::busy;  // somebody's write lease on it
    default:
      return Reason::unreadable;
  }
}

}  // namespace

struct GroupVerifier::Impl {
  explicit Impl(const VerifyInput& i) : input(i) {}
  const VerifyInput input;
  std::string block = std::string(kBlock, '\0');
  uint64_t bytes_read = 0;

  const FileRow& row(CandidateNumber duplicate) const { return row_of_duplicate(input, duplicate); }

  struct Refusal {
    Reason reason;
    std::string why = {};  // what the system answered
  };
  std::string shown(CandidateNumber duplicate) const {
    return input.guests[input.table.guest(row(duplicate))].root.host_path(input.table.path(row(duplicate)));
  }
  void refuse(GroupVerdict& verdict, CandidateNumber duplicate, const Refusal& refusal) const {
    verdict.refused.emplace_back(duplicate, refusal.reason);
    const bool first = std::none_of(verdict.troubles.begin(), verdict.troubles.end(),
                                    [&](const auto& one) { return one.first == refusal.reason; });
    if (is_trouble(refusal.reason) && first)
      verdict.troubles.emplace_back(refusal.reason,
                                    refusal.why.empty() ? escaped(shown(duplicate)) : refusal.why);
  }

  // Opens and looks again: identity as scanned, no file capability.
  std::variant<Member, Refusal> open_member(CandidateNumber duplicate) const {
    const FileRow& expected = row(duplicate);
    FileStat stat;
    auto fd = input.guests[input.table.guest(expected)].root.open_regular(input.table.path(expected), &stat);
    if (!fd) return Refusal{reason_of(fd.error()), fd.error().message};
    if (!same_identity(expected, stat)) return Refusal{Reason::changed_meanwhile};
    const auto xattrs = read_xattrs(fd->get(), shown(duplicate));
    if (!xattrs) return Refusal{Reason::unreadable, xattrs.error().message};
    if (has_file_capability(*xattrs)) return Refusal{Reason::capability};
    if (input.budget != nullptr && !input.budget->take(input.table.guest(expected), expected.size))
      return Refusal{Reason::read_budget, escaped(shown(duplicate))};
    return Member{duplicate, std::nullopt, input.rules.bytes_only ? 0 : xattr_hash(*xattrs), std::move(*fd)};
  }

  std::vector<Member> open_part(const CandidateGroup& group, CandidateNumber begin, CandidateNumber end,
                                GroupVerdict& verdict) const {
    std::vector<Member> members;
    for (const MasterNumber master : group.masters) {
      if (input.store == nullptr || members.size() == kOpenAtOnce)
        break;  // --mtime=ignore in scope all: any number; who misses its own gets another
      if (auto fd = input.store->open_master(input.masters[master].name))
        members.push_back({kNoDuplicate, master, input.masters[master].file_class.xattrs, std::move(*fd)});
    }
    for (CandidateNumber duplicate = begin; duplicate < end; ++duplicate) {
      auto member = open_member(duplicate);
      if (auto* refusal = std::get_if<Refusal>(&member))
        refuse(verdict, duplicate, *refusal);
      else
        members.push_back(std::move(std::get<Member>(member)));
    }
    return members;
  }

  // Puts a member whose block is in `block` with those it agrees with: its old content, or one split off in
  // this step.
  void place(Member member, size_t length, size_t old, size_t first_new, bool from_start,
             const Algorithms& algorithms, std::vector<Content>& contents) {
    const auto agrees = [&](const Content& content) {
      return content.sample.size() == length && content.members[0].xattrs == member.xattrs &&
             std::memcmp(content.sample.data(), block.data(), length) == 0;
    };
    if (contents[old].members.empty()) contents[old].sample.assign(block, 0, length);
    if (contents[old].members.empty() || agrees(contents[old]))
      return contents[old].members.push_back(std::move(member));
    for (size_t i = first_new; i < contents.size(); ++i)
      if (agrees(contents[i])) return contents[i].members.push_back(std::move(member));
    Content fresh(algorithms, from_start);
    fresh.sample.assign(block, 0, length);
    fresh.members.push_back(std::move(member));
    contents.push_back(std::move(fresh));
  }

  // One block of every member.
  void step(std::vector<Content>& contents, uint64_t offset, size_t length, const Algorithms& algorithms,
            GroupVerdict& verdict) {
    const size_t before = contents.size();
    for (size_t i = 0; i < before; ++i) {
      for (auto& member : std::exchange(contents[i].members, {})) {
        const ssize_t got = pread_full(member.fd.get(), block.data(), length, offset);
        if (got == static_cast<ssize_t>(length)) {
          bytes_read += length;
          place(std::move(member), length, i, before, offset == 0, algorithms, contents);
        } else if (!member.master) {
          refuse(verdict, member.duplicate,
                 got < 0 ? Refusal{Reason::unreadable,
                                   problem_from_errno("read", shown(member.duplicate)).message}
                         : Refusal{Reason::changed_meanwhile});
        }
      }
    }
  }

  // Contents that nothing else agrees with are of no use: they leave before more of them is read.
  void drop_lonely(std::vector<Content>& contents, GroupVerdict& verdict) {
    std::erase_if(contents, [&](const Content& content) {
      if (content.members.size() == 1 && !content.members[0].master)
        verdict.refused.emplace_back(content.members[0].duplicate, Reason::no_partner);
      return content.members.size() < 2;
    });
  }

  bool stopped() const { return input.cancel != nullptr && input.cancel->stop(); }

  void refuse_rest(const std::vector<Content>& contents, GroupVerdict& verdict) const {
    for (const auto& content : contents)
      for (const auto& member : content.members)
        if (!member.master) verdict.refused.emplace_back(member.duplicate, Reason::out_of_time);
  }

  void hash_again(Content& content, uint64_t size, const Algorithms& algorithms) {
    content.start(algorithms);
    for (uint64_t offset = 0; offset < size && !stopped(); offset += kBlock) {
      const ssize_t got = pread_full(content.members[0].fd.get(), block.data(), kBlock, offset);
      if (got <= 0) return;  // the digest will not match, or apply will find the difference
      content.update({block.data(), static_cast<size_t>(got)});
    }
  }

  VerifiedContent verified(Content& content, uint64_t size, const Algorithms& algorithms) {
    if (!content.hashed) hash_again(content, size, algorithms);
    VerifiedContent result;
    result.content = content.fast.finish();
    result.xattrs = content.members[0].xattrs;
    std::vector<std::pair<DigestAlgorithm, std::string>> digests;
    for (auto& [algorithm, digester] : content.digests) digests.emplace_back(algorithm, digester.finish());
    const auto pristine = [&](CandidateNumber duplicate) {
      const auto recorded = recorded_digest(input, duplicate);
      if (recorded.first == DigestAlgorithm::none) return true;
      return std::any_of(digests.begin(), digests.end(), [&](const auto& one) {
        return one.first == recorded.first && one.second == recorded.second;
      });
    };
    for (const auto& member : content.members) {
      if (member.master)
        result.master = result.master ? result.master : member.master;
      else if (pristine(member.duplicate))
        result.duplicates.push_back(member.duplicate);
      else
        result.changed.push_back(member.duplicate);
    }
    return result;
  }

  std::vector<VerifiedContent> read_part(std::vector<Member> members, uint64_t size, bool whole_group,
                                         const Algorithms& algorithms, GroupVerdict& verdict) {
    std::vector<Content> contents;
    contents.emplace_back(algorithms, true);
    contents[0].members = std::move(members);
    for (uint64_t offset = 0; offset < size && !stopped(); offset += kBlock) {
      if (whole_group) drop_lonely(contents, verdict);
      step(contents, offset, static_cast<size_t>(std::min<uint64_t>(kBlock, size - offset)), algorithms,
           verdict);
      std::erase_if(contents, [](const Content& content) { return content.members.empty(); });
      for (auto& content : contents)
        if (content.hashed) content.update(content.sample);
    }
    // What is known wholly of one that is alone is remembered, where being alone is common.
    if (whole_group && !(input.rules.bytes_only && size <= kBlock)) drop_lonely(contents, verdict);
    std::vector<VerifiedContent> results;
    for (auto& content : contents) results.push_back(verified(content, size, algorithms));
    // Whoever was stopped has read a part only, and knows nothing.
    if (!stopped()) return results;
    refuse_rest(contents, verdict);
    return {};
  }

  Algorithms algorithms_of(const CandidateGroup& group) const {
    Algorithms algorithms;
    for (CandidateNumber v = group.begin; v < group.end; ++v) {
      const auto algorithm = recorded_digest(input, v).first;
      if (algorithm != DigestAlgorithm::none &&
          std::find(algorithms.begin(), algorithms.end(), algorithm) == algorithms.end())
        algorithms.push_back(algorithm);
      if (!group.mixed) break;
    }
    return algorithms;
  }
};

const FileRow& row_of_duplicate(const VerifyInput& input, CandidateNumber duplicate) {
  return input.table.rows()[input.candidates.names[input.candidates.duplicates[duplicate].begin]];
}

std::pair<DigestAlgorithm, std::string_view> recorded_digest(const VerifyInput& input,
                                                             CandidateNumber duplicate) {
  const FileRow& row = row_of_duplicate(input, duplicate);
  // In scope all, equal files are shared whatever a package database says of them.
  if (row.tag == kNoPackage || input.rules.scope == Scope::all) return {DigestAlgorithm::none, {}};
  const PackageIndex& packages = input.packages[input.table.guest(row)];
  const PackageFile& file = packages.files()[row.tag];
  if (file.algorithm == DigestAlgorithm::none) return {DigestAlgorithm::none, {}};
  return {file.algorithm, packages.digest(file)};
}

ReadBudget::ReadBudget(size_t guests, uint64_t each) : left_(guests) {
  for (auto& left : left_) left = each;
}

bool ReadBudget::take(GuestNumber guest, uint64_t bytes) {
  std::atomic<uint64_t>& left = left_[guest.value];
  uint64_t now = left;
  while (now >= bytes)
    if (left.compare_exchange_weak(now, now - bytes)) return true;
  return false;
}

GroupVerifier::GroupVerifier(const VerifyInput& input) : impl_(std::make_unique<Impl>(input)) {}
GroupVerifier::GroupVerifier(GroupVerifier&&) noexcept = default;
GroupVerifier::~GroupVerifier() = default;
uint64_t GroupVerifier::bytes_read() const {
  return impl_->bytes_read;
}

GroupVerdict GroupVerifier::verify(const CandidateGroup& group) {
  GroupVerdict verdict;
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  verdict.read_at_ns = now.tv_sec * 1'000'000'000 + now.tv_nsec;
  const uint64_t size = impl_->row(group.begin).size;
  const auto algorithms = impl_->algorithms_of(group);
  const bool one_part = group.end - group.begin <= kOpenAtOnce;
  for (CandidateNumber begin = group.begin, end; begin < group.end; begin = end) {
    end = std::min(group.end, begin + kOpenAtOnce);
    for (auto& part : impl_->read_part(impl_->open_part(group, begin, end, verdict), size, one_part,
                                       algorithms, verdict)) {
      const auto same =
          std::find_if(verdict.contents.begin(), verdict.contents.end(), [&](const VerifiedContent& one) {
            return one.content == part.content && one.xattrs == part.xattrs;
          });
      if (same == verdict.contents.end()) {
        verdict.contents.push_back(std::move(part));
      } else {
        same->duplicates.insert(same->duplicates.end(), part.duplicates.begin(), part.duplicates.end());
        same->changed.insert(same->changed.end(), part.changed.begin(), part.changed.end());
        if (part.master) same->master = part.master;
      }
    }
  }
  return verdict;
}

namespace {

// What the index knows of every member, for its very key; nothing if it does not know them all, or masters
// have to be compared.
bool from_index(const VerifyInput& input, const Index& index, const CandidateGroup& group,
                GroupVerdict& verdict) {
  if (!group.masters.empty() || group.mixed) return false;
  for (CandidateNumber v = group.begin; v < group.end; ++v) {
    const FileRow& row = row_of_duplicate(input, v);
    const auto known = index.known(input.devices[input.table.guest(row)], row);
    if (!known || known->recorded != group.key) return verdict.contents.clear(), false;
    auto same =
        std::find_if(verdict.contents.begin(), verdict.contents.end(), [&](const VerifiedContent& one) {
          return one.content == known->content && one.xattrs == known->xattrs;
        });
    if (same == verdict.contents.end()) {
      verdict.contents.emplace_back();
      same = verdict.contents.end() - 1;
      same->content = known->content;
      same->xattrs = known->xattrs;
    }
    (known->pristine ? same->duplicates : same->changed).push_back(v);
  }
  verdict.from_index = true;
  return true;
}

}  // namespace

std::vector<GroupVerdict> verify_candidates(const VerifyInput& input, const Index& index,
                                            RunContext& context) {
  const auto& groups = input.candidates.groups;
  std::vector<GroupVerdict> verdicts(groups.size());
  ReadBudget budget(input.guests.size(), input.rules.max_read);
  VerifyInput limited = input;
  limited.budget = &budget;
  tbb::enumerable_thread_specific<GroupVerifier> verifiers([&] { return GroupVerifier(limited); });
  context.progress.start("verify", "groups", groups.size());
  tbb::parallel_for(size_t{0}, groups.size(), [&](size_t g) {
    if (context.cancel.stop()) {
      for (CandidateNumber v = groups[g].begin; v < groups[g].end; ++v)
        verdicts[g].refused.emplace_back(v, Reason::out_of_time);
    } else if (!from_index(input, index, groups[g], verdicts[g])) {
      verdicts[g] = verifiers.local().verify(groups[g]);
    }
    for (const auto& [reason, example] : verdicts[g].troubles)
      context.log.remember_first(reason_name(reason), example);
    context.progress.add();
  });
  context.progress.finish();
  return verdicts;
}

}  // namespace vs::unify
