#include "backup/archive/archive_target.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/utsname.h>

#include <algorithm>
#include <cerrno>

#include "backup/archive/pax_writer.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

constexpr uint64_t kNowhere = ~uint64_t{0};

size_t hash_of(const Entry& entry) {
  Entry plain = entry;
  plain.name.clear();
  plain.btime_ns = 0;
  plain.archive = 0;
  plain.offset = 0;
  plain.inconsistent = false;
  plain.linked = false;
  plain.group = 0;
  std::string bytes;
  append_entry(bytes, plain);
  return std::hash<std::string>{}(bytes);
}

std::string host_name() {
  utsname name{};
  return ::uname(&name) == 0 ? name.nodename : "";
}

const Entry* find_name(const std::vector<Entry>& entries, std::string_view name) {
  if (entries.empty()) return nullptr;
  const auto it = std::lower_bound(entries.begin() + 1, entries.end(), name,
                                   [](const Entry& e, std::string_view n) { return e.name < n; });
  return it != entries.end() && it->name == name ? &*it : nullptr;
}

}  // namespace

struct ArchiveTarget::Job {
  GuestState previous;  // empty: this is a full
  CatalogHeader header;
  std::unique_ptr<ArchiveWriter> writer;
  std::unordered_map<uint32_t, Entry> maybe;  // inode -> what it was: stored only if it differs
  std::unordered_map<uint32_t, bool>
      group_same;  // inodes with several names of this guest: the names are what they were
  uint64_t bytes = 0;
  std::vector<Entry> before;  // scratch: of the directory being planned
};

ArchiveTarget::ArchiveTarget(const std::string& dir, ArchiveOptions options)
    : shown_("archive:" + dir), options_(options) {
  set_ = std::make_unique<ArchiveSet>(dir, true);
  lock_ = std::make_unique<HostLock>(set_->lock());
  set_->sweep();
  set_->reload();
}

std::unique_ptr<ArchiveTarget> ArchiveTarget::single(const std::string& file, ArchiveOptions options) {
  std::unique_ptr<ArchiveTarget> target(new ArchiveTarget());
  target->shown_ = file;
  target->options_ = options;
  const auto [dir, name] = split_path(file);
  const std::string parent = dir.empty() ? (file.starts_with('/') ? "/" : ".") : std::string(dir);
  if (name.empty()) throw Error("--single " + escaped(file) + ": expected the name of a file", Exit::usage);
  target->single_dir_.reset(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!target->single_dir_) throw Error(problem_from_errno("open directory", parent).message, Exit::usage);
  if (::faccessat(target->single_dir_.get(), std::string(name).c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
    throw Error(escaped(file) + " exists already", Exit::usage);
  target->single_name_ = name;
  return target;
}

ArchiveTarget::~ArchiveTarget() = default;

std::string ArchiveTarget::last_stamp(const std::string& guest) const {
  std::string last;
  if (set_)
    for (const auto& archive : set_->archives())
      if (guest.empty() || archive.header.guest == guest) last = std::max(last, archive.header.stamp);
  return last;
}

CatalogHeader ArchiveTarget::header(const std::string& kind) const {
  CatalogHeader h;
  h.kind = kind;
  h.stamp = h.chain = stamp_;
  h.host = host_name();
  h.version = VS_VERSION;
  h.set = set_ ? set_->id() : "";
  h.consistency = consistency_;
  return h;
}

void ArchiveTarget::begin(const ScannedHost& host, DetailsTable& details, const std::string& stamp,
                          const std::string& consistency) {
  host_ = &host;
  details_ = &details;
  stamp_ = stamp;
  consistency_ = consistency;
  member_.assign(host.inodes.size(), 0);
  offset_.assign(host.inodes.size(), kNowhere);
  if (!set_) {
    pool_writer_ = std::make_unique<ArchiveWriter>(single_dir_.get(), ".", single_name_, stamp, false);
    pool_catalog_.header = header("single");
    pool_number_ = 0;
    return;
  }
  pool_ = value_or_throw(set_->pool());
  for (const auto& [number, entry] : pool_) members_.emplace(hash_of(entry), number);
  for (const auto& archive : set_->archives()) {
    if (archive.header.kind != "pool") continue;
    next_member_ = std::max(next_member_, archive.header.last_pool + 1);
    pool_number_ = std::max(pool_number_, archive.header.number + 1);
  }
  pool_catalog_.header = header("pool");
  pool_catalog_.header.number = pool_number_;
}

// A member that is just this and that no other inode of this run is; the one that had its inode number if
// there is a choice.
uint64_t ArchiveTarget::find_member(const Entry& entry, uint64_t ino) {
  uint64_t found = 0;
  const auto [begin, end] = members_.equal_range(hash_of(entry));
  for (auto it = begin; it != end; ++it) {
    const Entry& member = pool_.at(it->second);
    Entry plain = entry;
    plain.linked = member.linked;
    if (claimed_.contains(it->second) || !same_object(member, plain)) continue;
    if (member.group == ino) return it->second;
    if (found == 0 || it->second < found) found = it->second;
  }
  return found;
}

DirectoryWants::Want ArchiveTarget::wants_shared(uint32_t inode) {
  const std::lock_guard lock(mutex_);
  if (details_->known(inode)) {
    const Inode& row = host_->inodes[inode];
    if (const uint64_t number = find_member(entry_of(row, details_->get(inode)), row.ino); number != 0) {
      member_[inode] = number;
      claimed_[number] = true;
      return DirectoryWants::no;
    }
  }
  member_[inode] = next_member_++;
  return details_->known(inode) ? DirectoryWants::yes : DirectoryWants::if_changed;
}

ArchiveWriter& ArchiveTarget::writer_for(const Item& item) {
  if (!set_) return *pool_writer_;
  if (item.kind == Item::Kind::shared) {
    if (!pool_writer_)
      pool_writer_ = std::make_unique<ArchiveWriter>(
          set_->fd(), set_->path(), fmt::format("pool-{}.tar.zst", pool_number_), stamp_, true);
    return *pool_writer_;
  }
  return *job(item.guest)->writer;
}

std::shared_ptr<ArchiveTarget::Job> ArchiveTarget::job(uint32_t guest) const {
  const std::lock_guard lock(mutex_);
  return jobs_.at(guest);
}

bool ArchiveTarget::may_have(const Item& item, const Inode& inode) const {
  const auto alike = [&](const Entry& entry) {
    return entry.type == 'f' && entry.size == inode.size && entry.mtime_ns == inode.mtime_ns;
  };
  if (item.kind == Item::Kind::shared) {
    const std::lock_guard lock(mutex_);
    return std::any_of(pool_.begin(), pool_.end(), [&](const auto& member) { return alike(member.second); });
  }
  const auto j = job(item.guest);
  const std::lock_guard lock(mutex_);
  const auto it = j->maybe.find(item.inode);
  return it != j->maybe.end() && alike(it->second);
}

bool ArchiveTarget::has(const Item& item, const Inode& inode, const InodeDetails& details) {
  Entry entry = entry_of(inode, details);
  if (item.kind == Item::Kind::shared) {
    const std::lock_guard lock(mutex_);
    const uint64_t number = find_member(entry, inode.ino);
    if (number == 0) return false;
    member_[item.inode] = number;
    claimed_[number] = true;
    return true;
  }
  const auto j = job(item.guest);
  const std::lock_guard lock(mutex_);
  const auto it = j->maybe.find(item.inode);
  if (it == j->maybe.end()) return false;
  entry.linked = it->second.linked;
  return same_object(entry, it->second);
}

bool ArchiveTarget::append(const Item& item, const Inode& inode, const InodeDetails& details,
                           const Content& content, std::string& out) {
  TarEntry tar;
  const std::string& guest = host_->guests[item.guest].name;
  tar.path = join_path(guest, item.path);
  if (item.kind == Item::Kind::link || item.kind == Item::Kind::name) {
    tar.type = 'h';
    tar.mode = 0644;
    tar.link = item.kind == Item::Kind::link ? join_path(guest, host_->first_path(host_->inodes[item.inode]))
                                             : pool_path(member_[item.inode]);
    append_header(out, tar);
    return true;
  }
  // A file that is read in parts has its header before its digest is known: it was asked for before.
  if (!item.large && has(item, inode, details)) return false;
  const Entry entry = entry_of(inode, details);
  if (item.kind == Item::Kind::shared) tar.path = pool_path(member_[item.inode]);
  if (entry.type == 's') return true;  // tar has no sockets; the catalog has
  tar.type = entry.type;
  tar.link = entry.target;
  tar.mode = entry.mode;
  tar.uid = entry.uid;
  tar.gid = entry.gid;
  tar.size = entry.size;
  tar.mtime_ns = entry.mtime_ns;
  tar.rdev = entry.rdev;
  tar.xattrs = entry.xattrs;
  tar.dumpdir = item.list;
  tar.ranges = content.ranges;
  tar.sparse = content.sparse;
  append_header(out, tar);
  if (item.large) return true;  // parts follow
  out += content.data;
  append_padding(out, content.data.size());
  return true;
}

void ArchiveTarget::take(const std::vector<Item>& items, Encoded&& encoded) {
  if (encoded.placed.empty() && items.empty()) return;
  ArchiveWriter& writer = writer_for(items.front());
  const uint64_t before = writer.stored();
  const uint64_t base = writer.add(encoded.frame, encoded.size);
  counts_.bytes_packed += writer.stored() - before;
  counts_.bytes_stored += encoded.size;
  for (const auto& placed : encoded.placed) {
    const Item& item = items[placed.item];
    ++counts_.objects_stored;
    if (item.kind == Item::Kind::shared || item.kind == Item::Kind::object)
      offset_[item.inode] = base + placed.offset;
  }
  for (const auto& item : items) {
    // A large file has its details when its last part is taken; all others when they are placed.
    const bool whole = !item.large || item.part + 1 == item.large->parts.size();
    if (item.kind != Item::Kind::shared || !whole || offset_[item.inode] == kNowhere) continue;
    const Inode& row = host_->inodes[item.inode];
    Entry entry = entry_of(row, details_->get(item.inode));
    entry.archive = pool_number_;
    entry.offset = offset_[item.inode];
    entry.linked = true;
    entry.group = row.ino;
    pool_catalog_.pool[member_[item.inode]] = entry;
  }
}

void ArchiveTarget::end_shared() {
  pool_catalog_.header.first_pool = pool_catalog_.pool.empty() ? 0 : pool_catalog_.pool.begin()->first;
  pool_catalog_.header.last_pool = pool_catalog_.pool.empty() ? 0 : pool_catalog_.pool.rbegin()->first;
  if (!set_) return;
  if (pool_writer_) {
    for (const auto& [number, entry] : pool_catalog_.pool) pool_catalog_.header.bytes += entry.size;
    pool_catalog_.header.names = pool_catalog_.pool.size();
    pool_writer_->finish(pool_catalog_);
    pool_writer_.reset();
    ++counts_.archives;
  }
  // Names refer to members by number (member_): what the members are, 150 bytes each, is asked no more.
  pool_catalog_.pool.clear();
  const std::lock_guard lock(mutex_);
  pool_.clear();
  members_.clear();
  claimed_.clear();
}

void ArchiveTarget::begin_guest(uint32_t guest) {
  auto job = std::make_shared<Job>();
  const std::string& name = host_->guests[guest].name;
  job->header = header("full");
  job->header.guest = name;
  if (set_) {
    const auto chain = options_.full ? std::vector<Archive>{} : set_->chain(name, "");
    if (!chain.empty() && chain.size() <= options_.longest_chain) {
      // A chain that cannot be read is no ground to build on: a new full.
      if (auto state = set_->state(name, ""); state) {
        job->previous = std::move(*state);
        job->header.kind = "inc";
        job->header.chain = chain.back().header.chain;
        job->header.previous = chain.back().header.stamp;
        job->header.number = chain.back().header.number + 1;
      }
    }
    job->writer = std::make_unique<ArchiveWriter>(set_->fd(), set_->path(),
                                                  archive_name(job->header) + ".tar.zst", stamp_, true);
  }
  compare_link_groups(guest, *job);
  const std::lock_guard lock(mutex_);
  jobs_[guest] = std::move(job);
}

void ArchiveTarget::compare_link_groups(uint32_t guest, Job& job) {
  std::unordered_map<uint32_t, std::vector<std::string>> now;
  std::vector<std::pair<uint32_t, std::string>> stack{{host_->trees[guest].root, ""}};
  while (!stack.empty()) {
    const auto [dir, path] = std::move(stack.back());
    stack.pop_back();
    for (const auto& child : host_->dirs[dir].children) {
      const Inode& inode = host_->inodes[child.inode];
      if (is_dir(inode))
        stack.emplace_back(inode.dir, join_path(path, host_->trees[guest].name(child.name)));
      else if (!inode.shared && inode.names > 1)
        now[child.inode].push_back(join_path(path, host_->trees[guest].name(child.name)));
    }
  }
  if (now.empty() || job.previous.dirs.empty()) return;
  std::map<std::string, uint64_t> group_of;
  std::map<uint64_t, size_t> group_size;
  std::vector<Entry> entries;
  for (const auto& [path, bytes] : job.previous.dirs) {
    if (!decode_dir(bytes, entries)) continue;
    for (size_t i = 1; i < entries.size(); ++i)
      if (entries[i].linked) {
        group_of[join_path(path, entries[i].name)] = entries[i].group;
        ++group_size[entries[i].group];
      }
  }
  for (const auto& [inode, paths] : now) {
    const auto first = group_of.find(paths.front());
    job.group_same[inode] = first != group_of.end() && group_size[first->second] == paths.size() &&
                            std::all_of(paths.begin(), paths.end(), [&](const std::string& p) {
                              const auto it = group_of.find(p);
                              return it != group_of.end() && it->second == first->second;
                            });
  }
}

DirectoryWants ArchiveTarget::plan_directory(uint32_t guest, uint32_t dir, const std::string& path) {
  const auto j = job(guest);
  const DirNode& node = host_->dirs[dir];
  const auto& scanned = host_->trees[guest];
  const auto previous = j->previous.dirs.find(path);
  std::vector<Entry>& before = j->before;
  before.clear();
  const bool had = previous != j->previous.dirs.end() && decode_dir(previous->second, before);
  const auto compare = [&](uint32_t inode, const Entry* old, bool linked) {
    if (old == nullptr || old->pool != 0 || old->linked != linked ||
        old->type != type_letter(host_->inodes[inode].mode))
      return DirectoryWants::yes;
    if (!details_->known(inode)) {
      const std::lock_guard lock(mutex_);
      j->maybe[inode] = *old;
      return DirectoryWants::if_changed;
    }
    Entry entry = entry_of(host_->inodes[inode], details_->get(inode));
    entry.linked = linked;
    return same_object(entry, *old) ? DirectoryWants::no : DirectoryWants::yes;
  };
  DirectoryWants wants;
  wants.children.assign(node.children.size(), DirectoryWants::no);
  size_t known_before = 0;
  bool changed = !had || before.front().listed != node.listed;
  for (size_t i = 0; i < node.children.size(); ++i) {
    const auto& child = node.children[i];
    const Inode& inode = host_->inodes[child.inode];
    if (inode.gone) continue;
    const Entry* old = find_name(before, scanned.name(child.name));
    known_before += old != nullptr ? 1 : 0;
    auto& want = wants.children[i];
    if (is_dir(inode)) {
      changed = changed || old == nullptr || old->type != 'd';
      continue;
    }
    if (inode.shared)
      want = old != nullptr && old->pool == member_[child.inode] ? DirectoryWants::no : DirectoryWants::yes;
    else if (inode.names == 1)
      want = compare(child.inode, old, false);
    else {
      const auto same = j->group_same.find(child.inode);
      want = same == j->group_same.end() || !same->second ? DirectoryWants::yes
                                                          : compare(child.inode, old, true);
    }
    changed = changed || old == nullptr || want != DirectoryWants::no;
  }
  changed = changed || known_before + 1 != before.size();
  wants.self = changed ? DirectoryWants::yes : compare(host_->dirs[dir].inode, &before.front(), false);
  if (wants.self != DirectoryWants::no && j->header.kind == "inc" && node.listed) {
    for (size_t i = 0; i < node.children.size(); ++i) {
      const Inode& inode = host_->inodes[node.children[i].inode];
      if (inode.gone) continue;
      wants.list += is_dir(inode)                                                      ? 'D'
                    : wants.children[i] != DirectoryWants::no && !S_ISSOCK(inode.mode) ? 'Y'
                                                                                       : 'N';
      wants.list.append(scanned.name(node.children[i].name)).push_back('\0');
    }
    wants.list.push_back('\0');
  }
  return wants;
}

Entry ArchiveTarget::named_entry(uint32_t inode, const std::string& name) const {
  const Inode& row = host_->inodes[inode];
  Entry entry;
  if (is_dir(row)) {
    entry.type = 'd';
  } else if (row.shared) {
    entry.type = type_letter(row.mode);
    entry.pool = member_[inode];
  } else {
    entry = entry_of(row, details_->get(inode));
    entry.linked = row.names > 1;
    entry.group = entry.linked ? host_->group_of(row) : 0;
  }
  entry.name = name;
  return entry;
}

// The guest as it is now, directory by directory; what is as before keeps the place where it is stored.
void ArchiveTarget::record_names(uint32_t guest, Job& job) {
  Catalog catalog;
  catalog.header = job.header;
  auto& dirs = (set_ ? catalog : pool_catalog_).dirs[host_->guests[guest].name];
  std::vector<Entry> before;
  std::vector<std::pair<uint32_t, std::string>> stack{{host_->trees[guest].root, ""}};
  while (!stack.empty()) {
    const auto [dir, path] = std::move(stack.back());
    stack.pop_back();
    const DirNode& node = host_->dirs[dir];
    const auto previous = job.previous.dirs.find(path);
    before.clear();
    if (previous != job.previous.dirs.end()) decode_dir(previous->second, before);
    Entry self = entry_of(host_->inodes[node.inode], details_->get(node.inode));
    self.listed = node.listed;
    std::string bytes;
    append_entry(bytes, self);
    for (const auto& child : node.children) {
      const Inode& inode = host_->inodes[child.inode];
      if (inode.gone || (!is_dir(inode) && !details_->known(child.inode))) continue;
      const std::string name(host_->trees[guest].name(child.name));
      Entry entry = named_entry(child.inode, name);
      if (is_dir(inode)) stack.emplace_back(inode.dir, join_path(path, name));
      if (entry.type == 'f' && entry.pool == 0) {
        entry.archive = job.header.number;
        entry.offset = offset_[child.inode];
        if (const Entry* old = find_name(before, name); entry.offset == kNowhere && old != nullptr) {
          entry.archive = old->archive;
          entry.offset = old->offset;
        }
        if (entry.offset == kNowhere) continue;  // cannot be: what is not stored is as before
        catalog.header.bytes += entry.size;
      }
      catalog.header.inconsistent += entry.inconsistent ? 1 : 0;
      ++catalog.header.names;
      append_entry(bytes, entry);
    }
    if (previous == job.previous.dirs.end() || previous->second != bytes) dirs[path] = std::move(bytes);
  }
  if (!set_) {
    pool_catalog_.header.names += catalog.header.names;
    pool_catalog_.header.bytes += catalog.header.bytes;
    pool_catalog_.header.inconsistent += catalog.header.inconsistent;
    return;
  }
  job.writer->finish(catalog);
  ++counts_.archives;
}

void ArchiveTarget::end_guest(uint32_t guest) {
  const auto j = job(guest);
  record_names(guest, *j);
  const std::lock_guard lock(mutex_);
  jobs_.erase(guest);
}

void ArchiveTarget::finish() {
  if (set_) return;
  pool_writer_->finish(pool_catalog_);
  pool_writer_.reset();
  ++counts_.archives;
}

void ArchiveTarget::abandon() {
  pool_writer_.reset();
  const std::lock_guard lock(mutex_);
  jobs_.clear();
}

}  // namespace vs::backup
