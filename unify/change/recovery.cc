#include "unify/change/recovery.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <chrono>
#include <map>
#include <thread>

#include "core/escape.h"
#include "core/store/project.h"
#include "core/store/unsealed_window.h"
#include "unify/change/exchange.h"
#include "unify/change/journal.h"

namespace vs::unify {
namespace {

// A writer that slipped in when even the seal keeper died is gone within this time, or must be looked at by a
// person.
constexpr int kLeaseTries = 50;
constexpr auto kLeasePause = std::chrono::milliseconds(100);

class Recovery {
 public:
  Recovery(const Store& store, const Guard& guard, const NodevMount* view, const UnfinishedRun& run,
           MasterTable& masters, RunContext& context, RecoveryResult& result,
           std::vector<HistoryStep>& linked)
      : store_(store),
        guard_(guard),
        masters_(masters),
        context_(context),
        result_(result),
        linked_(linked),
        exchanger_(store, guard, masters, nullptr, counts_, context.log) {
    for (const auto& tree : run.run.trees) {
      try {
        RootDir root(tree.path);
        if (view != nullptr) root.see_through(view->open_dir(path_of_fd(root.fd())));
        trees_.emplace(tree.name, std::move(root));
      } catch (const Error& error) {
        context_.log.warning(error.what());
      }
    }
  }

  // False: a master could not be taken care of, so the journal has to stay.
  bool batch(const JournalBatch& batch) {
    bool all = true;
    for (const auto& name : batch.masters) all = one_master(batch, name) && all;
    for (const auto& record : exchanger_.strays().retire_changed(masters_)) retired_.push_back(record);
    if (exchanger_.strays().left_unsealed()) ++result_.unfinished;
    return all;
  }
  const std::vector<MasterRecord>& retired() const { return retired_; }

 private:
  struct Entry {
    const JournalStep* step;
    uint64_t staged_ino = 0;  // 0: not in staging
  };

  bool one_master(const JournalBatch& batch, const std::string& name) {
    const auto index = masters_.find_name(name);
    if (!index) return true;  // never synced: no guest had a name of it
    const auto opened = open_recorded(store_, masters_[*index]);
    if (!opened) {
      context_.log.object_failed(opened.error().message);
      return false;
    }
    const OpenMaster& master = *opened;
    if (auto sealed = guard_.seal(master.fd.get(), master.shown); !sealed)
      context_.log.object_failed(sealed.error().message);
    ++result_.sealed;
    const bool intact = content_intact(master);
    // As it was recorded and made: close() puts back what a guest changed before the run died.
    SharedFile as_made = shared_file(master);
    as_made.marks = marks_as_made(store_, master.fd.get());
    UnsealedWindow window(guard_, std::move(as_made), nullptr, counts_, &context_.log);
    if (!open_patiently(window, master.shown)) {
      ++result_.unfinished;
      return false;
    }
    finish_steps(batch, master, intact);
    const auto verdict = window.close();
    if (verdict == UnsealedWindow::Verdict::unsealed) {
      ++result_.unfinished;
      return false;
    }
    if (verdict == UnsealedWindow::Verdict::tainted || !intact) {
      masters_.retire(*index);
      retired_.push_back(masters_[*index]);
    }
    return true;
  }

  // Within the master's window.
  void finish_steps(const JournalBatch& batch, const OpenMaster& master, bool intact) {
    give_host_project(master);
    for (const auto& step : batch.steps)
      if (concerns(batch, step, master)) exchanger_.settle_replace(step.staged, step.old_ino);
    for (auto& [_, entries] : entries_by_inode(batch, master)) {
      if (batch.kind == StepKind::link)
        finish_link(master, entries, intact);
      else
        finish_release(master, entries);
    }
  }

  // A master that was changed while it was unsealed gets no names; said once.
  bool content_intact(const OpenMaster& master) {
    const auto digests = digest_file(master.fd.get(), DigestAlgorithm::none, master.shown);
    const bool intact = digests && digests->sha256 == master.record.sha256;
    if (!intact)
      context_.log.object_failed(
          "master " + master.shown +
          " was changed while the run was interrupted; every name given to it then is taken back");
    return intact;
  }

  // It may have died with the project of a guest (exchange.h). Within the master's window.
  void give_host_project(const OpenMaster& master) {
    const uint32_t project = inherited_project(store_.staging_fd());
    if (project_of(master.fd.get()) == project) return;
    if (auto set = set_project(master.fd.get(), project, master.shown); !set)
      context_.log.object_failed(set.error().message);
  }

  static bool concerns(const JournalBatch& batch, const JournalStep& step, const OpenMaster& master) {
    return (batch.kind == StepKind::link ? step.new_ino : step.old_ino) == master.record.ino;
  }

  // The steps of this master, with what is in staging for each, by the inode that is linked to the master or
  // the copy that is released from it: its names go one way together.
  std::map<uint64_t, std::vector<Entry>> entries_by_inode(const JournalBatch& batch,
                                                          const OpenMaster& master) {
    const bool link = batch.kind == StepKind::link;
    std::map<uint64_t, std::vector<Entry>> by_inode;
    for (const auto& step : batch.steps) {
      if (!concerns(batch, step, master)) continue;
      const auto staged = stat_at(store_.staging_fd(), step.staged.c_str(), step.staged);
      by_inode[link ? step.old_ino : step.new_ino].push_back({&step, staged ? staged->ino : 0});
    }
    return by_inode;
  }

  bool open_patiently(UnsealedWindow& window, const std::string& shown) {
    Result opened = Ok{};
    for (int i = 0; i < kLeaseTries; ++i) {
      opened = window.open();
      if (opened || opened.error().code != EAGAIN) break;
      std::this_thread::sleep_for(kLeasePause);
    }
    if (!opened)
      context_.log.object_failed(opened.error().message + "; master " + shown +
                                 " is sealed, run vunify recover again");
    return opened.has_value();
  }

  uint64_t ino_in_guest(const JournalStep& step) {
    UniqueFd dir;
    const auto place = locate(step, dir);
    if (!place) return 0;
    const auto stat = stat_at(dir.get(), place->name.c_str(), place->shown);
    return stat ? stat->ino : 0;
  }

  std::optional<GuestName> locate(const JournalStep& step, UniqueFd& dir) {
    const auto tree = trees_.find(step.guest);
    if (tree == trees_.end()) return std::nullopt;
    const auto [parent, name] = split_path(step.path);
    auto opened = tree->second.open_dir(parent);
    if (!opened) return std::nullopt;
    dir = std::move(*opened);
    return GuestName{dir.get(), std::string(name), tree->second.host_path(step.path)};
  }

  bool exchanged(const Entry& entry, bool& in_staging) {
    in_staging = entry.staged_ino == entry.step->old_ino;
    return in_staging || (entry.staged_ino == 0 && ino_in_guest(*entry.step) == entry.step->new_ino);
  }

  // Nobody writes to it and it is what the master is.
  bool equals_master(const OpenMaster& master, const std::string& staged) {
    const UniqueFd fd(::openat(store_.staging_fd(), staged.c_str(),
                               O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC | O_NOATIME));
    if (!fd) return false;
    const auto lease = Lease::take(fd.get(), staged);
    const auto stat = stat_fd(fd.get(), staged);
    if (!lease || !stat) return false;
    FileClass wanted = master.record.file_class;
    wanted.mtime_ns =
        stat->mtime_ns;  // --mtime=ignore may have made them differ; a write is seen in the bytes
    const auto equal = has_class(fd.get(), *stat, wanted, master.record.xattrs, staged);
    const auto digests = digest_file(fd.get(), DigestAlgorithm::none, staged);
    return equal && *equal && digests && digests->sha256 == master.record.sha256 && lease->unbroken();
  }

  void finish_link(const OpenMaster& master, std::vector<Entry>& entries, bool intact) {
    // Numbers above those of any plan: told apart from what the interrupted run recorded itself.
    const uint32_t duplicate = 0x80000000u + duplicates_++;
    bool all_exchanged = true, equal = true;
    for (const auto& entry : entries) {
      bool in_staging = false;
      all_exchanged = exchanged(entry, in_staging) && all_exchanged;
      if (in_staging) equal = equal && equals_master(master, entry.step->staged);
    }
    for (const auto& entry : entries) {
      const JournalStep& step = *entry.step;
      if (entry.staged_ino == 0) {
        if (all_exchanged && equal && intact)
          linked_.push_back({step.guest, step.path, master.record.name, duplicate});
      } else if (entry.staged_ino == step.new_ino) {
        remove_staged(step.staged);
      } else if (entry.staged_ino == step.old_ino && all_exchanged && equal && intact) {
        remove_staged(step.staged);
        linked_.push_back({step.guest, step.path, master.record.name, duplicate});
        ++result_.finished;
      } else {
        give_back(step, step.new_ino);
      }
    }
  }

  // The names that one copy is for, which are hard links of one another: all get it or none. The guest may
  // have written to a copy that one of them got, so from the first name on the only way is forward.
  void finish_release(const OpenMaster& master, const std::vector<Entry>& entries) {
    const auto given = [&](const Entry& entry) {
      return entry.staged_ino == entry.step->old_ino ||
             (entry.staged_ino == 0 && ino_in_guest(*entry.step) == entry.step->new_ino);
    };
    const bool begun = std::any_of(entries.begin(), entries.end(), given);
    const UniqueFd copy = begun ? open_copy(entries) : UniqueFd();
    for (const auto& entry : entries) {
      const JournalStep& step = *entry.step;
      if (entry.staged_ino == step.old_ino) {
        remove_staged(step.staged);
        ++result_.finished;
      } else if (entry.staged_ino == step.new_ino || entry.staged_ino == 0) {
        if (begun && !given(entry))
          give_copy(entry, copy.get(), master);
        else if (entry.staged_ino != 0)
          remove_staged(step.staged);
        result_.rolled_back += !begun && entry.staged_ino != 0;
      } else {
        give_back(step, step.new_ino);
      }
    }
  }

  // The copy by any of its names, in staging or in the guest; invalid when the guest has removed it
  // meanwhile.
  UniqueFd open_copy(const std::vector<Entry>& entries) {
    for (const auto& entry : entries) {
      const JournalStep& step = *entry.step;
      UniqueFd dir;
      const auto place = locate(step, dir);
      UniqueFd fd(entry.staged_ino == step.new_ino
                      ? ::openat(store_.staging_fd(), step.staged.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)
                  : place ? ::openat(dir.get(), place->name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC)
                          : -1);
      const auto stat = fd ? stat_fd(fd.get(), step.path) : Expected<FileStat>(Problem{ENOENT, ""});
      if (stat && stat->ino == step.new_ino && S_ISREG(stat->mode)) return fd;
    }
    return UniqueFd();
  }

  // Within the master's window.
  void give_copy(const Entry& entry, int copy, const OpenMaster& master) {
    const JournalStep& step = *entry.step;
    UniqueFd dir;
    const auto place = locate(step, dir);
    const bool staged =
        entry.staged_ino == step.new_ino ||
        (copy >= 0 && ::linkat(copy, "", store_.staging_fd(), step.staged.c_str(), AT_EMPTY_PATH) == 0);
    if (!staged)
      return;  // the guest has removed the copy, and this name with it or not: it is the master's as before
    if (place && ino_in_guest(step) == master.record.ino) {
      const auto exchanged = exchanger_.exchange(step.staged, *place, step.new_ino, master.record.ino);
      if (!exchanged)
        context_.log.object_failed(exchanged.error().message);
      else if (*exchanged == Exchange::lost)
        return void(++result_.lost);
      else if (*exchanged == Exchange::stuck)
        return void(++result_.unfinished);
      else
        result_.finished += *exchanged == Exchange::done;
    }
    remove_staged(step.staged);
  }

  void give_back(const JournalStep& step, uint64_t new_ino) {
    UniqueFd dir;
    const auto place = locate(step, dir);
    const auto back = place ? exchanger_.put_back(step.staged, *place, new_ino)
                      : exchanger_.keep_as_lost(step.staged, step.guest + ":" + step.path) ? Exchange::lost
                                                                                           : Exchange::stuck;
    if (back == Exchange::put_back) remove_staged(step.staged);
    ++(back == Exchange::put_back ? result_.rolled_back
       : back == Exchange::lost   ? result_.lost
                                  : result_.unfinished);
  }

  void remove_staged(const std::string& staged) {
    if (const auto removed = exchanger_.remove(staged, "a run that did not end"); !removed)
      context_.log.object_failed(removed.error().message);
  }

  const Store& store_;
  const Guard& guard_;
  MasterTable& masters_;
  RunContext& context_;
  RecoveryResult& result_;
  std::vector<HistoryStep>& linked_;
  WindowCounts counts_;
  Exchanger exchanger_;
  uint32_t duplicates_ = 0;
  std::vector<MasterRecord> retired_;
  std::map<std::string, RootDir> trees_;
};

// A run, or gc, may have been killed between naming a master and sealing it or between unsealing it and
// removing it. No guest had a name of it then; one that has is in a batch of the journal, or the seal keeper
// took care of it.
void seal_all(const Store& store, const Guard& guard, const MasterTable& masters, RunContext& context,
              RecoveryResult& result) {
  for (const auto& record : masters.records()) {
    const auto fd = store.open_master(record.name);
    const auto sealed =
        fd ? guard.is_sealed(fd->get(), store.shown_master(record.name)) : Expected<bool>(fd.error());
    if (sealed && *sealed) continue;
    const Result done =
        sealed ? guard.seal(fd->get(), store.shown_master(record.name)) : Result(sealed.error());
    if (done)
      ++result.sealed;
    else {
      context.log.object_failed(done.error().message);
      ++result.unfinished;
    }
  }
}

// What no journal tells of: a master's name, which belonged to no guest any more, or something that only a
// person can place.
void sweep_staging(const Store& store, const Guard& guard, MasterTable& masters, Index& index,
                   RunContext& context, RecoveryResult& result) {
  WindowCounts counts;
  Exchanger exchanger(store, guard, masters, nullptr, counts, context.log);
  for (const auto& entry : store.list_staging()) {
    result.needed = true;
    const std::string shown = "a staging entry that no journal explains";
    if (!masters.find(entry.ino)) {
      result.lost += exchanger.keep_as_lost(entry.name, shown);
      continue;
    }
    const auto removed = exchanger.remove(entry.name, shown);
    result.rolled_back += removed.has_value();
    if (!removed) context.log.object_failed(removed.error().message);
  }
  index.put_masters(store.id(), exchanger.strays().retire_changed(masters));
}

}  // namespace

bool needs_recovery(const Store* store, const std::string& state_dir) {
  return read_journal(state_dir + "/journal").has_value() ||
         (store != nullptr && !store->list_staging().empty());
}

RecoveryResult recover_store(const Store& store, const Guard& guard, const NodevMount* view,
                             const std::string& state_dir, MasterTable& masters, Index& index,
                             RunContext& context) {
  RecoveryResult result;
  index.put_masters(store.id(), adopt_unknown(store, masters, context));
  if (const auto unfinished = read_journal(state_dir + "/journal")) {
    if (unfinished->run.store_id != store.id())
      throw Error(fmt::format(
          "{}/journal tells of an interrupted run {} of another store, {}; recover that one first (--store "
          "{})",
          state_dir, unfinished->run.run, escaped(unfinished->run.store), escaped(unfinished->run.store)));
    result.needed = true;
    result.run = unfinished->run.run;
    std::vector<HistoryStep> linked;
    Recovery recovery(store, guard, view, *unfinished, masters, context, result, linked);
    for (const auto& batch : unfinished->batches) recovery.batch(batch);
    index.put_masters(store.id(), recovery.retired());
    seal_all(store, guard, masters, context, result);
    RunHistory(state_dir, unfinished->run).add(linked);
    if (result.unfinished == 0) {
      sweep_staging(store, guard, masters, index, context, result);
      if (::truncate((state_dir + "/journal").c_str(), 0) != 0)
        throw Error(problem_from_errno("empty", state_dir + "/journal").message);
    }
  } else if (!store.list_staging().empty()) {
    seal_all(store, guard, masters, context, result);
    sweep_staging(store, guard, masters, index, context, result);
  }
  if (result.needed)
    context.log.info(fmt::format(
        "recovered {}: {} names finished, {} rolled back, {} masters sealed, {} entries kept in {}/lost",
        result.run ? "run " + *result.run : "what no journal tells of", result.finished, result.rolled_back,
        result.sealed, result.lost, store.path()));
  return result;
}

}  // namespace vs::unify
