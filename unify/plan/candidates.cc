#include "unify/plan/candidates.h"

#include <algorithm>

#include "unify/plan/candidate_key.h"

namespace vs::unify {
namespace {

void refuse(const GuestFiles& files, RowNumber row, Reason reason, CandidateSet& set) {
  ++set.counts[files.table.guest(files.table.rows()[row])].skipped[static_cast<size_t>(reason)];
}

struct Keyed {
  Key128 key;
  CandidateNumber duplicate;
};

// Rows of one inode become one duplicate. All of its names must be among the rows, with one key, or it is
// left alone.
void gather_linked(std::vector<std::pair<RowNumber, Key128>>& linked, const GuestFiles& files,
                   CandidateSet& set, std::vector<Keyed>& keyed) {
  const auto& rows = files.table.rows();
  const auto inode = [&](const std::pair<RowNumber, Key128>& one) {
    return std::make_pair(files.devices[files.table.guest(rows[one.first])], rows[one.first].ino);
  };
  std::stable_sort(linked.begin(), linked.end(),
                   [&](const auto& a, const auto& b) { return inode(a) < inode(b); });
  for (size_t i = 0; i < linked.size();) {
    size_t end = i + 1;
    while (end < linked.size() && inode(linked[end]) == inode(linked[i])) ++end;
    const bool all_here = end - i == rows[linked[i].first].nlink;
    const bool one_key =
        std::all_of(linked.begin() + static_cast<long>(i), linked.begin() + static_cast<long>(end),
                    [&](const auto& one) { return one.second == linked[i].second; });
    if (all_here && one_key) {
      const NameNumber begin = set.names.next_number();
      for (size_t j = i; j < end; ++j) set.names.push_back(linked[j].first);
      keyed.push_back({linked[i].second, set.duplicates.next_number()});
      set.duplicates.push_back({begin, set.names.next_number()});
    } else {
      const bool mixed =
          std::any_of(linked.begin() + static_cast<long>(i), linked.begin() + static_cast<long>(end),
                      [&](const auto& one) {
                        return files.table.guest(rows[one.first]) != files.table.guest(rows[linked[i].first]);
                      });
      for (size_t j = i; j < end; ++j)
        refuse(files, linked[j].first, mixed ? Reason::shared_unsealed : Reason::linked_elsewhere, set);
    }
    i = end;
  }
}

DigestAlgorithm algorithm_of(const GuestFiles& files, const FileRow& row) {
  return row.tag == kNoPackage ? DigestAlgorithm::none
                               : files.packages[files.table.guest(row)].files()[row.tag].algorithm;
}

// Joins groups of one size and class whose databases record different kinds of digests.
class GroupMaker {
 public:
  GroupMaker(const GuestFiles& files, const Rules& rules, const MasterTable& masters, CandidateSet& set)
      : files_(files), rules_(rules), masters_(masters), set_(set) {}

  // `keyed` sorted by (class, key, first row).
  void make(const std::vector<Keyed>& keyed, const TypedVector<CandidateNumber, Key128>& classes) {
    for (size_t i = 0; i < keyed.size();) {
      size_t end = i + 1;
      while (end < keyed.size() && classes[keyed[end].duplicate] == classes[keyed[i].duplicate]) ++end;
      if (several_algorithms(keyed, i, end))
        mixed(keyed, i, end);
      else
        by_key(keyed, i, end);
      i = end;
    }
    set_.duplicates = std::move(sorted_);
  }

 private:
  const FileRow& row(CandidateNumber duplicate) const {
    return files_.table.rows()[set_.names[set_.duplicates[duplicate].begin]];
  }

  bool several_algorithms(const std::vector<Keyed>& keyed, size_t begin, size_t end) const {
    if (rules_.scope == Scope::all) return false;
    for (size_t i = begin + 1; i < end; ++i) {
      const auto a = algorithm_of(files_, row(keyed[i].duplicate)),
                 b = algorithm_of(files_, row(keyed[begin].duplicate));
      if (a != b && a != DigestAlgorithm::none && b != DigestAlgorithm::none) return true;
    }
    return false;
  }

  // Only files with a digest are compared with one another: one without has nothing that says what it should
  // be, so a guest that records digests of two kinds for guesses of its own must not have another guest's
  // file compared with them.
  void mixed(const std::vector<Keyed>& keyed, size_t begin, size_t end) {
    std::vector<Keyed> with, without;
    for (size_t i = begin; i < end; ++i)
      (algorithm_of(files_, row(keyed[i].duplicate)) == DigestAlgorithm::none ? without : with)
          .push_back(keyed[i]);
    add(with, 0, with.size());
    by_key(without, 0, without.size());
  }

  void by_key(const std::vector<Keyed>& keyed, size_t begin, size_t end) {
    for (size_t i = begin; i < end;) {
      size_t same = i + 1;
      while (same < end && keyed[same].key == keyed[i].key) ++same;
      add(keyed, i, same);
      i = same;
    }
  }

  void add(const std::vector<Keyed>& keyed, size_t begin, size_t end) {
    CandidateGroup group;
    group.key = keyed[begin].key;
    group.mixed = keyed[end - 1].key != keyed[begin].key;
    for (size_t i = begin; i < end; ++i)
      if (i == begin || keyed[i].key != keyed[i - 1].key)
        for (const MasterNumber master : masters_.answering(keyed[i].key))
          if (std::find(group.masters.begin(), group.masters.end(), master) == group.masters.end())
            group.masters.push_back(master);
    if (end - begin == 1 && group.masters.empty()) {
      const Duplicate alone = set_.duplicates[keyed[begin].duplicate];
      const Reason reason =
          is_of_several_guests(set_, files_.table, alone) ? Reason::shared_unsealed : Reason::no_partner;
      for (NameNumber n = alone.begin; n < alone.end; ++n) refuse(files_, set_.names[n], reason, set_);
      return;
    }
    group.begin = sorted_.next_number();
    for (size_t i = begin; i < end; ++i) sorted_.push_back(set_.duplicates[keyed[i].duplicate]);
    group.end = sorted_.next_number();
    set_.groups.push_back(std::move(group));
  }

  const GuestFiles& files_;
  const Rules& rules_;
  const MasterTable& masters_;
  CandidateSet& set_;
  TypedVector<CandidateNumber, Duplicate> sorted_;
};

}  // namespace

bool is_of_several_guests(const CandidateSet& set, const FileTable& table, const Duplicate& duplicate) {
  const auto guest = [&](NameNumber n) { return table.guest(table.rows()[set.names[n]]); };
  for (NameNumber n = duplicate.begin; n < duplicate.end; ++n)
    if (guest(n) != guest(duplicate.begin)) return true;
  return false;
}

CandidateSet find_candidates(const GuestFiles& files, const Rules& rules, const MasterTable& masters) {
  CandidateSet set;
  const auto& rows = files.table.rows();
  std::vector<Keyed> keyed;
  std::vector<std::pair<RowNumber, Key128>> linked;
  set.counts.resize(files.devices.size());
  set.names.reserve(rows.size());
  set.duplicates.reserve(rows.size());
  keyed.reserve(rows.size());
  for (RowNumber i; i < rows.next_number(); ++i) {
    const Key128 key = candidate_key(files.table, rows[i], files.packages[files.table.guest(rows[i])], rules);
    if (rows[i].nlink != 1) {
      linked.emplace_back(i, key);
      continue;
    }
    keyed.push_back({key, set.duplicates.next_number()});
    set.duplicates.push_back({set.names.next_number(), set.names.next_number() + 1});
    set.names.push_back(i);
  }
  gather_linked(linked, files, set, keyed);
  const auto first_row = [&](CandidateNumber duplicate) {
    return set.names[set.duplicates[duplicate].begin];
  };
  TypedVector<CandidateNumber, Key128> classes(set.duplicates.size());
  for (CandidateNumber v; v < set.duplicates.next_number(); ++v)
    classes[v] = class_key(rows[first_row(v)], rules);
  // The rows are sorted, so the outcome does not depend on threads.
  std::sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    if (classes[a.duplicate] != classes[b.duplicate]) return classes[a.duplicate] < classes[b.duplicate];
    return a.key != b.key ? a.key < b.key : first_row(a.duplicate) < first_row(b.duplicate);
  });
  GroupMaker(files, rules, masters, set).make(keyed, classes);
  std::sort(set.groups.begin(), set.groups.end(), [&](const CandidateGroup& a, const CandidateGroup& b) {
    return first_row(a.begin) < first_row(b.begin);
  });
  return set;
}

}  // namespace vs::unify
