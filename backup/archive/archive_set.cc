#include "backup/archive/archive_set.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <ctime>
#include <tuple>

#include "backup/archive/host_tree.h"
#include "backup/archive/readme_text.h"
#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/full_io.h"
#include "core/tree/dir_reader.h"
#include "core/tree/file_time.h"

namespace vs::backup {
namespace {

constexpr const char* kPart = ".vbackup-";
constexpr const char* kArchive = ".tar.zst";
constexpr const char* kCatalogFile = ".catalog";
constexpr const char* kProtected = ".protected";

Expected<std::string> read_at(int dir, const std::string& name, const std::string& shown, size_t limit) {
  UniqueFd fd(::openat(dir, name.c_str(), O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return problem_from_errno("open", shown);
  std::string bytes;
  std::string buffer(1 << 16, '\0');
  for (;;) {
    const ssize_t got = read_full(fd.get(), buffer.data(), buffer.size());
    if (got < 0) return problem_from_errno("read", shown);
    if (got == 0) return bytes;
    bytes.append(buffer, 0, static_cast<size_t>(got));
    if (bytes.size() >= limit) return bytes;
  }
}

std::vector<std::string> names_in(int dir, const std::string& path) {
  UniqueFd fd(::openat(dir, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd) throw Error(problem_from_errno("open directory", path).message);
  DirReader reader;
  reader.start(fd.get(), path);
  std::vector<std::string> names;
  for (DirEntry entry; reader.next(entry);) names.emplace_back(entry.name);
  if (reader.problem() != nullptr) throw Error(reader.problem()->message);
  std::sort(names.begin(), names.end());
  return names;
}

// All that tells archives apart, also those of copies of the set that went their own ways.
bool is_same(const CatalogHeader& a, const CatalogHeader& b) {
  const auto of = [](const CatalogHeader& h) {
    return std::tie(h.kind, h.guest, h.stamp, h.chain, h.number, h.previous, h.previous_digest, h.host, h.set,
                    h.names, h.bytes, h.first_pool, h.last_pool);
  };
  return of(a) == of(b);
}

bool has_archives(int dir, const std::string& path) {
  const auto names = names_in(dir, path);
  return std::any_of(names.begin(), names.end(), [](const auto& name) { return name.ends_with(kArchive); });
}

Error no_set(const std::string& why, const std::string& path) {
  return Error(
      fmt::format("{}: no archive set is there. If its disk is mounted, vbackup init --to archive:{} "
                  "makes one",
                  why, escaped(path)),
      Exit::usage);
}

}  // namespace

int64_t now_ns() {
  timespec now{};
  ::clock_gettime(CLOCK_REALTIME, &now);
  return now.tv_sec * 1'000'000'000LL + now.tv_nsec;
}

std::string stamp_of(int64_t ns) {
  const time_t seconds = timespec_of(ns).tv_sec;
  tm utc{};
  ::gmtime_r(&seconds, &utc);
  char text[32];
  ::strftime(text, sizeof text, "%Y%m%dT%H%M%SZ", &utc);
  return text;
}

std::string archive_name(const CatalogHeader& header) {
  if (header.kind == "pool") return fmt::format("pool-{}", header.number);
  return header.guest + "-" + header.kind + "-" + header.stamp;
}

Problem no_state(const std::string& path, const std::string& guest, const StampLimit& limit) {
  return {ENOENT, path + ": no backup of " + escaped(guest) + (limit ? " at or before " + *limit : "")};
}

Problem no_host_files(const std::string& tree, const std::string& stamp) {
  return {ENOENT,
          fmt::format("{}@{}: no files of the host are stored with it", escaped(guest_of_tree(tree)), stamp)};
}

void drop_unreachable(std::map<std::string, std::string>& dirs) {
  std::map<std::string, std::string> kept;
  std::vector<std::string> stack{""};
  std::vector<Entry> entries;
  while (!stack.empty()) {
    const std::string path = std::move(stack.back());
    stack.pop_back();
    const auto it = dirs.find(path);
    if (it == dirs.end() || kept.contains(path)) continue;
    if (decode_dir(it->second, entries))
      for (size_t i = 1; i < entries.size(); ++i)
        if (entries[i].type == 'd') stack.push_back(join_path(path, entries[i].name));
    kept.emplace(path, std::move(it->second));
  }
  dirs = std::move(kept);
}

bool ArchiveSet::make(const std::string& path) {
  // Guests' secrets will be in it: root's alone.
  for (size_t slash = path.find('/', 1); slash != std::string::npos; slash = path.find('/', slash + 1))
    ::mkdir(path.substr(0, slash).c_str(), 0700);
  if (::mkdir(path.c_str(), 0700) != 0 && errno != EEXIST)
    throw Error(problem_from_errno("create directory", path).message, Exit::usage);
  const UniqueFd dir(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir) throw Error(problem_from_errno("open directory", path).message, Exit::usage);
  if (read_set_identity(dir.get(), path) || has_archives(dir.get(), path)) return false;
  ok_or_throw(write_durably(path + "/README.txt", readme_text(), 0644));
  ok_or_throw(write_set_identity(path, new_set_identity()));
  return true;
}

ArchiveSet::ArchiveSet(const std::string& path) : path_(path) {
  dir_.reset(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir_) throw no_set(problem_from_errno("open archive set", path).message, path);
  auto identity = read_set_identity(dir_.get(), path);
  if (!identity && !has_archives(dir_.get(), path)) throw no_set(identity.error().message, path);
  if (identity)
    identity_ = std::move(*identity);
  else
    lost_ = identity.error();
  reload();
  if (lost_) {
    std::vector<CatalogHeader> headers;
    for (const auto& archive : archives_) headers.push_back(archive.header);
    identity_ = identity_by_archives(headers, path);
  }
}

bool ArchiveSet::write_lost_identity() {
  if (!lost_) return false;
  ok_or_throw(write_set_identity(path_, identity_));
  lost_.reset();
  return true;
}

SetNumbers ArchiveSet::next_numbers() const {
  SetNumbers next = identity_.next;
  for (const auto& archive : archives_) {
    if (archive.header.kind != "pool") continue;
    next.pool = std::max(next.pool, archive.header.number + 1);
    next.member = std::max(next.member, archive.header.last_pool + 1);
  }
  return next;
}

Result ArchiveSet::use_numbers(const SetNumbers& next) const {
  SetNumbers& kept = identity_.next;
  if (next.pool <= kept.pool && next.member <= kept.member) return Ok{};
  const SetIdentity now{identity_.id, {std::max(next.pool, kept.pool), std::max(next.member, kept.member)}};
  auto done = write_set_identity(path_, now);
  if (done) identity_ = now;
  return done;
}

size_t ArchiveSet::sweep() const {
  size_t swept = 0;
  const auto names = names_in(dir_.get(), path_);
  for (const auto& name : names) {
    const bool orphan =
        name.ends_with(kCatalogFile) &&
        !std::binary_search(names.begin(), names.end(), name.substr(0, name.size() - 8) + kArchive);
    if (!(name.starts_with(kPart) || orphan)) continue;
    if (::unlinkat(dir_.get(), name.c_str(), 0) == 0) ++swept;
  }
  return swept;
}

void ArchiveSet::reload() {
  archives_.clear();
  problems_.clear();
  if (lost_) problems_.push_back(lost_->message + "; its archives say what set it is");
  const auto names = names_in(dir_.get(), path_);
  for (const auto& name : names) {
    if (!name.ends_with(kArchive) || name.starts_with('.')) continue;
    Archive archive;
    archive.name = name.substr(0, name.size() - 8);
    struct ::stat stat;
    if (::fstatat(dir_.get(), name.c_str(), &stat, AT_SYMLINK_NOFOLLOW) != 0) continue;
    archive.size = static_cast<uint64_t>(stat.st_size);
    archive.is_protected = std::binary_search(names.begin(), names.end(), archive.name + kProtected);
    const std::string shown = path_ + "/" + archive.name + kCatalogFile;
    const auto beginning = read_at(dir_.get(), archive.name + kCatalogFile, shown, 1 << 16);
    auto header =
        beginning ? parse_catalog_header(*beginning, shown) : Expected<CatalogHeader>(beginning.error());
    if (!header) {  // the copy within
      const auto file = open(archive.name);
      const auto payload = file ? (*file)->payload() : Expected<std::string>(file.error());
      if (payload && !payload->empty()) {
        problems_.push_back(header.error().message + "; the copy inside of the archive is used");
        header = parse_catalog_header(*payload, shown);
      }
    }
    if (!header) {
      problems_.push_back(header.error().message);
      continue;
    }
    archive.header = std::move(*header);
    if (archive.header.kind != "single" && archive_name(archive.header) != archive.name) {
      problems_.push_back(shown + ": describes " + escaped(archive_name(archive.header)) + ", not " +
                          archive.name);
      continue;
    }
    archives_.push_back(std::move(archive));
  }
}

void ArchiveSet::protect(const Archive& archive, bool on) {
  const std::string name = archive.name + kProtected, shown = path_ + "/" + name;
  if (on) return ok_or_throw(write_durably(shown, "vbackup forget leaves this backup alone\n"));
  if (::unlinkat(dir_.get(), name.c_str(), 0) != 0 && errno != ENOENT)
    throw Error(problem_from_errno("remove", shown).message);
  if (::fsync(dir_.get()) != 0) throw Error(problem_from_errno("fsync", path_).message);
}

std::vector<std::string> ArchiveSet::guests() const {
  std::vector<std::string> names;
  for (const auto& archive : archives_)
    if (!archive.header.guest.empty()) names.push_back(archive.header.guest);
  std::sort(names.begin(), names.end());
  names.erase(std::unique(names.begin(), names.end()), names.end());
  return names;
}

std::vector<Archive> ArchiveSet::history(const std::string& guest) const {
  std::vector<Archive> found;
  for (const auto& archive : archives_)
    if (archive.header.guest == guest && (archive.header.kind == "full" || archive.header.kind == "inc"))
      found.push_back(archive);
  std::sort(found.begin(), found.end(),
            [](const Archive& a, const Archive& b) { return a.header.stamp < b.header.stamp; });
  return found;
}

Expected<std::vector<Archive>> ArchiveSet::chain_to(const Archive& last) const {
  const auto all = history(last.header.guest);
  std::vector<Archive> chain{last};
  while (chain.back().header.number != 0) {
    const CatalogHeader& later = chain.back().header;
    const auto before = std::find_if(all.begin(), all.end(), [&](const Archive& a) {
      return a.header.chain == later.chain && a.header.number + 1 == later.number &&
             a.header.stamp == later.previous;
    });
    if (before == all.end())
      return Problem{ENODATA,
                     fmt::format("the archive before {}, of {}, is lost", chain.back().name, later.previous)};
    chain.push_back(*before);
  }
  std::reverse(chain.begin(), chain.end());
  return chain;
}

Problem ArchiveSet::not_whole(const Archive& archive, const Problem& why) const {
  const auto all = history(archive.header.guest);
  const auto name = [](const Archive& a) {
    return fmt::format("{}@{}", escaped(a.header.guest), a.header.stamp);
  };
  std::string whole = "no backup before it is whole";
  for (auto older = all.rbegin(); older != all.rend(); ++older) {
    if (older->header.stamp >= archive.header.stamp || !chain_to(*older)) continue;
    whole = "the newest before it that is whole is " + name(*older);
    break;
  }
  return {ENODATA,
          fmt::format("{}: {} cannot be restored: {}; {}", path_, name(archive), why.message, whole)};
}

Expected<std::vector<Archive>> ArchiveSet::chain(const std::string& guest, const StampLimit& limit) const {
  const auto all = history(guest_of_tree(guest));
  const auto last = std::find_if(all.rbegin(), all.rend(), [&](const Archive& archive) {
    return !limit || archive.header.stamp <= *limit;
  });
  if (last == all.rend()) return no_state(path_, guest, limit);
  auto chain = chain_to(*last);
  if (!chain) return not_whole(*last, chain.error());
  return chain;
}

Expected<std::shared_ptr<FramedFile>> ArchiveSet::open(const std::string& name) const {
  return FramedFile::open(dir_.get(), name + kArchive, path_ + "/" + name + kArchive);
}

Expected<std::string> ArchiveSet::catalog_beside(const Archive& archive) const {
  return read_at(dir_.get(), archive.name + kCatalogFile, path_ + "/" + archive.name + kCatalogFile,
                 SIZE_MAX);
}

Expected<Catalog> ArchiveSet::catalog(const Archive& archive) const {
  const auto parse = [&](std::string_view bytes, const std::string& shown) -> Expected<Catalog> {
    auto catalog = parse_catalog(bytes, shown);
    // Where files were swapped it is whole, and another archive's: what it says is of another state.
    if (catalog && !is_same(catalog->header, archive.header))
      return Problem{ENODATA, fmt::format("{}: describes {}, not the {} that is listed", shown,
                                          escaped(archive_name(catalog->header)), archive.name)};
    return catalog;
  };
  const auto bytes = catalog_beside(archive);
  auto catalog =
      bytes ? parse(*bytes, path_ + "/" + archive.name + kCatalogFile) : Expected<Catalog>(bytes.error());
  if (catalog) return catalog;
  const auto file = open(archive.name);
  if (!file) return catalog;
  const auto payload = (*file)->payload();
  if (!payload || payload->empty()) return catalog;
  return parse(*payload, (*file)->path() + " (catalog within)");
}

Expected<GuestState> ArchiveSet::state(const std::string& guest, const StampLimit& limit) const {
  GuestState state;
  state.guest = guest;
  auto archives = chain(guest, limit);
  if (!archives) return archives.error();
  state.chain = std::move(*archives);
  state.stamp = state.chain.back().header.stamp;
  std::string wanted;  // digest of the catalog that is next, by the one after it
  for (auto it = state.chain.rbegin(); it != state.chain.rend(); ++it) {
    auto one = catalog(*it);
    if (!one) return not_whole(state.chain.back(), one.error());
    if (!wanted.empty() && wanted != hex(one->digest))
      return not_whole(state.chain.back(),
                       {ENODATA, it->name + " is not the archive that the one after it was made from"});
    wanted = one->header.previous_digest;
    if (it == state.chain.rbegin()) state.newest_digest = one->digest;
    state.dirs.merge(one->dirs[guest]);
    if (is_host_tree(guest)) break;  // each archive has all of it
  }
  if (is_host_tree(guest) && state.dirs.empty()) return no_host_files(guest, state.stamp);
  drop_unreachable(state.dirs);
  return state;
}

Expected<std::map<uint64_t, Entry>> ArchiveSet::pool() const {
  std::map<uint64_t, Entry> members;
  for (const auto& archive : archives_) {
    if (archive.header.kind != "pool") continue;
    auto one = catalog(archive);
    if (!one) {
      problems_.push_back(one.error().message);
      continue;
    }
    for (auto& [number, entry] : one->pool) entry.archive = archive.header.number;
    members.merge(one->pool);
  }
  return members;
}

}  // namespace vs::backup
