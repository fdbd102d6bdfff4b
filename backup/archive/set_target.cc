#include "backup/archive/set_target.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "backup/archive/guest_changes.h"
#include "backup/archive/host_entries.h"
#include "core/escape.h"

namespace vs::backup {

// The archive of one guest on its way.
struct SetTarget::GuestArchive {
  CatalogHeader header;
  ArchiveWriter writer;
  GuestChanges changes;
};

namespace {

ArchiveSet opened(const std::string& dir, bool init) {
  if (init) ArchiveSet::make(dir);
  return ArchiveSet(dir);
}

}  // namespace

SetTarget::SetTarget(const std::string& dir, ArchiveOptions options)
    : shown_("archive:" + dir), options_(options), set_(opened(dir, options.init)), lock_(set_.lock()) {
  lost_ = set_.write_lost_identity();
  set_.sweep();
  set_.reload();
}

SetTarget::~SetTarget() = default;

std::string SetTarget::last_stamp() const {
  std::string last;
  for (const auto& archive : set_.archives()) last = std::max(last, archive.header.stamp);
  return last;
}

std::string SetTarget::last_stamp_of(const std::string& guest) const {
  std::string last;
  for (const auto& archive : set_.archives())
    if (archive.header.guest == guest) last = std::max(last, archive.header.stamp);
  return last;
}

void SetTarget::begin(const RunView& run) {
  run_.emplace(run);
  if (lost_) run.log.warning(set_.path() + "/vbackup.set was lost, and is written again");
  stored_.emplace(run.host.inodes.size());
  pool_catalog_.header = header_of(run, "pool", set_.id());
  auto stored_members = value_or_throw(set_.pool());
  const auto next = set_.next_numbers();
  pool_catalog_.header.number = next.pool;
  members_ = std::make_unique<PoolMembers>(run.host.inodes.size(), std::move(stored_members), next.member);
}

// --- What several guests share ----------------------------------------------------------------------------

DirectoryWants::Want SetTarget::wants_shared(InodeNumber inode) {
  const bool known = run_->known.known(inode);
  const Inode& row = run_->host.inodes[inode];
  if (known && members_->claim(inode, entry_of(row, run_->known.get(inode)), row.ino))
    return DirectoryWants::no;
  members_->make_new(inode);
  return known ? DirectoryWants::yes : DirectoryWants::if_changed;
}

ArchiveWriter& SetTarget::pool_writer() {
  if (!pool_writer_)
    pool_writer_ = std::make_unique<ArchiveWriter>(
        set_.fd(), set_.path(), fmt::format("pool-{}.tar.zst", pool_catalog_.header.number), run_->stamp,
        true);
  return *pool_writer_;
}

void SetTarget::end_shared() {
  CatalogHeader& header = pool_catalog_.header;
  if (pool_writer_) {
    const auto& pool = pool_catalog_.pool;
    header.first_pool = pool.empty() ? 0 : pool.begin()->first;
    header.last_pool = pool.empty() ? 0 : pool.rbegin()->first;
    for (const auto& [number, entry] : pool) header.bytes += entry.size;
    header.names = pool.size();
    ok_or_throw(set_.use_numbers({header.number + 1, header.last_pool + 1}));
    ok_or_throw(pool_writer_->finish(pool_catalog_));
    pool_writer_.reset();
    ++stored_->counts.archives;
  }
  pool_catalog_.pool.clear();
  members_->forget_stored();
}

// --- A guest ----------------------------------------------------------------------------------------------

void SetTarget::begin_guest(GuestNumber guest) {
  const std::string& name = run_->host.guests[guest].name;
  CatalogHeader header = header_of(*run_, "full", set_.id());
  header.guest = name;
  Dirs previous;
  if (!options_.full) {
    // A chain that has a hole, or cannot be read, is no ground to build on: a new full.
    auto state = set_.state(name, kNewest);
    if (!state && state.error().code != ENOENT)
      run_->log.warning(state.error().message + "; a new full begins");
    if (state && state->chain.size() <= options_.longest_chain) {
      const CatalogHeader& last = state->chain.back().header;
      header.kind = "inc";
      header.chain = last.chain;
      header.previous = last.stamp;
      header.previous_digest = hex(state->newest_digest);
      header.number = last.number + 1;
      previous = std::move(state->dirs);
    }
  }
  const std::string file = archive_name(header) + ".tar.zst";
  const bool incremental = header.kind == "inc";
  std::shared_ptr<GuestArchive> archive(
      new GuestArchive{std::move(header),
                       {set_.fd(), set_.path(), file, run_->stamp, true},
                       {*run_, *members_, guest, std::move(previous), incremental}});
  const std::lock_guard lock(mutex_);
  guests_[guest] = std::move(archive);
}

std::shared_ptr<SetTarget::GuestArchive> SetTarget::guest_archive(GuestNumber guest) const {
  const std::lock_guard lock(mutex_);
  return guests_.at(guest);
}

DirectoryWants SetTarget::plan_directory(GuestNumber guest, DirNumber dir, const std::string& path) {
  return guest_archive(guest)->changes.plan_directory(dir, path);
}

void SetTarget::end_guest(GuestNumber guest) {
  const auto archive = guest_archive(guest);
  Catalog catalog;
  catalog.header = archive->header;
  record_guest({*run_, *members_, *stored_, guest, archive->header.number, archive->changes.previous()},
               catalog.dirs[run_->host.guests[guest].name], catalog.header);
  store_host_files(*run_, guest, archive->header.number, options_.level, archive->writer, catalog);
  if (const auto finished = archive->writer.finish(catalog))
    ++stored_->counts.archives;
  else
    run_->log.object_failed(
        fmt::format("{} is not in the backup: {}", escaped(catalog.header.guest), finished.error().message));
  const std::lock_guard lock(mutex_);
  guests_.erase(guest);
}

// --- Objects ----------------------------------------------------------------------------------------------

bool SetTarget::may_have(const Item& item, const Inode& inode) const {
  if (item.kind != Item::Kind::shared) return guest_archive(item.guest)->changes.may_have(item.inode, inode);
  return members_->any_stored([&](const Entry& entry) {
    return entry.type == 'f' && entry.size == inode.size && entry.mtime_ns == inode.mtime_ns;
  });
}

bool SetTarget::has(const Item& item, const Inode& inode, const InodeDetails& details) {
  const Entry entry = entry_of(inode, details);
  if (item.kind == Item::Kind::shared) return members_->claim(item.inode, entry, inode.ino);
  return guest_archive(item.guest)->changes.has(item.inode, entry);
}

bool SetTarget::append(const Item& item, const Inode& inode, const InodeDetails& details,
                       const Content& content, std::string& out) {
  const bool reference = item.kind == Item::Kind::link || item.kind == Item::Kind::name;
  // A file that is read in parts has its header before its digest is known: it was asked for before.
  if (!reference && !item.large && has(item, inode, details)) return false;
  append_item(*run_, *members_, item, reference ? Entry{} : entry_of(inode, details), content, out);
  return true;
}

void SetTarget::take(const std::vector<Item>& items, Encoded&& encoded) {
  if (items.empty()) return;
  const bool shared = items.front().kind == Item::Kind::shared;
  stored_->append(shared ? pool_writer() : guest_archive(items.front().guest)->writer, items, encoded);
  stored_->record_members(*run_, *members_, items, pool_catalog_.header.number, pool_catalog_.pool);
}

void SetTarget::abandon() {
  pool_writer_.reset();
  const std::lock_guard lock(mutex_);
  guests_.clear();
}

}  // namespace vs::backup
