#include "unify/plan/guest_files.h"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <mutex>

#include "core/escape.h"
#include "core/tree/filesystem_id.h"
#include "unify/packages/load_packages.h"
#include "unify/packages/rpm_database.h"
#include "unify/scan/scanner.h"

namespace vs::unify {
namespace {

void add_counts(GuestCounts& sum, const GuestCounts& part) {
  sum.entries += part.entries;
  sum.regular_files += part.regular_files;
  sum.owned += part.owned;
  sum.considered += part.considered;
  sum.unified += part.unified;
  for (size_t i = 0; i < kReasons; ++i) sum.skipped[i] += part.skipped[i];
}

// Where the directories of all threads hand over what they counted.
struct Sums {
  std::mutex mutex;
  CountsByGuest& counts;
  std::vector<Sighting>& sightings;
};

class UnifyDirectory final : public DirectoryVisitor {
 public:
  UnifyDirectory(GuestNumber guest, std::string_view path, uint64_t ino, const Rules& rules,
                 const PackageIndex& packages, const MasterTable& masters, std::optional<Reason> left_alone,
                 Sums& sums)
      : guest_(guest),
        left_alone_(left_alone),
        rules_(rules),
        packages_(packages),
        masters_(masters),
        sums_(sums),
        path_(path),
        owned_(packages.dir(ino)),
        excluded_names_(rules.excludes.literal_names_in(path)) {}

  ~UnifyDirectory() override {
    const std::lock_guard guard(sums_.mutex);
    add_counts(sums_.counts[guest_], counts_);
    sums_.sightings.insert(sums_.sightings.end(), sightings_.begin(), sightings_.end());
  }

  std::optional<uint32_t> wants(const DirEntry& entry) override {
    ++counts_.regular_files;
    if (const auto master = masters_.find(entry.ino)) {
      ++counts_.unified;
      sightings_.push_back({guest_, *master});
      return std::nullopt;
    }
    if (excluded(entry.name)) return refuse(Reason::excluded);
    if (left_alone_) return refuse(*left_alone_);
    if (packages_.unknown()) return refuse(Reason::unknown_packages);
    uint32_t tag = kNoPackage;
    if (const PackageFile* file = owned_.empty() ? nullptr : packages_.find(owned_, entry.name);
        file != nullptr) {
      ++counts_.owned;
      if (const auto reason = refuse_record(*file); reason && refuses_in(*reason, rules_.scope))
        return refuse(*reason);
      tag = static_cast<uint32_t>(file - packages_.files().data());
    } else if (rules_.scope == Scope::packages) {
      return refuse(Reason::unowned);
    }
    if (lock_like(entry.name)) return refuse(Reason::lock_like);
    return tag;
  }

  bool keep(const DirEntry&, const FileStat& stat) override {
    if (const auto reason = refuse_stat(rules_, stat)) {
      refuse(*reason);
      return false;
    }
    ++counts_.considered;
    return true;
  }

 private:
  std::optional<uint32_t> refuse(Reason reason) {
    ++counts_.skipped[static_cast<size_t>(reason)];
    return std::nullopt;
  }
  bool excluded(std::string_view name) const {
    if (!excluded_names_.empty() &&
        std::find(excluded_names_.begin(), excluded_names_.end(), name) != excluded_names_.end())
      return true;
    return rules_.excludes.has_wildcards() && rules_.excludes.matches(join_path(path_, name));
  }

  const GuestNumber guest_;
  const std::optional<Reason> left_alone_;
  const Rules& rules_;
  const PackageIndex& packages_;
  const MasterTable& masters_;
  Sums& sums_;
  const std::string path_;
  const PackageIndex::Dir owned_;
  const std::vector<std::string> excluded_names_;
  GuestCounts counts_;
  std::vector<Sighting> sightings_;
};

class UnifyVisitor final : public ScanVisitor {
 public:
  UnifyVisitor(const Rules& rules, const GuestPackages& packages, const MasterTable& masters,
               const GuestsLeftAlone& left_alone, Sums& sums)
      : rules_(rules), packages_(packages), masters_(masters), left_alone_(left_alone), sums_(sums) {}

  std::unique_ptr<DirectoryVisitor> enter(GuestNumber guest, std::string_view path,
                                          const FileStat& dir) override {
    if (!path.empty() && rules_.excludes.matches(path)) return nullptr;
    return std::make_unique<UnifyDirectory>(guest, path, dir.ino, rules_, packages_[guest], masters_,
                                            left_alone_.empty() ? std::nullopt : left_alone_[guest], sums_);
  }

 private:
  const Rules& rules_;
  const GuestPackages& packages_;
  const MasterTable& masters_;
  const GuestsLeftAlone& left_alone_;
  Sums& sums_;
};

}  // namespace

GuestDevices devices_of(Guests guests) {
  GuestDevices devices;
  for (const auto& guest : guests) devices.push_back(filesystem_id(guest.root.fd()));
  return devices;
}

GuestCounts GuestFiles::total() const {
  GuestCounts sum;
  for (const auto& part : counts) add_counts(sum, part);
  return sum;
}

void GuestFiles::add(const CountsByGuest& more) {
  for (GuestNumber guest; guest < more.next_number(); ++guest) add_counts(counts[guest], more[guest]);
}

GuestDatabases read_guest_databases(Guests guests, const std::optional<std::string>& cache_dir,
                                    RunContext& context) {
  GuestDatabases read;
  read.packages.resize(guests.size());
  read.troubles.resize(guests.size());
  if (cache_dir)  // verbs that only look leave what is there
    for (const std::string& dir : {*cache_dir, std::string("/tmp")})
      if (const size_t swept = sweep_private_copies(dir))
        context.log.verbose(fmt::format(
            "removed {} private copies of rpm databases that killed runs left in {}", swept, dir));
  context.progress.start("packages", "guests", guests.size());
  tbb::parallel_for(size_t{0}, guests.size(), [&](size_t i) {
    if (context.cancel.stop()) return;
    const GuestNumber guest(i);
    read.packages[guest] = load_packages(guests[guest].root, cache_dir, read.troubles[guest]);
    context.progress.add();
  });
  context.progress.finish();
  return read;
}

GuestPackages load_guest_packages(Guests guests, const std::optional<std::string>& cache_dir,
                                  RunContext& context) {
  GuestDatabases read = read_guest_databases(guests, cache_dir, context);
  for (GuestNumber i; i < guests.next_number(); ++i) {
    const auto text = [&](const PackageTrouble& trouble) {
      return fmt::format("{}: package database {}: {}", guests[i].name, escaped(trouble.file),
                         escaped(trouble.detail));
    };
    const PackageTrouble* first = nullptr;
    size_t oddities = 0;
    for (const auto& trouble : read.troubles[i]) {
      if (trouble.passing) {
        context.log.object_failed(text(trouble));
        continue;
      }
      ++oddities;
      if (first == nullptr) first = &trouble;
    }
    if (oddities == 1) context.log.warning(text(*first));
    if (oddities > 1)
      context.log.warning(
          fmt::format("{}; {} more of its records are odd, see vunify status", text(*first), oddities - 1));
  }
  return std::move(read.packages);
}

GuestFiles scan_guests(Guests guests, const Rules& rules, const MasterTable& masters, GuestPackages packages,
                       RunContext& context, GuestsLeftAlone left_alone) {
  GuestFiles files;
  files.packages = std::move(packages);
  files.packages.resize(guests.size());
  files.counts.resize(guests.size());
  files.devices = devices_of(guests);
  Sums sums{{}, files.counts, files.sightings};
  files.left_alone = std::move(left_alone);
  UnifyVisitor visitor(rules, files.packages, masters, files.left_alone, sums);
  context.progress.start("scan", "entries", 0);
  scan_trees(guests, visitor, files.table, context);
  context.progress.finish();
  return files;
}

}  // namespace vs::unify
