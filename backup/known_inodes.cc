#include "backup/known_inodes.h"

#include <algorithm>
#include <utility>
#include <vector>

#include "core/seeded_hash.h"

namespace vs::backup {
namespace {

bool in_sample(uint64_t ino, const std::string& stamp, uint64_t one_in) {
  return one_in != 0 && seeded_hash(stamp + std::to_string(ino)) % one_in == 0;
}

// In the order of the index: neighbours are on one page of it.
std::vector<InodeNumber> by_inode_number(const ScannedHost& host) {
  TypedVector<InodeNumber, InodeNumber> order(host.inodes.size());
  for (InodeNumber i; i < order.next_number(); ++i) order[i] = i;
  std::sort(order.begin(), order.end(),
            [&](InodeNumber a, InodeNumber b) { return host.inodes[a].ino < host.inodes[b].ino; });
  return order;
}

}  // namespace

KnownInodes find_known(const ScannedHost& host, const InodeIndex* index, const std::string& stamp,
                       uint64_t one_in) {
  KnownInodes known{DetailsTable(host.inodes.size()), 0, {}};
  if (index == nullptr) return known;
  for (const InodeNumber i : by_inode_number(host)) {
    const Inode& inode = host.inodes[i];
    auto found = index->known(host.filesystems[inode.slot], inode);
    if (!found) continue;
    ++known.count;
    if (is_file(inode) && in_sample(inode.ino, stamp, one_in)) known.sample.insert(i);
    known.details.put(i, std::move(*found));
  }
  return known;
}

}  // namespace vs::backup
