#include "unify/change/seal_check.h"

#include <fmt/format.h>
#include <linux/stat.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <mutex>
#include <utility>
#include <vector>

#include "core/store/unsealed_window.h"
#include "unify/change/master_maker.h"

namespace vs::unify {
namespace {

// How many changed masters are named; the others are counted.
constexpr size_t kNamed = 10;

// What statx cannot tell of, a descriptor does.
bool is_unsealed(const Store& store, const Guard& guard, const MasterRecord& record) {
  const auto stat = store.stat_master(record.name);
  if (!stat || (stat->attributes & STATX_ATTR_IMMUTABLE) != 0) return false;
  const auto fd = store.open_master(record.name);
  const auto sealed = fd ? guard.is_sealed(fd->get(), record.name) : Expected<bool>(fd.error());
  return sealed && !*sealed;
}

// Sealed, of the class that it was made with. False: it is sealed, but somebody can still write to it, or
// wins against us.
bool put_class_back(const Store& store, const Guard& guard, const OpenMaster& master, Log& log) {
  WindowCounts counts;
  SharedFile file = shared_file(master);
  file.marks = marks_as_made(store, master.fd.get());
  UnsealedWindow window(guard, std::move(file), nullptr, counts, &log);
  return window.open() && window.close() == UnsealedWindow::Verdict::intact;
}

enum class Found { as_made, changed, failed };

Found seal_again(const Store& store, const Guard& guard, const MasterRecord& record, Log& log) {
  const auto master = open_recorded(store, record);
  const Result sealed = master ? guard.seal(master->fd.get(), master->shown) : Result(master.error());
  if (!sealed) {
    log.object_failed(sealed.error().message);
    return Found::failed;
  }
  if (record.retired) return Found::changed;
  const auto digests = digest_file(master->fd.get(), DigestAlgorithm::none, master->shown);
  if (!digests || digests->sha256 != record.sha256) return Found::changed;
  return put_class_back(store, guard, *master, log) ? Found::as_made : Found::changed;
}

void tell(const SealsFound& found, const std::vector<std::string>& changed, Log& log) {
  if (found.sealed_again + found.retired == 0) return;
  log.object_failed(fmt::format(
      "{} shared files had lost their seal, so that vservers could write to them (lxc-destroy and "
      "chattr -i take it off): {} are what they were made and are sealed again, {} are not",
      found.sealed_again + found.retired, found.sealed_again, found.retired));
  for (size_t i = 0; i < changed.size() && i < kNamed; ++i)
    log.object_failed("changed, or still open for writing, while it was not sealed: " + changed[i]);
  if (changed.size() > kNamed) log.object_failed(fmt::format("... and {} more", changed.size() - kNamed));
}

}  // namespace

SealsFound look_at_seals(const Store& store, const Guard& guard, MasterTable& masters, Index& index,
                         RunContext& context) {
  SealsFound found;
  if (!guard.shares_inodes()) return found;
  std::mutex mutex;
  std::vector<MasterNumber> unsealed;
  tbb::parallel_for(size_t{0}, masters.size(), [&](size_t i) {
    if (!is_unsealed(store, guard, masters[MasterNumber(i)])) return;
    const std::lock_guard lock(mutex);
    unsealed.emplace_back(i);
  });
  std::sort(unsealed.begin(), unsealed.end());
  std::vector<MasterRecord> retired;
  std::vector<std::string> changed;
  for (const MasterNumber i : unsealed) {
    const Found state = seal_again(store, guard, masters[i], context.log);
    found.sealed_again += state == Found::as_made;
    if (state != Found::changed) continue;
    ++found.retired;
    changed.push_back(store.shown_master(masters[i].name) + of_package(masters[i]));
    masters.retire(i);
    retired.push_back(masters[i]);
  }
  index.put_masters(store.id(), retired);
  tell(found, changed, context.log);
  return found;
}

}  // namespace vs::unify
