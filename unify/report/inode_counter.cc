#include "unify/report/inode_counter.h"

#include <sys/stat.h>

namespace vs::unify {
namespace {

uint64_t content_of(const FileStat& stat) {
  return S_ISREG(stat.mode) || S_ISLNK(stat.mode) ? stat.size : 0;
}

uint32_t holders_of(const FileStat& stat) {
  if (S_ISDIR(stat.mode)) return 1;  // nlink of a directory counts its subdirectories
  const bool sealed = (stat.attributes & STATX_ATTR_IMMUTABLE) != 0;
  return sealed && stat.nlink > 1 ? stat.nlink - 1 : stat.nlink;
}

void add_inode(Usage& usage, const FileStat& stat, uint64_t blocks) {
  usage.inodes += 1;
  usage.inodes_shared += 1;
  usage.apparent += content_of(stat);
  usage.on_disk += blocks * 512;
  usage.shared += blocks * 512;
}

void make_exclusive(Usage& usage, uint64_t blocks) {
  usage.inodes_shared -= 1;
  usage.inodes_exclusive += 1;
  usage.shared -= blocks * 512;
  usage.exclusive += blocks * 512;
}

void make_shared(Usage& usage, uint64_t blocks) {
  usage.inodes_shared += 1;
  usage.inodes_exclusive -= 1;
  usage.shared += blocks * 512;
  usage.exclusive -= blocks * 512;
}

}  // namespace

bool InodeCounter::add(uint32_t tree, const FileStat& stat) {
  result_.trees[tree].usage.names += 1;
  result_.total.names += 1;
  if (stat.nlink <= 1 && !S_ISDIR(stat.mode)) return add_only_name(tree, stat);
  Seen& seen = seen_[inode_key(stat)];
  const bool first = seen.names == 0;
  if (first) {
    seen.blocks = stat.blocks;
    seen.holders = holders_of(stat);
    add_inode(result_.total, stat, seen.blocks);
  }
  if (seen.tree != tree) enter_tree(seen, tree, stat);
  add_name(seen, tree);
  return first;
}

// The common case needs no record: no other name can turn up.
bool InodeCounter::add_only_name(uint32_t tree, const FileStat& stat) {
  for (Usage* usage : {&result_.trees[tree].usage, &result_.total}) {
    add_inode(*usage, stat, stat.blocks);
    make_exclusive(*usage, stat.blocks);
  }
  return true;
}

void InodeCounter::enter_tree(Seen& seen, uint32_t tree, const FileStat& stat) {
  add_inode(result_.trees[tree].usage, stat, seen.blocks);
  if (seen.exclusive_in != kNone) make_shared(result_.trees[seen.exclusive_in].usage, seen.blocks);
  seen.exclusive_in = kNone;
  seen.tree = tree;
  seen.names_here = 0;
}

void InodeCounter::add_name(Seen& seen, uint32_t tree) {
  ++seen.names;
  ++seen.names_here;
  if (seen.names != seen.holders) return;
  make_exclusive(result_.total, seen.blocks);
  if (seen.names_here != seen.names) return;
  make_exclusive(result_.trees[tree].usage, seen.blocks);
  seen.exclusive_in = tree;
}

}  // namespace vs::unify
