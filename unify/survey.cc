#include "unify/survey.h"

#include <unistd.h>

#include <algorithm>
#include <ctime>
#include <map>
#include <mutex>

#include "unify/scan/scanner.h"

namespace vs::unify {
namespace {

// One regular file met in a guest.
struct Met {
  GuestNumber guest;
  MasterNumber master = kNoMaster;
  uint32_t package = kNoPackage;  // in the guest's index, for shared extents
  uint32_t nlink = 0;
  uint64_t ino = 0, size = 0, blocks = 0;
  Key128 shared;  // sharing group of extents; zero: none
  static constexpr MasterNumber kNoMaster{0xffffffff};
};

class SurveyDirectory final : public DirectoryVisitor {
 public:
  SurveyDirectory(const OpenedPool& pool, const PackageIndex& packages, GuestNumber guest, uint64_t ino,
                  std::mutex& mutex, std::vector<Met>& all)
      : pool_(pool),
        packages_(packages),
        owned_(packages.dir(ino)),
        guest_(guest),
        mutex_(mutex),
        all_(all) {}
  ~SurveyDirectory() override {
    const std::lock_guard guard(mutex_);
    all_.insert(all_.end(), met_.begin(), met_.end());
  }
  std::optional<uint32_t> wants(const DirEntry&) override { return 0; }
  bool keep(const DirEntry& entry, const FileStat& stat) override {
    Met met{guest_, Met::kNoMaster, kNoPackage, stat.nlink, stat.ino, stat.size, stat.blocks * 512, {}};
    if (const auto master = pool_.masters().find(stat.ino))
      met.master = *master;
    else if (!pool_.guard().shares_inodes())
      note_shared_extents(entry, stat, met);
    met_.push_back(met);
    return false;  // counted, no row needed
  }

 private:
  void note_shared_extents(const DirEntry& entry, const FileStat& stat, Met& met) const {
    const auto known = pool_.index().known(stat.dev, row_of(stat));
    if (!known || known->shared_with == 0) return;
    met.shared = {known->content.low ^ known->shared_with, known->content.high};
    if (const PackageFile* file = owned_.empty() ? nullptr : packages_.find(owned_, entry.name);
        file != nullptr)
      met.package = file->package;
  }
  const OpenedPool& pool_;
  const PackageIndex& packages_;
  const PackageIndex::Dir owned_;
  const GuestNumber guest_;
  std::mutex& mutex_;
  std::vector<Met>& all_;
  std::vector<Met> met_;
};

class SurveyVisitor final : public ScanVisitor {
 public:
  SurveyVisitor(const OpenedPool& pool, const GuestPackages& packages, std::vector<Met>& all)
      : pool_(pool), guest_packages_(packages), all_(all) {}
  std::unique_ptr<DirectoryVisitor> enter(GuestNumber guest, std::string_view, const FileStat& dir) override {
    return std::make_unique<SurveyDirectory>(pool_, guest_packages_[guest], guest, dir.ino, mutex_, all_);
  }

 private:
  const OpenedPool& pool_;
  const GuestPackages& guest_packages_;
  std::mutex mutex_;
  std::vector<Met>& all_;
};

// What is one thing on disk: an inode, or a group of files with shared extents.
struct Holding {
  uint64_t blocks = 0;
  MasterNumber master = Met::kNoMaster;
  uint32_t nlink = 0;  // 0 for shared extents: all holders are known
  uint64_t names = 0;
  std::string package, source, arch;
  std::map<GuestNumber, uint64_t> guests;  // guest -> inodes of it there (1 for an inode)
};

std::vector<Holding> gather(const OpenedPool& pool, const GuestPackages& packages,
                            const std::vector<Met>& all, std::vector<GuestSavings>& guests) {
  std::map<std::pair<uint64_t, Key128>, Holding> holdings;  // (dev, inode or group)
  for (const auto& met : all) {
    GuestSavings& guest = guests[met.guest.value];
    ++guest.files;
    guest.apparent += met.size;
    const uint64_t dev = pool.guests()[met.guest].root.stat().dev;
    const bool extents = met.shared != Key128{};
    if (extents || met.master != Met::kNoMaster) ++guest.files_unified;
    if (!extents && met.nlink == 1) {  // nobody else's: the common case, no table needed
      guest.on_disk += met.blocks;
      guest.exclusive += met.blocks;
      guest.fair_share += met.blocks;
      continue;
    }
    Holding& holding =
        holdings[extents ? std::make_pair(uint64_t{0}, met.shared) : std::make_pair(dev, Key128{met.ino, 0})];
    holding.blocks = std::max(holding.blocks, met.blocks);
    holding.master = met.master;
    holding.nlink = extents ? 0 : met.nlink;
    ++holding.names;
    auto& inodes = holding.guests[met.guest];
    if (extents)
      ++inodes;
    else
      inodes = 1;
    if (met.package != kNoPackage) {
      const Package& package = packages[met.guest].packages()[met.package];
      holding.package = package.name;
      holding.source = package.source;
      holding.arch = package.arch;
    }
  }
  std::vector<Holding> list;
  for (auto& [_, holding] : holdings) list.push_back(std::move(holding));
  return list;
}

using PackageRows =
    std::map<std::pair<std::string, std::string>, PackageSavings>;  // by name and architecture

void add_package(PackageRows& packages, const Holding& holding, const std::string& name,
                 const std::string& source, const std::string& arch) {
  PackageSavings& package = packages[{name.empty() ? "(no package)" : name, arch}];
  package.name = name.empty() ? "(no package)" : name;
  package.source = source.empty() ? package.name : source;
  package.arch = arch;
  uint64_t copies = 0;
  for (const auto& [_, inodes] : holding.guests) copies += inodes;
  ++package.masters;
  package.names += holding.names;
  package.guests = std::max<uint64_t>(package.guests, holding.guests.size());
  package.bytes_once += holding.blocks;
  package.bytes_saved += (copies - 1) * holding.blocks;
}

// Where and when, and the guests without their numbers.
Savings begin_savings(const OpenedPool& pool, const GuestPackages& packages) {
  Savings savings;
  char host[256] = "";
  ::gethostname(host, sizeof host - 1);
  savings.host = host;
  savings.time = ::time(nullptr);
  savings.pool = pool.pool().top;
  savings.guard = pool.guard().name();
  savings.scope = pool.rules().scope == Scope::all ? "all" : "packages";
  for (GuestNumber i; i < pool.guests().next_number(); ++i) {
    const PackageIndex& own = packages[i];
    GuestSavings& guest = savings.guests.emplace_back();
    guest.name = pool.guests()[i].name;
    guest.packages = own.empty() ? "none" : own.source();
  }
  return savings;
}

void add_holding(Savings& savings, PackageRows& packages, const OpenedPool& pool, const Holding& holding) {
  const bool master = holding.master != Met::kNoMaster;
  // Names where we did not look: other guests' (the store's own name of a master does not count).
  const bool outside = holding.nlink != 0 && holding.nlink - (master ? 1 : 0) > holding.names;
  savings.disk_used += holding.blocks;
  for (const auto& [number, inodes] : holding.guests) {
    GuestSavings& guest = savings.guests[number.value];
    guest.on_disk += holding.blocks * inodes;
    guest.fair_share += holding.blocks / holding.guests.size();
    if (holding.guests.size() == 1 && !outside)
      guest.exclusive += holding.blocks * (holding.nlink == 0 ? 1 : inodes);
  }
  if (!master && holding.nlink != 0) {
    savings.unsealed_shared += holding.guests.size() > 1;
    return;
  }
  ++savings.masters;
  savings.master_bytes += holding.blocks;
  savings.names_of_masters += holding.names;
  if (master) {
    savings.memory_saved +=
        (holding.guests.size() - 1) * holding.blocks;  // shared extents have a page cache each
    const MasterRecord& record = pool.masters()[holding.master];
    add_package(packages, holding, record.package, record.source, record.arch);
  } else {
    add_package(packages, holding, holding.package, holding.source, holding.arch);
  }
}

}  // namespace

Savings survey(const OpenedPool& pool, const GuestPackages& guest_packages, RunContext& context) {
  const auto timed = context.timer.time("survey");
  std::vector<Met> all;
  SurveyVisitor visitor(pool, guest_packages, all);
  FileTable none;
  context.progress.start("survey", "entries", 0);
  scan_trees(pool.guests(), visitor, none, context);
  context.progress.finish();

  Savings savings = begin_savings(pool, guest_packages);
  PackageRows packages;
  uint64_t sum_on_disk = 0;
  for (const auto& holding : gather(pool, guest_packages, all, savings.guests))
    add_holding(savings, packages, pool, holding);
  for (auto& guest : savings.guests) {
    guest.shared = guest.on_disk - guest.exclusive;
    sum_on_disk += guest.on_disk;
  }
  for (const auto& met : all)
    if (met.shared == Key128{} && met.nlink == 1) savings.disk_used += met.blocks;
  savings.saved = sum_on_disk > savings.disk_used ? sum_on_disk - savings.disk_used : 0;
  for (auto& [_, package] : packages) savings.packages.push_back(std::move(package));
  std::stable_sort(
      savings.packages.begin(), savings.packages.end(),
      [](const PackageSavings& a, const PackageSavings& b) { return a.bytes_saved > b.bytes_saved; });
  return savings;
}

}  // namespace vs::unify
