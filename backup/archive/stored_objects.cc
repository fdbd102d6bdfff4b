#include "backup/archive/stored_objects.h"

#include <sys/utsname.h>

#include <algorithm>

#include "backup/archive/pax_writer.h"

namespace vs::backup {
namespace {

std::string host_name() {
  utsname name{};
  return ::uname(&name) == 0 ? name.nodename : "";
}

void append_link(const std::string& path, const std::string& to, std::string& out) {
  TarEntry tar;
  tar.path = path;
  tar.type = 'h';
  tar.mode = 0644;
  tar.link = to;
  append_header(out, tar);
}

TarEntry tar_entry(const Entry& entry, const std::string& path) {
  TarEntry tar;
  tar.path = path;
  tar.type = entry.type;
  tar.link = entry.target;
  tar.mode = entry.mode;
  tar.uid = entry.uid;
  tar.gid = entry.gid;
  tar.size = entry.size;
  tar.mtime_ns = entry.mtime_ns;
  tar.rdev = entry.rdev;
  tar.xattrs = entry.xattrs;
  return tar;
}

Entry named_entry(const GuestRecord& record, InodeNumber inode, const std::string& name) {
  const Inode& row = record.run.read.row(inode);
  Entry entry;
  if (is_dir(row)) {
    entry.type = 'd';
  } else if (row.shared) {
    entry.type = type_letter(row.mode);
    entry.pool = record.members.of(inode);
    entry.member =
        record.members.mark_of(inode, [&] { return entry_of(row, record.run.read.details(inode)); });
  } else {
    entry = entry_of(row, record.run.read.details(inode));
    entry.linked = row.names > 1;
    entry.group = entry.linked ? record.run.host.group_of(row) : 0;
  }
  entry.name = name;
  return entry;
}

// Where a file's bytes are. False if they are nowhere, which cannot be: what is not stored is as before.
bool place_file(const GuestRecord& record, InodeNumber inode, const std::vector<Entry>& before,
                Entry& entry) {
  entry.archive = record.number;
  entry.offset = record.stored.offset(inode);
  if (entry.offset != kNowhere) return true;
  const Entry* old = find_name(before, entry.name);
  if (old == nullptr) return false;
  entry.archive = old->archive;
  entry.offset = old->offset;
  return entry.offset != kNowhere;
}

std::string directory_bytes(const GuestRecord& record, const DirNode& node, const std::vector<Entry>& before,
                            CatalogHeader& header) {
  const RunView& run = record.run;
  Entry self = entry_of(run.read.row(node.inode), run.read.details(node.inode));
  self.listed = node.listed;
  std::string bytes;
  append_entry(bytes, self);
  for (const auto& child : node.children) {
    const bool dir = is_dir(run.host.inodes[child.inode]);
    if (run.read.gone(child.inode) || (!dir && !run.read.has_details(child.inode))) continue;
    Entry entry =
        named_entry(record, child.inode, std::string(run.host.trees[record.guest].name(child.name)));
    if (entry.type == 'f' && entry.pool == 0) {
      if (!place_file(record, child.inode, before, entry)) continue;
      header.bytes += entry.size;
    }
    header.inconsistent += entry.inconsistent ? 1 : 0;
    ++header.names;
    append_entry(bytes, entry);
  }
  return bytes;
}

}  // namespace

CatalogHeader header_of(const RunView& run, const std::string& kind, const std::string& set) {
  CatalogHeader header;
  header.kind = kind;
  header.stamp = header.chain = run.stamp;
  header.host = host_name();
  header.version = VS_VERSION;
  header.set = set;
  header.consistency = run.consistency;
  return header;
}

const Entry* find_name(const std::vector<Entry>& entries, std::string_view name) {
  if (entries.empty()) return nullptr;
  const auto it = std::lower_bound(entries.begin() + 1, entries.end(), name,
                                   [](const Entry& e, std::string_view n) { return e.name < n; });
  return it != entries.end() && it->name == name ? &*it : nullptr;
}

void append_item(const RunView& run, const PoolMembers& members, const Item& item, const Entry& entry,
                 const Content& content, std::string& out) {
  const std::string& guest = run.host.guests[item.guest].name;
  const std::string path = join_path(guest, item.path);
  if (is_socket(run.host.inodes[item.inode])) return;  // tar has none, nor links to one; the catalog has
  if (item.kind == Item::Kind::link)
    return append_link(path, join_path(guest, run.host.first_path(run.host.inodes[item.inode])), out);
  if (item.kind == Item::Kind::name) return append_link(path, pool_path(members.of(item.inode)), out);
  TarEntry tar = tar_entry(entry, item.kind == Item::Kind::shared ? pool_path(members.of(item.inode)) : path);
  tar.dumpdir = item.list;
  tar.ranges = content.ranges;
  tar.sparse = content.sparse;
  append_header(out, tar);
  if (item.large) return;  // parts follow
  out += content.data;
  append_padding(out, content.data.size());
}

void StoredObjects::append(ArchiveWriter& writer, const std::vector<Item>& items, const Encoded& encoded) {
  const uint64_t before = writer.stored();
  const uint64_t base = writer.size();
  for (const auto& [frame, size] : encoded.frames) {
    writer.add(frame, size);
    counts.bytes_stored += size;
  }
  counts.bytes_packed += writer.stored() - before;
  for (const auto& placed : encoded.placed) {
    const Item& item = items[placed.item];
    ++counts.objects_stored;
    if (item.kind != Item::Kind::shared && item.kind != Item::Kind::object) continue;
    if (item.inode >= offset_.next_number()) offset_.resize(item.inode.value + size_t{1}, kNowhere);
    offset_[item.inode] = base + placed.offset;
  }
}

void StoredObjects::record_members(const RunView& run, const PoolMembers& members,
                                   const std::vector<Item>& items, uint32_t archive,
                                   std::map<uint64_t, Entry>& pool) const {
  for (const auto& item : items) {
    // A large file has its details when its last part is taken; all others when they are placed.
    const bool whole = !item.large || item.part + 1 == item.large->parts.size();
    if (item.kind != Item::Kind::shared || !whole || offset(item.inode) == kNowhere) continue;
    const Inode& row = run.read.row(item.inode);
    Entry entry = entry_of(row, run.read.details(item.inode));
    entry.archive = archive;
    entry.offset = offset(item.inode);
    entry.linked = true;
    entry.group = row.ino;
    pool[members.of(item.inode)] = entry;
  }
}

void record_guest(const GuestRecord& record, Dirs& dirs, CatalogHeader& header) {
  const ScannedHost& host = record.run.host;
  std::vector<Entry> before;
  std::vector<std::pair<DirNumber, std::string>> stack{{host.trees[record.guest].root, ""}};
  while (!stack.empty()) {
    const auto [dir, path] = std::move(stack.back());
    stack.pop_back();
    const DirNode& node = host.dirs[dir];
    const auto previous = record.previous.find(path);
    before.clear();
    if (previous != record.previous.end()) decode_dir(previous->second, before);
    std::string bytes = directory_bytes(record, node, before, header);
    for (const auto& child : node.children)
      if (const Inode& inode = host.inodes[child.inode]; is_dir(inode) && !record.run.read.gone(child.inode))
        stack.emplace_back(inode.dir, join_path(path, host.trees[record.guest].name(child.name)));
    if (previous == record.previous.end() || previous->second != bytes) dirs[path] = std::move(bytes);
  }
}

}  // namespace vs::backup
