#include "unify/change/garbage.h"

#include "core/store/unsealed_window.h"
#include "unify/change/master_maker.h"

namespace vs::unify {
namespace {

// A master without names in guests. A guest whose name of it is gone may still have it open, and others
// mapped: so it is removed in a window like any other, and sealed also when its last name is gone.
Result remove_unused(const GcInput& input, const MasterRecord& record, Log& log) {
  const auto master = open_recorded(input.store, record);
  if (!master) return master.error();
  // With the class it has, not the recorded one: it may have been retired because a guest changed that.
  auto file = shared_as_it_is(master->fd.get(), master->shown);
  if (!file) return file.error();
  WindowCounts counts;
  // No keeper: the journal of this run stays until all is done, and recovery seals every master.
  UnsealedWindow window(input.guard, std::move(*file), nullptr, counts, &log);
  if (auto opened = window.open(); !opened) return opened;
  return input.store.remove_master(record.name);
}

// What the master takes on disk if no guest has a name of it.
std::optional<uint64_t> bytes_if_unused(const Store& store, const MasterRecord& record) {
  const auto stat = store.stat_master(record.name);
  if (!stat || stat->nlink != 1) return std::nullopt;
  return stat->blocks * 512;
}

}  // namespace

GcResult find_garbage(const Store& store, const MasterTable& masters, RunContext& context) {
  GcResult result;
  for (const auto& record : masters.records()) {
    if (context.cancel.stop()) break;
    const auto bytes = bytes_if_unused(store, record);
    if (!bytes) continue;
    ++result.removed;
    result.bytes_freed += *bytes;
  }
  return result;
}

GcResult collect_garbage(const GcInput& input, RunContext& context) {
  GcResult result;
  std::vector<uint64_t> gone;
  Journal journal(input.state_dir + "/journal", input.run);
  for (const auto& record : input.masters.records()) {
    if (context.cancel.stop()) break;
    const auto bytes = bytes_if_unused(input.store, record);
    if (!bytes) continue;
    if (auto removed = remove_unused(input, record, context.log); !removed) {
      context.log.object_failed(removed.error().message);
      ++result.failed;
      continue;
    }
    gone.push_back(record.ino);
    ++result.removed;
    result.bytes_freed += *bytes;
  }
  input.index.erase_masters(input.store.id(), gone);
  journal.finish();
  return result;
}

}  // namespace vs::unify
