#include "backup/archive/single_target.h"

#include <fcntl.h>
#include <unistd.h>

#include "backup/archive/host_entries.h"
#include "core/escape.h"

namespace vs::backup {

SingleTarget::SingleTarget(const std::string& file, int level) : shown_(file), level_(level) {
  const auto [dir, name] = split_path(file);
  const std::string parent = dir.empty() ? (file.starts_with('/') ? "/" : ".") : std::string(dir);
  if (name.empty()) throw Error("--single " + escaped(file) + ": expected the name of a file", Exit::usage);
  name_ = name;
  dir_.reset(::open(parent.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir_) throw Error(problem_from_errno("open directory", parent).message, Exit::usage);
  if (::faccessat(dir_.get(), name_.c_str(), F_OK, AT_SYMLINK_NOFOLLOW) == 0)
    throw Error(escaped(file) + " exists already", Exit::usage);
}

SingleTarget::~SingleTarget() = default;

void SingleTarget::begin(const RunView& run) {
  run_.emplace(run);
  stored_.emplace(run.host.inodes.size());
  members_ = std::make_unique<PoolMembers>(run.host.inodes.size(), std::map<uint64_t, Entry>{}, 1);
  writer_ = std::make_unique<ArchiveWriter>(dir_.get(), ".", name_, run.stamp, false);
  catalog_.header = header_of(run, "single", "");
}

DirectoryWants::Want SingleTarget::wants_shared(InodeNumber inode) {
  members_->make_new(inode);
  return run_->known.known(inode) ? DirectoryWants::yes : DirectoryWants::if_changed;
}

void SingleTarget::end_shared() {
  const auto& pool = catalog_.pool;
  catalog_.header.first_pool = pool.empty() ? 0 : pool.begin()->first;
  catalog_.header.last_pool = pool.empty() ? 0 : pool.rbegin()->first;
}

DirectoryWants SingleTarget::plan_directory(GuestNumber, DirNumber dir, const std::string&) {
  const auto& children = run_->host.dirs[dir].children;
  DirectoryWants wants;
  wants.self = DirectoryWants::yes;
  for (const auto& child : children) {
    const bool wanted = !run_->gone[child.inode] && !is_dir(run_->host.inodes[child.inode]);
    wants.children.push_back(wanted ? DirectoryWants::yes : DirectoryWants::no);
  }
  return wants;
}

bool SingleTarget::append(const Item& item, const Inode& inode, const InodeDetails& details,
                          const Content& content, std::string& out) {
  const bool reference = item.kind == Item::Kind::link || item.kind == Item::Kind::name;
  append_item(*run_, *members_, item, reference ? Entry{} : entry_of(inode, details), content, out);
  return true;
}

void SingleTarget::take(const std::vector<Item>& items, Encoded&& encoded) {
  if (items.empty()) return;
  stored_->append(*writer_, items, encoded);
  stored_->record_members(*run_, *members_, items, 0, catalog_.pool);
}

void SingleTarget::end_guest(GuestNumber guest) {
  static const Dirs kNothing;
  record_guest({*run_, *members_, *stored_, guest, 0, kNothing}, catalog_.dirs[run_->host.guests[guest].name],
               catalog_.header);
  store_host_files(*run_, guest, 0, level_, *writer_, catalog_);
}

void SingleTarget::finish() {
  ok_or_throw(writer_->finish(catalog_));
  writer_.reset();
  ++stored_->counts.archives;
}

}  // namespace vs::backup
