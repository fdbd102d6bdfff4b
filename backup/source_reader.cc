#include "backup/source_reader.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "backup/archive/archive_set.h"
#include "core/escape.h"
#include "core/full_io.h"

namespace vs::backup {
namespace {

constexpr int kTries = 3;
// Bytes that are read and hashed at once; between them a request to stop is heard.
constexpr uint64_t kDigestBlock = 1u << 20;

ReadResult failed(const Problem& problem) {
  return {is_gone(problem) ? ReadState::gone : ReadState::failed, problem};
}

bool same(const FileStat& a, const FileStat& b) {
  return a.size == b.size && a.mtime_ns == b.mtime_ns && a.ctime_ns == b.ctime_ns;
}

// Exactly `size` bytes at `at`; false if the file has fewer (the rest is zeros then).
Expected<bool> read_or_zero(int fd, char* to, uint64_t size, uint64_t at) {
  const ssize_t got = pread_full(fd, to, size, at);
  if (got < 0) return problem_from_errno("read", "");
  std::memset(to + got, 0, size - static_cast<uint64_t>(got));
  return static_cast<uint64_t>(got) == size;
}

// Whether a file of at most a piece may have some, by its number of blocks. A block of attributes is among
// them, and stands for one that a hole saves.
bool may_have_holes(int fd, const FileStat& stat, bool attributes) {
  if (stat.size == 0) return false;
  if (stat.blocks * 512 < stat.size) return true;
  return attributes && ::lseek(fd, 0, SEEK_HOLE) < static_cast<off_t>(stat.size);
}

// One read of a file of at most a piece; its attributes are known.
Expected<bool> read_small(int fd, const FileStat& stat, ReadObject& object) {
  Content& content = object.content;
  content = {};
  const bool holes = may_have_holes(fd, stat, !object.details.xattrs.empty());
  if (holes) {
    // A piece has not more ranges than any limit allows, and takes no time.
    auto ranges = data_ranges(fd, stat.size, nullptr);
    if (!ranges) return ranges.error();
    content.ranges = std::move(*ranges);
  }
  // Inline data and compression also take fewer blocks than bytes.
  content.sparse = holes && !(content.ranges.size() == 1 && content.ranges[0].first == 0 &&
                              content.ranges[0].second == stat.size);
  if (!content.sparse) content.ranges.clear();
  std::string whole(static_cast<size_t>(stat.size), '\0');
  bool full = true;
  const auto read = [&](uint64_t at, uint64_t size) -> Result {
    const auto got = read_or_zero(fd, whole.data() + at, size, at);
    if (!got) return got.error();
    full = full && *got;
    return Ok{};
  };
  if (!content.sparse) {
    if (const auto done = read(0, stat.size); !done) return done.error();
    object.details.content = sha256(whole);
    content.data = std::move(whole);
    return full;
  }
  for (const auto& [at, size] : content.ranges)
    if (const auto done = read(at, size); !done) return done.error();
  object.details.content = sha256(whole);
  for (const auto& [at, size] : content.ranges)
    content.data.append(whole, static_cast<size_t>(at), static_cast<size_t>(size));
  return full;
}

// Joined with the one before if less than `gap` lies between them.
void add_range(DataRanges& ranges, uint64_t begin, uint64_t length, uint64_t gap) {
  if (!ranges.empty() && begin - (ranges.back().first + ranges.back().second) < gap)
    ranges.back().second = begin + length - ranges.back().first;
  else
    ranges.emplace_back(begin, length);
}

// Doubles the gap that is filled.
void fill_gaps(DataRanges& ranges, uint64_t& gap, const RangeLimits& limits) {
  gap = std::min(gap < 4096 ? 4096 : gap * 2, limits.largest_gap);
  DataRanges joined;
  for (const auto& [begin, length] : ranges) add_range(joined, begin, length, gap);
  ranges = std::move(joined);
}

ReadResult read_file(const OpenedInode& opened, ReadObject& object) {
  const int fd = opened.fd.get();
  const std::string& shown = opened.shown;
  FileStat before = opened.stat;
  const uint64_t scanned_size = object.inode.size;
  for (int attempt = 0;; ++attempt) {
    // It grew beyond what is read in one piece since it was scanned: what it had then is stored.
    const bool grew = before.size > kPiece;
    if (grew) before.size = std::min(scanned_size, kPiece);
    object.details = {};
    object.doubt_ns = settle_writes(fd);
    auto xattrs = read_xattrs(fd, shown);
    if (!xattrs) return {ReadState::failed, xattrs.error()};
    object.details.xattrs = std::move(*xattrs);
    const auto full = read_small(fd, before, object);
    if (!full) return {ReadState::failed, problem_from(full.error().code, "read", shown)};
    read_flags(fd, object.details.flags, object.details.project);
    const auto after = stat_fd(fd, shown);
    if (!after) return failed(after.error());
    take_stat(object.inode, before);
    if (*full && same(before, *after)) return {};
    if (grew || attempt + 1 == kTries) {
      object.details.inconsistent = true;
      return {};
    }
    before = *after;
  }
}

ReadResult read_directory(const ScannedHost& host, const Item& item, ReadObject& object) {
  const RootDir& root = host.guests[item.guest].root;
  const std::string shown = root.host_path(item.path);
  const auto fd = root.open(item.path, O_RDONLY | O_DIRECTORY | O_NOATIME);
  if (!fd) return failed(fd.error());
  const auto stat = stat_fd(fd->get(), shown);
  if (!stat) return failed(stat.error());
  auto xattrs = read_xattrs(fd->get(), shown);
  if (!xattrs) return {ReadState::failed, xattrs.error()};
  object.details.xattrs = std::move(*xattrs);
  read_flags(fd->get(), object.details.flags, object.details.project);
  // The times stay those of the listing, with which the list of names goes.
  object.inode.mode = stat->mode;
  object.inode.uid = stat->uid;
  object.inode.gid = stat->gid;
  return {};
}

ReadResult read_special(const OpenedInode& opened, ReadObject& object) {
  const int fd = opened.fd.get();
  if (S_ISLNK(opened.stat.mode)) {
    auto target = read_target(fd, opened.shown);
    if (!target) return failed(target.error());
    object.details.target = std::move(*target);
  }
  auto xattrs = read_xattrs(fd, opened.shown);
  if (!xattrs) return {ReadState::failed, xattrs.error()};
  object.details.xattrs = std::move(*xattrs);
  take_stat(object.inode, opened.stat);
  return {};
}

// As it was held open, or by its first name.
Expected<std::shared_ptr<OpenedInode>> opened_of(const ScannedHost& host, const Item& item) {
  if (item.opened) return item.opened;
  auto opened = open_inode(host, host.inodes[item.inode], item.guest, item.path);
  if (!opened) return opened.error();
  return std::make_shared<OpenedInode>(std::move(*opened));
}

}  // namespace

Expected<DataRanges> data_ranges(int fd, uint64_t size, const Cancel* cancel, const RangeLimits& limits) {
  DataRanges ranges;
  uint64_t gap = 1;  // holes shorter than this are stored as zeros
  for (uint64_t at = 0; at < size;) {
    if (cancel != nullptr && cancel->stop()) return Problem{ECANCELED, "interrupted"};
    const off_t data = ::lseek(fd, static_cast<off_t>(at), SEEK_DATA);
    if (data < 0 && errno == ENXIO) break;  // a hole up to the end
    const off_t hole = data < 0 ? -1 : ::lseek(fd, data, SEEK_HOLE);
    if (data < 0 || hole < 0) return DataRanges{{0, size}};  // the filesystem does not tell
    const auto begin = static_cast<uint64_t>(data);
    const uint64_t end = std::min<uint64_t>(static_cast<uint64_t>(hole), size);
    if (begin >= size || end <= begin) break;
    add_range(ranges, begin, end - begin, gap);
    at = end;
    if (ranges.size() <= limits.ranges) continue;
    while (ranges.size() > limits.ranges / 2 && gap < limits.largest_gap) fill_gaps(ranges, gap, limits);
    if (ranges.size() > limits.most)
      return Problem{EFBIG, "its bytes lie in more places between holes than can be stored"};
  }
  return ranges;
}

ReadResult read_object(const ScannedHost& host, const Item& item, ReadObject& object) {
  object.inode = host.inodes[item.inode];
  object.details = {};
  if (is_dir(object.inode)) return read_directory(host, item, object);
  const auto opened = opened_of(host, item);
  if (!opened) return failed(opened.error());
  return is_file(object.inode) ? read_file(**opened, object) : read_special(**opened, object);
}

ReadResult open_large(const ScannedHost& host, const Item& item, const Cancel& cancel,
                      std::shared_ptr<LargeFile>& large) {
  large = std::make_shared<LargeFile>();
  large->opened_ns = now_ns();
  auto opened = opened_of(host, item);
  if (!opened) return failed(opened.error());
  const int fd = (*opened)->fd.get();
  const std::string& shown = (*opened)->shown;
  const auto now = stat_fd(fd, shown);  // it may be held open for a while, or be read once more
  if (!now) return failed(now.error());
  const FileStat& stat = *now;
  large->inode = host.inodes[item.inode];
  take_stat(large->inode, stat);
  large->doubt_ns = settle_writes(fd);
  auto xattrs = read_xattrs(fd, shown);
  if (!xattrs) return {ReadState::failed, xattrs.error()};
  large->details.xattrs = std::move(*xattrs);
  read_flags(fd, large->details.flags, large->details.project);
  auto found = data_ranges(fd, stat.size, &cancel);
  if (!found) return {ReadState::failed, {found.error().code, escaped(shown) + ": " + found.error().message}};
  DataRanges& ranges = *found;
  large->map.sparse = !(ranges.size() == 1 && ranges[0].first == 0 && ranges[0].second == stat.size);
  large->digest = ContentDigest(stat.size);
  for (const auto& [at, size] : ranges)
    for (uint64_t done = 0; done < size;) {
      const uint64_t begin = at + done, piece = begin / kPiece;
      const uint64_t take = std::min(size - done, (piece + 1) * kPiece - begin);
      if (large->parts.empty() || large->parts.back().piece != piece) large->parts.push_back({piece, {}});
      large->parts.back().ranges.emplace_back(begin, take);
      done += take;
    }
  if (large->parts.empty()) large->parts.push_back({0, {}});  // one hole: the header alone
  if (large->map.sparse) large->map.ranges = std::move(ranges);
  large->shown = shown;
  large->opened = std::move(*opened);
  return {};
}

void read_part(LargeFile& large, size_t number, std::string& data) {
  const LargeFile::Part& part = large.parts[number];
  const uint64_t begin = part.piece * kPiece;
  std::string whole(static_cast<size_t>(std::min(kPiece, large.inode.size - begin)), '\0');
  bool full = true;
  for (const auto& [at, size] : part.ranges) {
    const auto got = read_or_zero(large.opened->fd.get(), whole.data() + (at - begin), size, at);
    full = full && got && *got;
    if (got) continue;
    const std::lock_guard lock(large.mutex);
    if (large.problem.message.empty()) large.problem = problem_from(got.error().code, "read", large.shown);
    std::memset(whole.data() + (at - begin), 0, size);
  }
  for (const auto& [at, size] : part.ranges) {
    data.append(whole, static_cast<size_t>(at - begin), static_cast<size_t>(size));
  }
  const Sha256 digest = sha256(whole);
  const bool zeros = whole.find_first_not_of('\0') == std::string::npos;
  const std::lock_guard lock(large.mutex);
  if (!zeros) large.digest.digest_piece(part.piece, digest);
  if (!full) large.changed = true;
}

void finish_large(LargeFile& large) {
  large.details.content = large.digest.finish();
  const auto after = stat_fd(large.opened->fd.get(), "");
  large.details.inconsistent = large.changed || !after || after->size != large.inode.size ||
                               after->mtime_ns != large.inode.mtime_ns ||
                               after->ctime_ns != large.inode.ctime_ns;
  large.opened.reset();
}

Expected<Sha256> digest_of(int fd, uint64_t size, const std::string& object, const Cancel* cancel) {
  const auto ranges = data_ranges(fd, size, cancel);
  if (!ranges) return ranges.error();
  StreamDigest digest(size);
  std::string block(static_cast<size_t>(std::min(kDigestBlock, size)), '\0');
  for (const auto& [begin, length] : *ranges)
    for (uint64_t done = 0; done < length;) {
      if (cancel != nullptr && cancel->stop()) return Problem{ECANCELED, "interrupted"};
      const auto take = static_cast<size_t>(std::min<uint64_t>(block.size(), length - done));
      const auto got = read_or_zero(fd, block.data(), take, begin + done);
      if (!got || !*got) return problem_from(got ? EIO : got.error().code, "read", object);
      digest.add(begin + done, {block.data(), take});
      done += take;
    }
  // What lies behind the end looks like a hole.
  const auto stat = stat_fd(fd, object);
  if (!stat) return stat.error();
  if (stat->size < size) return problem_from(EIO, "read", object);
  return digest.finish();
}

}  // namespace vs::backup
