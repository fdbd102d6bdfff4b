#include "unify/candidates.h"

#include <algorithm>

#include "core/record_log.h"

namespace vs::unify {
namespace {

void put_class(std::string& out, const FileRow& row, const Rules& rules) {
  put_u64(out, row.size);
  put_u32(out, row.uid);
  put_u32(out, row.gid);
  put_u32(out, row.mode);
  put_u64(out, rules.ignore_mtime ? 0 : static_cast<uint64_t>(row.mtime_ns));
}

void refuse(GuestFiles& files, uint32_t row, Reason reason) {
  ++files.counts[files.table.guest(files.table.rows()[row])].skipped[static_cast<size_t>(reason)];
}

struct Keyed {
  Key128 key;
  uint32_t victim;
};

// Rows of one inode become one victim. All of its names must be among the rows, with one key, or it is left alone.
void gather_linked(std::vector<std::pair<uint32_t, Key128>>& linked, GuestFiles& files, CandidateSet& set, std::vector<Keyed>& keyed) {
  const auto& rows = files.table.rows();
  const auto inode = [&](const std::pair<uint32_t, Key128>& one) {
    return std::make_pair(files.devices[files.table.guest(rows[one.first])], rows[one.first].ino);
  };
  std::stable_sort(linked.begin(), linked.end(), [&](const auto& a, const auto& b) { return inode(a) < inode(b); });
  for (size_t i = 0; i < linked.size();) {
    size_t end = i + 1;
    while (end < linked.size() && inode(linked[end]) == inode(linked[i])) ++end;
    const bool all_here = end - i == rows[linked[i].first].nlink;
    const bool one_key = std::all_of(linked.begin() + static_cast<long>(i), linked.begin() + static_cast<long>(end),
                                     [&](const auto& one) { return one.second == linked[i].second; });
    if (all_here && one_key) {
      const auto begin = static_cast<uint32_t>(set.names.size());
      for (size_t j = i; j < end; ++j) set.names.push_back(linked[j].first);
      keyed.push_back({linked[i].second, static_cast<uint32_t>(set.victims.size())});
      set.victims.push_back({begin, static_cast<uint32_t>(set.names.size())});
    } else {
      for (size_t j = i; j < end; ++j) refuse(files, linked[j].first, Reason::linked_elsewhere);
    }
    i = end;
  }
}

}  // namespace

Key128 candidate_key(const FileTable& table, const FileRow& row, const PackageIndex& packages, const Rules& rules) {
  std::string bytes;
  put_class(bytes, row, rules);
  if (rules.scope == Scope::all) return xxh128(bytes);
  const PackageFile& file = packages.files()[row.note];
  put_u32(bytes, static_cast<uint32_t>(file.algorithm));
  if (file.algorithm != DigestAlgorithm::none) {
    put_string(bytes, packages.digest(file));
  } else {
    const Package& package = packages.packages()[file.package];
    put_string(bytes, package.name);
    put_string(bytes, package.version);
    put_string(bytes, package.arch);
    put_string(bytes, table.path(row));
  }
  return xxh128(bytes);
}

CandidateSet find_candidates(GuestFiles& files, const Rules& rules, const MasterTable& masters) {
  CandidateSet set;
  const auto& rows = files.table.rows();
  std::vector<Keyed> keyed;
  std::vector<std::pair<uint32_t, Key128>> linked;
  set.names.reserve(rows.size());
  set.victims.reserve(rows.size());
  keyed.reserve(rows.size());
  for (uint32_t i = 0; i < rows.size(); ++i) {
    const Key128 key = candidate_key(files.table, rows[i], files.packages[files.table.guest(rows[i])], rules);
    if (rows[i].nlink != 1) {
      linked.emplace_back(i, key);
      continue;
    }
    keyed.push_back({key, static_cast<uint32_t>(set.victims.size())});
    set.victims.push_back({static_cast<uint32_t>(set.names.size()), static_cast<uint32_t>(set.names.size() + 1)});
    set.names.push_back(i);
  }
  gather_linked(linked, files, set, keyed);
  // By key, within a key by first row: the rows are sorted, so the outcome does not depend on threads.
  const auto first_row = [&](uint32_t victim) { return set.names[set.victims[victim].begin]; };
  std::sort(keyed.begin(), keyed.end(), [&](const Keyed& a, const Keyed& b) {
    return a.key != b.key ? a.key < b.key : first_row(a.victim) < first_row(b.victim);
  });
  std::vector<Victim> sorted;
  sorted.reserve(keyed.size());
  for (size_t i = 0; i < keyed.size();) {
    size_t end = i + 1;
    while (end < keyed.size() && keyed[end].key == keyed[i].key) ++end;
    const auto master = masters.answering(keyed[i].key);
    if (end - i > 1 || master) {
      const auto begin = static_cast<uint32_t>(sorted.size());
      for (size_t j = i; j < end; ++j) sorted.push_back(set.victims[keyed[j].victim]);
      set.groups.push_back({keyed[i].key, begin, static_cast<uint32_t>(sorted.size()), master});
    } else {
      const Victim alone = set.victims[keyed[i].victim];
      for (uint32_t n = alone.begin; n < alone.end; ++n) refuse(files, set.names[n], Reason::no_partner);
    }
    i = end;
  }
  set.victims = std::move(sorted);
  std::sort(set.groups.begin(), set.groups.end(), [&](const CandidateGroup& a, const CandidateGroup& b) {
    return first_row(a.begin) < first_row(b.begin);
  });
  return set;
}

}  // namespace vs::unify
