#include "core/durable/lmdb_pages.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cstddef>
#include <cstring>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "core/full_io.h"

namespace vs {
namespace {

// --- The format: mdb.c of LMDB 0.9 ------------------------------------------------------------------------

using PageNumber = size_t;

constexpr uint32_t kMagic = 0xBEEFC0DE, kVersion = 1;
constexpr uint16_t kBranch = 1, kLeaf = 2, kOverflow = 4, kMeta = 8;  // kinds of a page
constexpr uint16_t kBigData = 1, kSubData = 2;                        // flags of a node
// Of a table. That of free pages has more in its flags: how the file was opened when it was made.
constexpr uint16_t kIntegerKey = 8, kTableKinds = 0x7e;
constexpr PageNumber kNoRoot = ~PageNumber{0}, kMetaPages = 2;
constexpr size_t kMostDepth = 32, kLongestKey = 511;
// LMDB maps as much as the file claims to have. Address spaces end at 2^47.
constexpr uint64_t kMostBytes = uint64_t{1} << 46;

struct PageHeader {
  PageNumber number;
  uint16_t pad, flags;
  union {
    struct {
      uint16_t lower, upper;  // ends of the list of nodes, and of what is free behind it
    };
    uint32_t pages;  // of an overflow page
  };
};
struct Table {
  uint32_t pad;  // of the table of free pages: the size of a page
  uint16_t flags, depth;
  PageNumber branch_pages, leaf_pages, overflow_pages;
  size_t entries;
  PageNumber root;
};
struct Meta {
  uint32_t magic, version;
  void* address;
  size_t map_size;
  Table free_pages, main;
  PageNumber last_page;
  size_t transaction;
};
struct Node {
  uint16_t low, high, flags, key_size;
};

template <class T>
T take(const std::string& bytes, size_t at) {
  T value;
  std::memcpy(&value, bytes.data() + at, sizeof value);
  return value;
}

size_t even(size_t size) {
  return size + (size & 1);
}
uint32_t data_size(const Node& node) {
  return std::endian::native == std::endian::little ? node.low | static_cast<uint32_t>(node.high) << 16
                                                    : node.high | static_cast<uint32_t>(node.low) << 16;
}
PageNumber child_of(const Node& node) {
  const PageNumber number = data_size(node);
  return sizeof number > 4 ? number | static_cast<uint64_t>(node.flags) << 32 : number;
}

// ----------------------------------------------------------------------------------------------------------

Problem damaged(const std::string& what) {
  return {EBADMSG, what};
}

// As much as the file has of it.
Expected<std::string> read_at(int fd, uint64_t at, size_t size) {
  std::string bytes(size, '\0');
  const ssize_t got = pread_full(fd, bytes.data(), size, at);
  if (got < 0) return problem_from_errno("read", "its pages");
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

Expected<Meta> meta_at(int fd, uint64_t at) {
  const auto bytes = read_at(fd, at, sizeof(PageHeader) + sizeof(Meta));
  if (!bytes) return bytes.error();
  if (bytes->size() < sizeof(PageHeader) + sizeof(Meta)) return damaged("it is cut off");
  const auto meta = take<Meta>(*bytes, sizeof(PageHeader));
  if ((take<PageHeader>(*bytes, 0).flags & kMeta) == 0 || meta.magic != kMagic || meta.version != kVersion)
    return damaged("it is no LMDB file");
  const uint32_t page = meta.free_pages.pad;
  if (page < 512 || page > 65'536 || !std::has_single_bit(page)) return damaged("its pages have no size");
  if (meta.last_page >= kMostBytes / page) return damaged("it is longer than a file can be");
  return meta;
}

struct ToVisit {
  PageNumber page;
  size_t depth;  // 1: a leaf
  bool free_pages;
};

class PageCheck {
 public:
  PageCheck(int fd, const Meta& meta, uint64_t file_size)
      : fd_(fd),
        meta_(meta),
        page_size_(meta.free_pages.pad),
        pages_(std::min<uint64_t>(file_size / page_size_, meta.last_page + 1)),
        used_(pages_) {}

  Result all() {
    if ((meta_.free_pages.flags & kTableKinds) != kIntegerKey)
      return damaged("its table of free pages is none");
    if (auto done = table(meta_.free_pages, true); !done) return done;
    if (auto done = table(meta_.main, false); !done) return done;
    while (!to_visit_.empty()) {
      const ToVisit next = to_visit_.back();
      to_visit_.pop_back();
      if (auto done = page(next); !done) return done;
    }
    for (const PageNumber number : free_)
      if (number < pages_ && used_[number]) return broken("is used and free", number);
    return Ok{};
  }

 private:
  static Problem broken(const char* what, PageNumber number) {
    return damaged(fmt::format("page {} {}", number, what));
  }

  // False: it is not in the file, or is reached a second time.
  bool use(PageNumber number, size_t count = 1) {
    if (number < kMetaPages || number >= pages_ || count > pages_ - number) return false;
    for (size_t i = 0; i < count; ++i) {
      if (used_[number + i]) return false;
      used_[number + i] = true;
    }
    return true;
  }

  Result table(const Table& table, bool free_pages) {
    if (!free_pages && (table.flags & kTableKinds) != 0) return damaged("it has a table of another kind");
    if (table.root == kNoRoot) return Ok{};
    if (table.depth < 1 || table.depth > kMostDepth) return broken("is the root of no tree", table.root);
    to_visit_.push_back({table.root, table.depth, free_pages});
    return Ok{};
  }

  Result page(const ToVisit& visit) {
    if (!use(visit.page)) return broken("is not in the file, or reached twice", visit.page);
    const auto bytes = read_at(fd_, visit.page * page_size_, page_size_);
    if (!bytes) return bytes.error();
    const auto header = take<PageHeader>(*bytes, 0);
    const bool leaf = visit.depth == 1;
    if (header.number != visit.page || header.flags != (leaf ? kLeaf : kBranch) ||
        header.lower < sizeof(PageHeader) + (leaf ? 1 : 2) * sizeof(uint16_t) || header.lower % 2 != 0 ||
        header.lower > header.upper || header.upper > page_size_)
      return broken("is not what it should be", visit.page);
    size_t taken = 0;
    for (size_t at = sizeof(PageHeader); at < header.lower; at += sizeof(uint16_t)) {
      const size_t begin = take<uint16_t>(*bytes, at);
      if (begin < header.upper || begin + sizeof(Node) > page_size_)
        return broken("has an entry outside of it", visit.page);
      const auto size = leaf ? leaf_node(*bytes, begin, visit) : branch_node(*bytes, begin, visit);
      if (!size) return size.error();
      taken += even(*size);
    }
    if (taken > page_size_ - header.upper) return broken("has entries that overlap", visit.page);
    return Ok{};
  }

  Expected<size_t> branch_node(const std::string& bytes, size_t begin, const ToVisit& visit) {
    const auto node = take<Node>(bytes, begin);
    const size_t size = sizeof(Node) + node.key_size;
    if (node.key_size > kLongestKey || begin + size > page_size_)
      return broken("has a key that is too long", visit.page);
    // In a whole tree there are never more to visit than there are pages.
    if (to_visit_.size() > pages_) return broken("has too many below it", visit.page);
    to_visit_.push_back({child_of(node), visit.depth - 1, visit.free_pages});
    return size;
  }

  Expected<size_t> leaf_node(const std::string& bytes, size_t begin, const ToVisit& visit) {
    const auto node = take<Node>(bytes, begin);
    const bool big = node.flags == kBigData;
    const size_t value = begin + sizeof(Node) + node.key_size;
    const size_t size = sizeof(Node) + node.key_size + (big ? sizeof(PageNumber) : data_size(node));
    if (node.key_size == 0 || node.key_size > kLongestKey || (node.flags & ~(kBigData | kSubData)) != 0 ||
        node.flags == (kBigData | kSubData) || begin + size > page_size_)
      return broken("has an entry that is too long", visit.page);
    std::string overflow;
    if (big)
      if (auto done = big_value(take<PageNumber>(bytes, value), data_size(node),
                                visit.free_pages ? &overflow : nullptr);
          !done)
        return done.error();
    if (visit.free_pages) {
      if (node.flags == kSubData || node.key_size != sizeof(size_t))
        return broken("is no list of free pages", visit.page);
      if (auto done = free_list(big ? overflow : bytes.substr(value, data_size(node)), visit.page); !done)
        return done.error();
    } else if (node.flags == kSubData) {
      if (data_size(node) != sizeof(Table)) return broken("has a table of another size", visit.page);
      if (auto done = table(take<Table>(bytes, value), false); !done) return done.error();
    }
    return size;
  }

  // A value with pages of its own; its bytes into `into`, where they are wanted.
  Result big_value(PageNumber number, size_t size, std::string* into) {
    if (number >= pages_) return broken("is not in the file", number);
    const auto head = read_at(fd_, number * page_size_, sizeof(PageHeader));
    if (!head) return head.error();
    const auto header = take<PageHeader>(*head, 0);
    if (header.number != number || header.flags != kOverflow ||
        size + sizeof(PageHeader) > header.pages * page_size_ || !use(number, header.pages))
      return broken("is no value of its size", number);
    if (into == nullptr) return Ok{};
    auto bytes = read_at(fd_, number * page_size_ + sizeof(PageHeader), size);
    if (!bytes) return bytes.error();
    *into = std::move(*bytes);
    return Ok{};
  }

  // How many, and their numbers, the largest first.
  Result free_list(const std::string& bytes, PageNumber number) {
    const size_t count = bytes.size() >= sizeof(size_t) ? take<size_t>(bytes, 0) : 0;
    if (bytes.size() % sizeof(PageNumber) != 0 || bytes.size() / sizeof(PageNumber) != count + 1)
      return broken("has a list of free pages of another length", number);
    PageNumber above = meta_.last_page + 1;
    for (size_t i = 1; i <= count; ++i) {
      const auto one = take<PageNumber>(bytes, i * sizeof(PageNumber));
      if (one < kMetaPages || one >= above) return broken("has a list of free pages that are none", number);
      free_.push_back(above = one);
    }
    return Ok{};
  }

  const int fd_;
  const Meta& meta_;
  const size_t page_size_;
  const PageNumber pages_;  // in the file; the last ones of a table that were never written may be missing
  std::vector<bool> used_;
  std::vector<PageNumber> free_;
  std::vector<ToVisit> to_visit_;
};

}  // namespace

Result check_lmdb_head(int fd) {
  struct ::stat stat;
  if (::fstat(fd, &stat) != 0) return problem_from_errno("stat", "it");
  if (stat.st_size == 0) return Ok{};
  const auto first = meta_at(fd, 0);
  if (!first) return first.error();
  const uint64_t page = first->free_pages.pad;
  if (static_cast<uint64_t>(stat.st_size) < kMetaPages * page) return damaged("it is cut off");
  const auto second = meta_at(fd, page);
  if (!second) return second.error();
  if (second->free_pages.pad != page) return damaged("its pages have no size");
  return Ok{};
}

Result check_lmdb_pages(int fd, uint64_t transaction) {
  std::optional<Meta> found;
  for (uint64_t at = 0, number = 0; number < kMetaPages; ++number) {
    const auto meta = meta_at(fd, at);
    if (!meta) return meta.error();
    at = meta->free_pages.pad;
    if (meta->transaction == transaction) found = *meta;
  }
  if (!found) return Problem{ESTALE, "it was written to"};
  struct ::stat stat;
  if (::fstat(fd, &stat) != 0) return problem_from_errno("stat", "it");
  // In the order of the file, while the pages are gone through in the order of the tree.
  ::posix_fadvise(fd, 0, 0, POSIX_FADV_WILLNEED);
  return PageCheck(fd, *found, static_cast<uint64_t>(stat.st_size)).all();
}

}  // namespace vs
