#include "backup/mount/stored_now.h"

#include <fmt/format.h>

#include <cerrno>

#include "backup/archive/host_tree.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

using namespace std::chrono_literals;

// A run that writes to the set changes its directory again and again.
constexpr auto kBetweenLooks = 2s;
// Descriptors: a chain has 31 archives, and a process 1,024 descriptors where nobody raised that.
constexpr size_t kOpenArchives = 128;

// No file of the host is stored with it: an empty directory.
GuestState nothing_of_host(const std::string& tree, const std::string& stamp) {
  Entry directory;
  directory.type = 'd';
  directory.mode = 0700;
  GuestState state;
  state.guest = tree;
  state.stamp = stamp;
  append_entry(state.dirs[""], directory);
  return state;
}

timespec change_time(const std::string& path) {
  struct ::stat stat {};
  return ::stat(path.c_str(), &stat) == 0 ? stat.st_mtim : timespec{};
}

bool same(const timespec& a, const timespec& b) {
  return a.tv_sec == b.tv_sec && a.tv_nsec == b.tv_nsec;
}

}  // namespace

StoredNow::StoredNow(const std::string& path)
    : path_(path),
      changed_(change_time(path)),
      looked_(std::chrono::steady_clock::now()),
      archives_(kOpenArchives) {
  backups_ = std::make_shared<StoredBackups>(path);
}

std::shared_ptr<StoredBackups> StoredNow::now() {
  const std::lock_guard lock(mutex_);
  const auto time = std::chrono::steady_clock::now();
  if (backups_->set() == nullptr || time - looked_ < kBetweenLooks) return backups_;
  looked_ = time;
  const timespec changed = change_time(path_);
  if (same(changed, changed_)) return backups_;
  try {
    auto fresh = std::make_shared<StoredBackups>(path_);
    if (fresh->set() == nullptr || fresh->set()->id() != backups_->set()->id()) return backups_;
    changed_ = changed;
    backups_ = std::move(fresh);
  } catch (const Error&) {  // the set is gone, or cannot be read: what is wanted of it will say so
  }
  return backups_;
}

std::vector<std::string> StoredNow::guests() {
  return now()->guests();
}

std::vector<std::string> StoredNow::stamps(const std::string& guest) {
  const auto backups = now();
  std::vector<std::string> stamps;
  if (const ArchiveSet* set = backups->set()) {
    for (const auto& archive : set->history(guest_of_tree(guest))) stamps.push_back(archive.header.stamp);
  } else if (const auto stamp = backups->stamp(guest_of_tree(guest), kNewest)) {
    stamps.push_back(*stamp);
  }
  return stamps;
}

std::vector<std::string> StoredNow::problems() {
  return now()->problems();
}

Expected<GuestState> StoredNow::state(const std::string& guest, const std::string& stamp) {
  auto state = now()->state(guest, stamp);
  if (!state && state.error().code == ENOENT && is_host_tree(guest) &&
      now()->stamp(guest_of_tree(guest), stamp))
    return nothing_of_host(guest, stamp);
  if (state && state->stamp != stamp)
    return Problem{ENOENT, fmt::format("{}: the backup {}@{} is gone", path_, escaped(guest), stamp)};
  return state;
}

Expected<Entry> StoredNow::member(const Entry& name) {
  const auto backups = now();
  const std::lock_guard lock(mutex_);
  const auto& pool = backups->pool();
  const auto member = pool.find(name.pool);
  if (member == pool.end())
    return Problem{0, fmt::format("{}: pool member {} is in no pool archive", path_, name.pool)};
  if (is_other_member(name, member->second))
    return Problem{
        0, fmt::format("{}: pool member {} is another file than the one that was stored", path_, name.pool)};
  Entry entry = member->second;
  entry.name = name.name;
  entry.pool = name.pool;
  return entry;
}

Expected<std::shared_ptr<FramedFile>> StoredNow::archive(const GuestState& state, const Entry& entry) {
  const auto backups = now();
  if (backups->set() == nullptr) return backups->archive_of(state, entry);
  if (entry.archive >= state.chain.size())
    return Problem{
        0, "a catalog of " + escaped(state.guest) + " refers to an archive that its chain does not have"};
  return open(state.chain[entry.archive].name);
}

Expected<std::shared_ptr<FramedFile>> StoredNow::pool_archive(const Entry& member) {
  const auto backups = now();
  if (backups->set() == nullptr) return backups->pool_archive(member);
  return open(fmt::format("pool-{}", member.archive));
}

Expected<std::shared_ptr<FramedFile>> StoredNow::open(const std::string& name) {
  using Archives = decltype(archives_);
  return archives_.get(name, [&]() -> Expected<Archives::Made> {
    auto file = now()->set()->open(name);
    if (!file) return file.error();
    return Archives::Made{std::move(*file)};
  });
}

}  // namespace vs::backup
