#include "unify/packages/recorded_dirs.h"

#include <fcntl.h>
#include <sys/random.h>
#include <sys/stat.h>
#include <xxhash.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <string>

namespace vs::unify {
namespace {

constexpr size_t kBlock = 64 * 1024;

// "/usr//lib/./x/" -> "usr/lib/x". False for what cannot be a directory below the root.
bool normalize(std::string_view path, std::string& out) {
  out.clear();
  uint32_t depth = 0;
  for (size_t at = 0; at < path.size();) {
    const size_t slash = std::min(path.find('/', at), path.size());
    const std::string_view part = path.substr(at, slash - at);
    at = slash + 1;
    if (part.empty() || part == ".") continue;
    if (part == ".." || part.size() > RecordedDirs::kMaxName || ++depth > RecordedDirs::kMaxDepth)
      return false;
    if (!out.empty()) out += '/';
    out += part;
  }
  return out.find('\0') == std::string::npos;
}

}  // namespace

RecordedDirs::RecordedDirs() : slots_(1024) {
  if (::getrandom(&seed_, sizeof seed_, 0) != sizeof seed_) seed_ = reinterpret_cast<uintptr_t>(this);
  insert("", hash(""), kNone);
}

uint64_t RecordedDirs::hash(std::string_view path) const {
  return XXH3_64bits_withSeed(path.data(), path.size(), seed_);
}

uint32_t RecordedDirs::add(std::string_view path) {
  if (!path.empty() && path.front() == '/') path.remove_prefix(1);
  if (last_ != kNone && path == last_path_) return last_;
  uint32_t node = find(path, hash(path));  // only normalized paths are in there
  if (node == kNone) {
    std::string normalized;
    if (!normalize(path, normalized)) return kNone;
    node = add_normalized(normalized);
    if (node == kNone) return kNone;
  }
  last_ = node;
  last_path_ = nodes_[node].path;
  return node;
}

uint32_t RecordedDirs::add_normalized(std::string_view path) {
  if (const uint32_t known = find(path, hash(path)); known != kNone) return known;
  const std::string_view stored = store(path);
  // The shortest unknown prefix first; all of them share the bytes just stored.
  uint32_t parent = 0;
  for (size_t slash = 0; slash != stored.size();) {
    slash = std::min(stored.find('/', slash == 0 ? 0 : slash + 1), stored.size());
    const std::string_view prefix = stored.substr(0, slash);
    const uint64_t prefix_hash = hash(prefix);
    uint32_t node = find(prefix, prefix_hash);
    if (node == kNone) {
      if (nodes_.size() >= kMaxDirs) return kNone;
      node = insert(prefix, prefix_hash, parent);
    }
    parent = node;
  }
  return parent;
}

uint32_t RecordedDirs::find(std::string_view path, uint64_t path_hash) const {
  for (size_t slot = path_hash & (slots_.size() - 1);; slot = (slot + 1) & (slots_.size() - 1)) {
    if (slots_[slot] == 0) return kNone;
    const Node& node = nodes_[slots_[slot] - 1];
    if (node.hash == path_hash && node.path == path) return slots_[slot] - 1;
  }
}

uint32_t RecordedDirs::insert(std::string_view stored, uint64_t path_hash, uint32_t parent) {
  if (nodes_.size() * 2 >= slots_.size()) grow();
  size_t slot = path_hash & (slots_.size() - 1);
  while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
  nodes_.push_back({stored, path_hash, parent, parent == kNone ? 0 : nodes_[parent].depth + 1});
  slots_[slot] = static_cast<uint32_t>(nodes_.size());
  return slots_[slot] - 1;
}

void RecordedDirs::grow() {
  slots_.assign(slots_.size() * 2, 0);
  for (size_t i = 0; i < nodes_.size(); ++i) {
    size_t slot = nodes_[i].hash & (slots_.size() - 1);
    while (slots_[slot] != 0) slot = (slot + 1) & (slots_.size() - 1);
    slots_[slot] = static_cast<uint32_t>(i + 1);
  }
}

std::string_view RecordedDirs::store(std::string_view path) {
  if (path.size() > block_left_) {
    block_left_ = std::max(kBlock, path.size());
    blocks_.push_back(std::make_unique<char[]>(block_left_));
  }
  block_left_ -= path.size();  // a block is filled from its end: then one number says where
  char* place = blocks_.back().get() + block_left_;
  std::memcpy(place, path.data(), path.size());
  return {place, path.size()};
}

// Goes down the tree of recorded directories, once.
class DirResolver {
 public:
  DirResolver(const RecordedDirs& dirs, const RootDir& root);
  std::vector<uint64_t> run(bool& all) &&;

 private:
  void below(uint32_t node, int fd);
  uint64_t leaf(uint32_t node, int parent_fd);
  UniqueFd open(uint32_t node, int parent_fd);
  UniqueFd open_through_link(uint32_t node);
  uint64_t ino_of(const UniqueFd& fd) const;
  uint64_t accept(const FileStat& stat) const;

  const std::vector<RecordedDirs::Node>& nodes_;
  const RootDir& root_;
  std::vector<uint32_t> first_;  // children of node i: children_[first_[i] .. first_[i + 1])
  std::vector<uint32_t> children_;
  std::vector<uint64_t> inos_;
  std::string name_;
  size_t links_ = 0;
};

DirResolver::DirResolver(const RecordedDirs& dirs, const RootDir& root)
    : nodes_(dirs.nodes_),
      root_(root),
      first_(nodes_.size() + 1),
      children_(nodes_.size()),
      inos_(nodes_.size()) {
  for (size_t i = 1; i < nodes_.size(); ++i) ++first_[nodes_[i].parent + 1];
  for (size_t i = 1; i < first_.size(); ++i) first_[i] += first_[i - 1];
  std::vector<uint32_t> next(first_.begin(), first_.end() - 1);
  for (uint32_t i = 1; i < nodes_.size(); ++i) children_[next[nodes_[i].parent]++] = i;
}

std::vector<uint64_t> DirResolver::run(bool& all) && {
  inos_[0] = root_.stat().ino;
  below(0, root_.fd());
  all = links_ <= RecordedDirs::kMaxLinks;
  return std::move(inos_);
}

void DirResolver::below(uint32_t node, int fd) {
  for (uint32_t i = first_[node]; i < first_[node + 1]; ++i) {
    const uint32_t child = children_[i];
    if (first_[child] == first_[child + 1]) {
      inos_[child] = leaf(child, fd);
      continue;
    }
    const UniqueFd dir = open(child, fd);
    if (!dir) continue;  // not there: nor is anything below it
    inos_[child] = ino_of(dir);
    if (inos_[child] != 0) below(child, dir.get());
  }
}

uint64_t DirResolver::leaf(uint32_t node, int parent_fd) {
  name_ = split_path(nodes_[node].path).second;
  const auto stat = stat_at(parent_fd, name_.c_str(), name_);
  if (!stat) return 0;
  if (S_ISLNK(stat->mode)) {
    const UniqueFd dir = open_through_link(node);
    return dir ? ino_of(dir) : 0;
  }
  return accept(*stat);
}

// One name in its parent, which is the guest's: that is nearly always no symlink. What lies on another mount
// is opened, and not accepted.
UniqueFd DirResolver::open(uint32_t node, int parent_fd) {
  name_ = split_path(nodes_[node].path).second;
  UniqueFd plain(::openat(parent_fd, name_.c_str(), O_PATH | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (plain || (errno != ELOOP && errno != ENOTDIR)) return plain;
  const auto stat = stat_at(parent_fd, name_.c_str(), name_);
  return stat && S_ISLNK(stat->mode) ? open_through_link(node) : UniqueFd();
}

UniqueFd DirResolver::open_through_link(uint32_t node) {
  if (++links_ > RecordedDirs::kMaxLinks) return {};
  auto followed = root_.open_in_root(nodes_[node].path, O_PATH | O_DIRECTORY);
  return followed ? std::move(*followed) : UniqueFd();
}

uint64_t DirResolver::ino_of(const UniqueFd& fd) const {
  const auto stat = stat_fd(fd.get(), root_.path());
  return stat ? accept(*stat) : 0;
}

uint64_t DirResolver::accept(const FileStat& stat) const {
  const bool ours = stat.dev == root_.stat().dev && stat.mount_id == root_.stat().mount_id;
  return ours && S_ISDIR(stat.mode) ? stat.ino : 0;
}

std::vector<uint64_t> RecordedDirs::resolve(const RootDir& root, bool& all) const {
  return DirResolver(*this, root).run(all);
}

}  // namespace vs::unify
