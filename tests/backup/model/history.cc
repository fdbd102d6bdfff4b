#include "tests/backup/model/history.h"

#include <fmt/format.h>

#include <algorithm>
#include <atomic>
#include <chrono>
#include <csignal>
#include <cstdio>
#include <cstdlib>
#include <filesystem>
#include <memory>
#include <mutex>
#include <set>
#include <thread>
#include <utility>

#include "tests/backup/backup_host.h"
#include "tests/backup/model/damage.h"
#include "tests/backup/model/judgement.h"
#include "tests/backup/model/random_guests.h"
#include "tests/support/temp_dir.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;

constexpr int kNights = 10;
constexpr int kDamages = 5;
constexpr int kAtATime = 8;
// More of them say nothing new.
constexpr size_t kMostFaults = 3;

struct Set {
  std::string path;
  FileVersions versions;
  bool damaged = false;                                    // before the last night
  std::map<std::string, std::set<std::string>> seen = {};  // guest -> stamps that it had, or got by damage
};

class History {
 public:
  History(uint64_t seed, const HistoryPlace& place)
      : dice_(seed), place_(place), guests_((make_trees(place), place.trees), dice_), seed_(seed) {
    sets_.push_back({place.dir + "/set", {}});
    if (dice_.one_in(2)) sets_.push_back({place.dir + "/other-set", {}});
    for (const auto& set : sets_) must_run({vbackup_path(), "init", "--to", set.path});
    longest_chain_ = dice_.one_in(2) ? 30 : 1 + dice_.below(5);
    fork_night_ = 1 + dice_.below(8);
    bad_night_ = dice_.one_in(4) ? 2 + dice_.below(kNights - 2) : kNights;
  }

  std::vector<std::string> faults() {
    guests_.change(30);
    for (size_t night = 0; night < kNights && faults_.empty(); ++night) {
      if (night > 0) between_nights(night);
      this->night(night);
    }
    for (size_t i = 0; i < sets_.size() && faults_.empty(); ++i) judge_set(i);
    std::string story = fmt::format("seed {}", seed_);
    for (const auto& line : story_) story += "\n    " + line;
    for (auto& fault : faults_) fault = story + "\n" + fault;
    return std::move(faults_);
  }

 private:
  static void make_trees(const HistoryPlace& place) {
    for (const auto& [guest, tree] : place.trees) fs::create_directories(tree);
  }

  std::map<std::string, std::shared_ptr<const Everything>> trees_now() const {
    std::map<std::string, std::shared_ptr<const Everything>> now;
    for (const auto& [guest, tree] : place_.trees) {
      Everything all = everything_of({{guest, tree}}, place_.options);
      add_host_file(settings_of(tree), all);
      now[guest] = std::make_shared<const Everything>(std::move(all));
    }
    return now;
  }

  // What nspawn has beside a tree.
  static std::string settings_of(const std::string& tree) { return tree + ".nspawn"; }
  void change_settings() {
    for (const auto& [guest, tree] : place_.trees) {
      if (settings_dice_.one_in(3))
        write_file(settings_of(tree), settings_dice_.bytes(settings_dice_.below(3000)));
      if (settings_dice_.one_in(8)) fs::remove(settings_of(tree));
    }
  }

  // Now and then it is killed where it is; the sleep says where.
  RunResult run_or_kill(const Command& line) {
    if (!dice_.one_in(12)) return run(line);
    Process process(line);
    std::this_thread::sleep_for(std::chrono::milliseconds(dice_.below(60)));
    process.signal(SIGKILL);
    return process.wait();
  }

  void expect_end(const RunResult& result, const std::string& verb, bool damaged) {
    if (result.signal == SIGKILL) return;
    expect_said(result, verb, damaged ? std::vector<int>{0, 1, 2, 3} : std::vector<int>{0}, faults_);
  }

  // --- Nights ---

  void night(size_t number) {
    guests_.change(4 + dice_.below(12));
    change_settings();
    std::vector<Set*> both;
    for (auto& set : sets_) both.push_back(&set);
    if (both.size() == 1 || dice_.one_in(2)) return run_into(number, both);
    // One of the two sets may be left out: the index then knows what that set has not. Or each has a run of
    // its own, often in the same second.
    if (dice_.one_in(2)) return run_into(number, {both[dice_.below(2)]});
    run_into(number, {both[0]});
    guests_.change(2);
    run_into(number, {both[1]});
  }

  void run_into(size_t number, const std::vector<Set*>& into) {
    const std::string only = dice_.one_in(8) ? (dice_.one_in(2) ? "alpha" : "beta") : "";
    auto before = trees_now();
    const RunResult result = run_or_kill(create_line(into, only));
    story_.push_back(fmt::format("night {} of {} into {}: exit {} signal {}", number,
                                 only.empty() ? "both" : only, into.size() == 2 ? "both" : into[0]->path,
                                 result.exit_code, result.signal));
    expect_end(result, "create",
               std::any_of(into.begin(), into.end(), [](const Set* set) { return set->damaged; }));
    for (const auto& [guest, tree] : trees_now())
      if (const std::string moved = difference(*before.at(guest), *tree); !moved.empty())
        faults_.push_back("the test: a tree changed during the night: " + moved);
    if (!only.empty()) std::erase_if(before, [&](const auto& one) { return one.first != only; });
    remember(before, result, into);
  }

  Command create_line(const std::vector<Set*>& into, const std::string& only) {
    Command line{vbackup_path(), "create", "--progress", "never", "--json"};
    const auto add = [&](const std::string& option, const std::string& value) {
      line.push_back(option);
      line.push_back(value);
    };
    add("--state", state());
    add("--consistency", place_.consistency);
    add("-j", std::to_string(1 + dice_.below(3)));
    add("--longest-chain", std::to_string(longest_chain_));
    for (const Set* set : into) add("--to", set->path);
    for (const auto& [guest, tree] : place_.trees) add("--tree", guest + "=" + tree);
    if (dice_.one_in(8)) line.push_back("--full");
    if (dice_.one_in(4)) add("--verify-sample", "1");
    if (!only.empty()) line.push_back(only);
    return line;
  }

  void remember(const std::map<std::string, std::shared_ptr<const Everything>>& trees,
                const RunResult& result, const std::vector<Set*>& into) {
    const size_t at = result.out.rfind("\"stamp\":\"");
    std::string stamp;
    if (at != std::string::npos) stamp = result.out.substr(at + 9, 16);
    for (Set* set : into) {
      set->versions.add(files_of(set->path));
      // A run that failed may have left whole archives, under a stamp that it did not say: one that this set
      // had not. (The other may have had a night in the same second.)
      std::map<std::string, std::vector<std::string>> stamps;
      std::vector<std::string> ignored;
      if (stamp.empty())
        stamps = listed(set->path, ignored);
      else
        for (const auto& [guest, tree] : trees) stamps[guest] = {stamp};
      for (const auto& [guest, tree] : trees)
        for (const auto& one : stamps[guest])
          if (const bool fresh = set->seen[guest].insert(one).second; stamp == one || fresh)
            remembered_[guest][one].push_back(tree);
    }
  }

  std::string state() const { return place_.dir + "/state"; }

  void between_nights(size_t night) {
    if (night == fork_night_) return fork();
    switch (dice_.below(8)) {
      case 0:
        return forget();
      case 1:
        return run_on_set("prune", {"--most-dead", std::to_string(dice_.below(60))});
      case 2:
        return index_trouble();
      default:
        break;
    }
    if (night == bad_night_) bad_news();
  }

  void forget() {
    Command more{"--keep-last", std::to_string(1 + dice_.below(5))};
    if (dice_.one_in(2)) more.push_back("--prune");
    run_on_set("forget", more);
  }

  void run_on_set(const std::string& verb, const Command& more) {
    const Set& set = dice_.pick(sets_);
    Command line{vbackup_path(), verb, "--to", set.path, "--progress", "never"};
    line.insert(line.end(), more.begin(), more.end());
    const RunResult result = run_or_kill(line);
    story_.push_back(
        fmt::format("{} {} of {}: exit {}", verb, fmt::join(more, " "), set.path, result.exit_code));
    expect_end(result, verb, set.damaged);
  }

  // The second set becomes a copy of the first, and from then on goes its own way.
  void fork() {
    if (sets_.size() < 2 || sets_[0].damaged) return;
    fs::remove_all(sets_[1].path);
    fs::copy(sets_[0].path, sets_[1].path);
    sets_[1].damaged = false;
    sets_[1].seen = sets_[0].seen;
    story_.push_back("the other set is a copy now");
  }

  // The index is a cache: whatever becomes of it, the archives are right.
  void index_trouble() {
    const std::string file = state() + "/inodes.mdb";
    if (dice_.one_in(4) || !fs::exists(file)) {
      story_.push_back("the index is lost");
      fs::remove_all(state());
      return;
    }
    SetFiles files{{"inodes.mdb", read_file(file)}};
    FileVersions old;
    if (!old_index_.empty()) old.add({{"inodes.mdb", old_index_}});
    old_index_ = files["inodes.mdb"];
    const std::string what =
        dice_.one_in(3) ? flip_somewhere(files["inodes.mdb"]) : damage(files, old, {}, dice_);
    story_.push_back("the index: " + what);
    if (files.contains("inodes.mdb"))
      write_file(file, files["inodes.mdb"]);
    else
      fs::remove(file);
  }

  // In the pages of an LMDB file that hold something: most of it is unused.
  std::string flip_somewhere(std::string& bytes) {
    for (int tries = 0; tries < 1000; ++tries)
      if (const size_t at = dice_.below(bytes.size()); bytes[at] != '\0') {
        bytes[at] = static_cast<char>(bytes[at] ^ (1 << dice_.below(8)));
        return fmt::format("byte {} flipped", at);
      }
    return "nothing in it";
  }

  // A set is damaged, and the nights go on.
  void bad_news() {
    Set& set = sets_[dice_.below(sets_.size())];
    SetFiles files = files_of(set.path);
    const SetFiles before = files;
    const std::string what = damage(files, set.versions, sets_[dice_.below(sets_.size())].versions, dice_);
    if (what.empty()) return;
    put_files(set.path, before, files);
    set.damaged = true;
    std::vector<std::string> ignored;
    for (const auto& [guest, stamps] : listed(set.path, ignored))
      set.seen[guest].insert(stamps.begin(), stamps.end());
    story_.push_back("for good: " + what);
  }

  // --- The end ---

  void judge_set(size_t number) {
    Set& set = sets_[number];
    judge(set, !set.damaged, "as it is");
    const SetFiles whole = files_of(set.path);
    for (int i = 0; i < kDamages && faults_.size() < kMostFaults; ++i) {
      SetFiles files = whole;
      const std::string what = damage(files, set.versions, sets_[sets_.size() - 1 - number].versions, dice_);
      if (what.empty() || files == whole) continue;
      put_files(set.path, whole, files);
      judge(set, false, what);
      put_files(set.path, files, whole);
    }
  }

  void judge(const Set& set, bool whole, const std::string& what) {
    const Judge judge{set.path, place_.dir + "/restored", place_.options, whole};
    for (const auto& fault : judge.faults(remembered_))
      faults_.push_back(set.path + ": " + what + "\n" + fault);
  }

  Dice dice_;
  const HistoryPlace& place_;
  RandomGuests guests_;
  const uint64_t seed_;
  Dice settings_dice_{~seed_};  // of its own: what becomes of the trees by a seed stays what it was
  std::vector<Set> sets_;
  Remembered remembered_;
  size_t longest_chain_ = 30, bad_night_ = kNights, fork_night_ = kNights;
  std::string old_index_;
  std::vector<std::string> story_, faults_;
};

}  // namespace

std::vector<std::string> faults_of_history(uint64_t seed, const HistoryPlace& place) {
  return History(seed, place).faults();
}

std::vector<std::string> faults_of_seeds(uint64_t from, uint64_t to,
                                         const std::function<HistoryPlace(uint64_t seed)>& place) {
  const char* given = std::getenv("VS_MODEL_SEEDS");
  if (given != nullptr) {
    unsigned long long first = 0, last = 0;
    if (std::sscanf(given, "%llu-%llu", &first, &last) != 2 || last < first)
      return {"VS_MODEL_SEEDS is not FROM-TO"};
    from = first;
    to = last;
  }
  std::atomic<uint64_t> next{from};
  std::mutex mutex;
  std::vector<std::string> faults;
  const auto work = [&] {
    for (uint64_t seed = next++; seed <= to; seed = next++) {
      std::vector<std::string> found;
      try {
        found = faults_of_history(seed, place(seed));
      } catch (const std::exception& error) {
        found = {fmt::format("seed {}: {}", seed, error.what())};
      }
      const std::lock_guard lock(mutex);
      if (given != nullptr)
        std::fprintf(stderr, "seed %llu is done\n", static_cast<unsigned long long>(seed));
      for (auto& fault : found) {
        std::fprintf(stderr, "%s\n", fault.c_str());  // at once: the others take long
        faults.push_back(std::move(fault));
      }
    }
  };
  std::vector<std::jthread> threads;
  for (int i = 0; i < kAtATime; ++i) threads.emplace_back(work);
  threads.clear();
  return faults;
}

}  // namespace vs::test
