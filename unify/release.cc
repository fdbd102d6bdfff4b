#include "unify/release.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <tbb/parallel_for.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <memory>
#include <mutex>

#include "unify/exchange.h"
#include "unify/master_window.h"
#include "unify/scanner.h"
#include "unify/seal_keeper.h"

namespace vs::unify {
namespace {

constexpr size_t kBatchNames = 2048;

class MasterNameDirectory final : public DirectoryVisitor {
 public:
  explicit MasterNameDirectory(const MasterTable& masters) : masters_(masters) {}
  std::optional<uint32_t> wants(const DirEntry& entry) override { return masters_.find(entry.ino); }

 private:
  const MasterTable& masters_;
};

class MasterNameVisitor final : public ScanVisitor {
 public:
  explicit MasterNameVisitor(const MasterTable& masters) : masters_(masters) {}
  std::unique_ptr<DirectoryVisitor> enter(uint32_t, std::string_view, const FileStat&) override {
    return std::make_unique<MasterNameDirectory>(masters_);
  }

 private:
  const MasterTable& masters_;
};

// Names of one master that go in one window; copies are one a guest.
struct MasterRelease {
  uint32_t master = 0;
  std::vector<NameOfMaster> names;
  std::vector<std::string> staged;  // beside names
  std::vector<uint64_t> copies;     // inode of the copy, beside names; 0: could not be made
  std::vector<std::shared_ptr<UniqueFd>> files;  // the copies, without a name until the journal tells of them
  OpenMaster open;
  bool ready = false;
  bool spoiled = false;
  ReasonCounts skipped{};
  uint64_t released = 0, bytes = 0;
};

class Releaser {
 public:
  Releaser(const ReleaseInput& input, RunContext& context) : input_(input), context_(context), journal_(input.state_dir + "/journal", input.run) {}

  ReleaseResult run(std::vector<NameOfMaster> names) {
    ok_or_throw(keeper_.start());
    context_.progress.start("release", "files", names.size());
    for (size_t at = 0; at < names.size() && !context_.cancel.stop();) {
      size_t end = std::min(names.size(), at + kBatchNames);
      run_batch({names.begin() + static_cast<long>(at), names.begin() + static_cast<long>(end)});
      at = end;
    }
    context_.progress.finish();
    journal_.finish();
    return result_;
  }

 private:
  void run_batch(const std::vector<NameOfMaster>& names) {
    std::vector<MasterRelease> batch;
    uint32_t number = 0;
    for (const auto& name : names) {
      if (batch.empty() || batch.back().master != name.master) batch.emplace_back().master = name.master;
      batch.back().names.push_back(name);
      batch.back().staged.push_back(fmt::format("{:08x}", number++));
    }
    each(batch, [&](MasterRelease& one) { make_copies(one); });
    if (auto synced = input_.store.sync(); !synced) throw Error(synced.error().message);
    JournalBatch intent;
    intent.number = ++batch_number_;
    intent.kind = StepKind::release;
    std::vector<int> fds;
    for (const auto& one : batch) announce(one, intent, fds);
    ok_or_throw(journal_.intend(intent));
    ok_or_throw(keeper_.hand_over(fds));
    each(batch, [&](MasterRelease& one) { swap(one); });
    ok_or_throw(keeper_.forget());
    std::vector<MasterRecord> retired;
    for (const auto& one : batch) {
      if (one.spoiled) {
        input_.masters.retire(one.master);
        retired.push_back(input_.masters[one.master]);
      }
      result_.released += one.released;
      result_.bytes_copied += one.bytes;
      for (size_t i = 0; i < kReasons; ++i) result_.skipped[i] += one.skipped[i];
    }
    input_.index.put_masters(input_.store.id(), retired);
    context_.progress.add(names.size());
    ok_or_throw(journal_.done(batch_number_));
  }

  template <class Do>
  void each(std::vector<MasterRelease>& batch, Do what) {
    tbb::parallel_for(size_t{0}, batch.size(), [&](size_t i) { what(batch[i]); });
  }

  void fail(MasterRelease& one, size_t count, const Problem& problem) {
    const Reason reason = reason_of_errno(problem.code);
    one.skipped[static_cast<size_t>(reason)] += count;
    if (reason != Reason::changed_meanwhile && !problem.message.empty()) context_.log.object_failed(problem.message);
  }

  // Names of one link group get names of one copy, as it was before; each other name gets a copy of its own.
  void make_copies(MasterRelease& one) {
    one.copies.resize(one.names.size());
    one.files.resize(one.names.size());
    auto master = open_master(input_.store, input_.guard, input_.masters[one.master]);
    if (!master) return fail(one, one.names.size(), master.error());
    one.open = std::move(*master);
    one.ready = true;
    for (size_t i = 0; i < one.names.size(); ++i) {
      const bool linked = i > 0 && one.names[i].guest == one.names[i - 1].guest && one.names[i].link_group != 0 &&
                          one.names[i].link_group == one.names[i - 1].link_group && one.copies[i - 1] != 0;
      if (linked) {
        one.files[i] = one.files[i - 1];
        one.copies[i] = one.copies[i - 1];
      } else if (auto copied = make_copy(one, i); !copied) {
        fail(one, 1, copied.error());
      }
    }
  }

  Result make_copy(MasterRelease& one, size_t i) {
    auto copy = private_copy(input_.store, one.open);
    if (!copy) return copy.error();
    const auto stat = stat_fd(copy->get(), one.open.record.name);
    if (!stat) return stat.error();
    one.files[i] = std::make_shared<UniqueFd>(std::move(*copy));
    one.copies[i] = stat->ino;
    one.bytes += one.open.record.size;
    return Ok{};
  }

  void announce(const MasterRelease& one, JournalBatch& intent, std::vector<int>& fds) const {
    if (!one.ready) return;
    intent.masters.push_back(one.open.record.name);
    fds.push_back(one.open.fd.get());
    for (size_t i = 0; i < one.names.size(); ++i)
      if (one.copies[i] != 0)
        intent.steps.push_back({one.staged[i], input_.guests[one.names[i].guest].name, one.names[i].path, one.copies[i], one.open.record.ino});
  }

  void swap(MasterRelease& one) {
    if (!one.ready) return;
    MasterWindow window(input_.guard, one.open, counts_, context_.log);
    const auto opened = window.open();
    for (size_t i = 0; i < one.names.size(); ++i) {
      if (one.copies[i] == 0) continue;
      const Result swapped = opened ? swap_name(one, i) : opened;
      if (swapped) ++one.released;
      else fail(one, 1, swapped.error());
      ::unlinkat(input_.store.staging_fd(), one.staged[i].c_str(), 0);  // the master's name, or the copy that was not used
    }
    one.spoiled = window.close() == MasterWindow::Verdict::tainted;
  }

  Result swap_name(MasterRelease& one, size_t i) {
    const RootDir& root = input_.guests[one.names[i].guest].root;
    const auto [parent, name] = split_path(one.names[i].path);
    const auto dir = root.open_dir(parent);
    if (!dir) return dir.error();
    const GuestName place{dir->get(), std::string(name), root.host_path(one.names[i].path)};
    if (::linkat(one.files[i]->get(), "", input_.store.staging_fd(), one.staged[i].c_str(), AT_EMPTY_PATH) != 0)
      return problem_from_errno("stage a copy for", place.shown);
    // Looked at before, so that what is surely not the master is not even touched.
    const auto now = stat_at(place.dir, place.name.c_str(), place.shown);
    if (!now) return now.error();
    if (now->ino != one.open.record.ino) return Problem{ESTALE, ""};
    const auto exchanged = exchange_names(input_.store, one.staged[i], place, one.copies[i], one.open.record.ino, context_.log);
    if (!exchanged) return exchanged.error();
    if (*exchanged != Exchange::done) return Problem{ESTALE, ""};
    return Ok{};
  }

  const ReleaseInput& input_;
  RunContext& context_;
  Journal journal_;
  SealKeeper keeper_;
  WindowCounts counts_;
  uint32_t batch_number_ = 0;
  ReleaseResult result_;
};

}  // namespace

std::vector<NameOfMaster> find_names_of_masters(std::span<const Guest> guests, const MasterTable& masters, const std::string& state_dir, RunContext& context) {
  std::vector<NameOfMaster> names;
  if (masters.empty()) return names;
  MasterNameVisitor visitor(masters);
  FileTable table;
  context.progress.start("scan", "entries", 0);
  scan_trees(guests, visitor, table, context);
  context.progress.finish();
  for (const auto& row : table.rows())
    if (masters[row.note].ino == row.ino) names.push_back({table.guest(row), row.note, table.path(row)});
  const auto groups = known_link_groups(state_dir);
  for (auto& name : names)
    if (const auto it = groups.find({guests[name.guest].name, name.path}); it != groups.end()) name.link_group = it->second;
  std::sort(names.begin(), names.end(), [](const NameOfMaster& a, const NameOfMaster& b) {
    return std::tie(a.master, a.guest, a.link_group, a.path) < std::tie(b.master, b.guest, b.link_group, b.path);
  });
  return names;
}

ReleaseResult release_names(const ReleaseInput& input, std::vector<NameOfMaster> names, RunContext& context) {
  return Releaser(input, context).run(std::move(names));
}

std::vector<uint32_t> spoiled_masters(const Store& store, const MasterTable& masters) {
  std::vector<uint32_t> spoiled;
  for (uint32_t i = 0; i < masters.size(); ++i) {
    const MasterRecord& record = masters[i];
    if (!record.retired) continue;
    const auto fd = store.open_master(record.name);
    if (!fd) continue;
    const auto stat = stat_fd(fd->get(), record.name);
    const auto xattrs = xattr_hash_of(fd->get(), record.name);
    if (stat && xattrs && stat->nlink > 1 && class_of(*stat, *xattrs) != record.file_class) spoiled.push_back(i);
  }
  return spoiled;
}

namespace {

// A master without names in guests: nobody but the host can reach it while it is unsealed.
Result remove_unused(const GcInput& input, const MasterRecord& record) {
  const auto fd = input.store.open_master(record.name);
  if (!fd) return fd.error();
  if (auto unsealed = input.guard.unseal(fd->get(), record.name); !unsealed) return unsealed;
  auto removed = input.store.remove_master(record.name);
  if (!removed) (void)input.guard.seal(fd->get(), record.name);
  return removed;
}

}  // namespace

GcResult collect_garbage(const GcInput& input, RunContext& context) {
  GcResult result;
  std::vector<uint64_t> gone;
  std::optional<Journal> journal;
  if (input.run != nullptr) journal.emplace(input.state_dir + "/journal", *input.run);
  for (const auto& record : input.masters.records()) {
    if (context.cancel.stop()) break;
    const auto stat = input.store.stat_master(record.name);
    if (!stat || stat->nlink != 1) continue;
    if (journal) {
      if (auto removed = remove_unused(input, record); !removed) {
        context.log.object_failed(removed.error().message);
        ++result.failed;
        continue;
      }
      gone.push_back(record.ino);
    }
    ++result.removed;
    result.bytes_freed += stat->blocks * 512;
  }
  if (!journal) return result;
  input.index.erase_masters(input.store.id(), gone);
  journal->finish();
  return result;
}

}  // namespace vs::unify
