#include "unify/tamper_check.h"

#include <fmt/format.h>
#include <tbb/parallel_for.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <mutex>
#include <tuple>

#include "core/escape.h"
#include "core/hex.h"
#include "core/store/reseal.h"
#include "unify/change/master_maker.h"
#include "unify/change/names_of_masters.h"
#include "unify/scan/scanner.h"

namespace vs::unify {
namespace {

void sort_findings(CheckResult& result) {
  std::sort(result.findings.begin(), result.findings.end(), [](const Finding& a, const Finding& b) {
    return std::tie(a.object, a.kind, a.detail) < std::tie(b.object, b.kind, b.detail);
  });
}

uint32_t links_of(const OpenedPool& pool, const MasterRecord& record) {
  const auto stat = pool.store()->stat_master(record.name);
  return stat ? stat->nlink : 0;
}

std::vector<Finding> check_master(const OpenedPool& pool, const MasterRecord& record, uint64_t names_found,
                                  bool judge_links, const Cancel& cancel) {
  std::vector<Finding> findings;
  const std::string shown = pool.store()->shown_master(record.name);
  const auto fd = pool.store()->open_master(record.name);
  if (!fd) return {{"unreadable", record.name, fd.error().message}};
  const auto sealed = pool.guard().is_sealed(fd->get(), shown);
  // One that no guest has a name of is out of reach: an interrupted run made it, gc removes it.
  const auto reached = links_of(pool, record) > 1;
  if (!sealed || (!*sealed && reached))
    findings.push_back(
        {"unsealed", record.name,
         sealed ? "guests can write to it; the next run, or vunify recover, looks at it and seals it"
                : sealed.error().message});
  if (record.retired && !reached) return findings;  // as it was taken from them; gc removes it
  const auto stat = stat_fd(fd->get(), shown);
  const auto right = stat ? has_class(fd->get(), *stat, record.file_class, record.xattrs, shown)
                          : Expected<bool>(stat.error());
  if (!right || !*right || stat->size != record.size)
    findings.push_back(
        {"class", record.name,
         "size, owner, mode, modification time or extended attributes are not those it was made with"});
  if (const InodeMarks now = marks_of(fd->get()); !(now == marks_as_made(*pool.store(), fd->get())))
    findings.push_back({"flags", record.name,
                        fmt::format("inode flags {:#x} (chattr) or project {} are not those it was made with",
                                    now.flags, now.project)});
  const auto digests = digest_file(fd->get(), DigestAlgorithm::none, shown, &cancel);
  if (!digests)
    findings.push_back({"unreadable", record.name, digests.error().message});
  else if (digests->sha256 != record.sha256)
    findings.push_back(
        {"content", record.name,
         fmt::format("SHA-256 is {}, was {} when it was made (package {} {})", hex(digests->sha256),
                     hex(record.sha256), escaped(record.package), escaped(record.version))});
  if (judge_links && stat && stat->nlink != names_found + 1)
    findings.push_back({"links", record.name,
                        fmt::format("{} links, but {} names in the vservers and one in the store",
                                    stat->nlink, names_found)});
  return findings;
}

// Every file that the reference's database records and that may not change.
class ReferenceDirectory final : public DirectoryVisitor {
 public:
  ReferenceDirectory(const PackageIndex& packages, uint64_t ino)
      : packages_(packages), owned_(packages.dir(ino)) {}
  std::optional<uint32_t> wants(const DirEntry& entry) override {
    const PackageFile* file = owned_.empty() ? nullptr : packages_.find(owned_, entry.name);
    if (file == nullptr || refuse_record(*file)) return std::nullopt;
    return static_cast<uint32_t>(file - packages_.files().data());
  }

 private:
  const PackageIndex& packages_;
  const PackageIndex::Dir owned_;
};

class ReferenceVisitor final : public ScanVisitor {
 public:
  explicit ReferenceVisitor(const PackageIndex& packages) : packages_(packages) {}
  std::unique_ptr<DirectoryVisitor> enter(GuestNumber, std::string_view, const FileStat& dir) override {
    return std::make_unique<ReferenceDirectory>(packages_, dir.ino);
  }

 private:
  const PackageIndex& packages_;
};

using Versions = std::map<std::string, std::string>;  // "name:arch" -> version
Versions versions_of(const PackageIndex& packages) {
  Versions versions;
  for (const auto& package : packages.packages())
    versions[package.name + ":" + package.arch] = package.version;
  return versions;
}

void compare_versions(const Versions& reference, const Versions& other, CheckResult& result) {
  for (const auto& [package, version] : reference) {
    const auto it = other.find(package);
    if (it == other.end())
      result.findings.push_back({"package_missing", escaped(package), "installed in the reference only"});
    else if (it->second != version)
      result.findings.push_back({"version", escaped(package),
                                 fmt::format("{}, the reference has {}; its files were not compared",
                                             escaped(it->second), escaped(version))});
  }
  for (const auto& [package, version] : other)
    if (!reference.contains(package))
      result.findings.push_back(
          {"package_added", escaped(package), escaped(version) + ", not in the reference"});
}

// Which kind of finding it is when a file cannot be opened as the reference has it.
const char* kind_of(const Problem& problem) {
  if (problem.code == ENOENT) return "missing";
  const bool something_else = problem.code == EINVAL || problem.code == ELOOP || problem.code == ENOTDIR;
  return something_else ? "modified" : "unreadable";
}

// One file of the suspect against what the database of the reference records. nullopt: it is the same.
std::optional<Finding> compare_file(const OpenedPool& pool, const Guest& suspect, const std::string& path,
                                    const FileRow& row, const PackageIndex& trusted, const Cancel& cancel) {
  const PackageFile& recorded = trusted.files()[row.tag];
  const Package& package = trusted.packages()[recorded.package];
  const std::string object = suspect.name + ":" + escaped(path);
  FileStat stat;
  const auto fd = suspect.root.open_regular(path, &stat);
  if (!fd)
    return Finding{kind_of(fd.error()), object,
                   fmt::format("package {}: {}", escaped(package.name), fd.error().message)};
  // The very inode that the reference has, sealed.
  if (pool.masters().find(stat.ino) && stat.ino == row.ino) return std::nullopt;
  const auto digests = digest_file(fd->get(), recorded.algorithm, object, &cancel);
  if (digests && digests->recorded == trusted.digest(recorded)) return std::nullopt;
  return Finding{"modified", object,
                 fmt::format("content is not what package {} {} of the reference ships",
                             escaped(package.name), escaped(package.version))};
}

}  // namespace

CheckResult check_masters(const OpenedPool& pool, bool judge_links, RunContext& context) {
  CheckResult result;
  if (pool.store() == nullptr) return result;
  TypedVector<MasterNumber, uint64_t> names(pool.masters().size());
  for (const auto& name :
       find_names_of_masters(pool.guests(), pool.masters(), pool.options().state, context)) {
    if (!name.seen) continue;
    ++names[name.master];
    ++result.names;
  }
  std::mutex mutex;
  context.progress.start("check", "masters", pool.masters().size());
  tbb::parallel_for(size_t{0}, pool.masters().size(), [&](size_t i) {
    if (context.cancel.stop()) return;
    const MasterNumber master(i);
    auto findings = check_master(pool, pool.masters()[master], names[master], judge_links, context.cancel);
    if (context.cancel.stop()) return;  // it was not read to its end
    context.progress.add();
    const std::lock_guard guard(mutex);
    ++result.masters;
    result.findings.insert(result.findings.end(), findings.begin(), findings.end());
  });
  context.progress.finish();
  for (const auto& unknown : pool.masters().unknown())
    result.findings.push_back(
        {"content", unknown.name, "the index has no record of it; the next run adopts it"});
  sort_findings(result);
  return result;
}

CheckResult check_against(const OpenedPool& pool, GuestNumber reference, GuestNumber name,
                          RunContext& context) {
  CheckResult result;
  const GuestPackages packages = load_guest_packages(pool.guests(), std::nullopt, context);
  const PackageIndex& trusted = packages[reference];
  const PackageIndex& suspect = packages[name];
  if (trusted.empty())
    throw Error(fmt::format("the reference {} has no package database that could be read",
                            pool.guests()[reference].name));
  compare_versions(versions_of(trusted), versions_of(suspect), result);
  const Versions theirs = versions_of(suspect);
  ReferenceVisitor visitor(trusted);
  FileTable table;
  scan_trees(pool.guests().only(reference), visitor, table, context);
  std::mutex mutex;
  context.progress.start("compare", "files", table.rows().size());
  tbb::parallel_for(size_t{0}, table.rows().size(), [&](size_t i) {
    const FileRow& row = table.rows()[RowNumber(i)];
    const PackageFile& recorded = trusted.files()[row.tag];
    const Package& package = trusted.packages()[recorded.package];
    const auto version = theirs.find(package.name + ":" + package.arch);
    context.progress.add();
    if (version == theirs.end() || version->second != package.version ||
        recorded.algorithm == DigestAlgorithm::none)
      return;
    auto finding = compare_file(pool, pool.guests()[name], table.path(row), row, trusted, context.cancel);
    if (context.cancel.stop()) return;
    const std::lock_guard guard(mutex);
    ++result.files_compared;
    if (finding) result.findings.push_back(std::move(*finding));
  });
  context.progress.finish();
  sort_findings(result);
  return result;
}

}  // namespace vs::unify
