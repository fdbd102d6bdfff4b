#include "tests/unify/fixture.h"

#include <fcntl.h>

#include <algorithm>
#include <csignal>
#include <filesystem>
#include <stdexcept>

#include "core/store/inode_flags.h"

namespace vs::unit {

using namespace unify;

namespace {

// A row for each file that has a record, or for every file in scope all; what UnifyVisitor does, in short.
class PlainVisitor final : public ScanVisitor {
 public:
  explicit PlainVisitor(const Host& host) : host_(host) {}
  std::unique_ptr<DirectoryVisitor> enter(GuestNumber guest, std::string_view, const FileStat& dir) override {
    return std::make_unique<Directory>(host_, guest, dir.ino);
  }

 private:
  class Directory final : public DirectoryVisitor {
   public:
    Directory(const Host& host, GuestNumber guest, uint64_t ino)
        : host_(host), packages_(host.files.packages[guest]), owned_(packages_.dir(ino)) {}
    std::optional<uint32_t> wants(const DirEntry& entry) override {
      if (host_.masters.find(entry.ino)) return std::nullopt;
      if (host_.rules.scope == Scope::all) return kNoPackage;  // no test of the later passes has records then
      const PackageFile* file = packages_.find(owned_, entry.name);
      if (file == nullptr || refuse_record(*file)) return std::nullopt;
      return static_cast<uint32_t>(file - packages_.files().data());
    }
    bool keep(const DirEntry&, const FileStat& stat) override { return !refuse_stat(host_.rules, stat); }

   private:
    const Host& host_;
    const PackageIndex& packages_;
    const PackageIndex::Dir owned_;
  };
  const Host& host_;
};

std::vector<std::string> names_in(const std::string& dir) {
  std::vector<std::string> names;
  for (const auto& entry : std::filesystem::directory_iterator(dir)) names.push_back(entry.path().filename());
  std::sort(names.begin(), names.end());
  return names;
}

}  // namespace

std::string digest_of(DigestAlgorithm algorithm, std::string_view content) {
  Digester digester(algorithm);
  digester.update(content);
  return digester.finish();
}

Host::Host(const std::vector<std::string>& names) {
  std::signal(SIGIO, SIG_IGN);  // as install_signal_handlers() does: a broken lease must not end the test
  for (const auto& name : names) {
    make_dirs(path(name));
    guests.push_back({name, "--tree", RootDir(path(name))});
  }
  pool = find_pool(guests);
  store = Store::open(store_path(), pool, guests, true);
  index = std::make_unique<Index>(state(), false);
  rules.scope = Scope::all;
}

void Host::file(const std::string& guest, const std::string& name, std::string_view content,
                unsigned mode) const {
  write_file(path(guest, name), content, mode);
  set_mtime(path(guest, name), kMtime);
}

void Host::everywhere(const std::string& name, std::string_view content, unsigned mode) const {
  for (const auto& guest : guests) file(guest.name, name, content, mode);
}

void Host::link(const std::string& guest, const std::string& from, const std::string& to) const {
  make_dirs(std::filesystem::path(path(guest, to)).parent_path());
  std::filesystem::create_hard_link(path(guest, from), path(guest, to));
}

bool Host::shared(const std::string& name) const {
  return std::all_of(guests.begin(), guests.end(), [&](const Guest& guest) {
    return ino(guest.name, name) == ino(guests.front().name, name);
  });
}

void Host::record(const std::string& guest, Record record) {
  rules.scope = Scope::packages;
  records_[guest].push_back(std::move(record));
}

void Host::record(const std::string& guest, const std::string& name, std::string_view content,
                  DigestAlgorithm algorithm) {
  Record made;
  made.path = name;
  made.algorithm = algorithm;
  made.digest = digest_of(algorithm, content);
  record(guest, std::move(made));
}

void Host::scan() {
  files = {};
  for (GuestNumber i; i < guests.next_number(); ++i) {
    PackageIndexBuilder builder;
    for (const auto& one : records_[guests[i].name]) {
      const uint32_t package =
          builder.add_package({one.package, one.version, one.arch, one.package, PackageKind::dpkg});
      if (!builder.add_file(one.path, package, one.algorithm, one.digest, one.flags))
        throw std::runtime_error("test set-up: record " + one.path);
    }
    files.packages.push_back(std::move(builder).build(guests[i].root, "test"));
    files.devices.push_back(guests[i].root.stat().dev);
  }
  files.counts.resize(guests.size());
  for (GuestNumber i; i < guests.next_number(); ++i) scan_guest(i);
  files.table.sort();
}

void Host::scan_guest(GuestNumber number) {
  PlainVisitor visitor(*this);
  DirReader reader;
  std::vector<std::string> todo = {""};
  while (!todo.empty()) {
    const std::string dir = std::move(todo.back());
    todo.pop_back();
    DirListing listing = list_directory(guests[number], number, dir, visitor, reader);
    todo.insert(todo.end(), listing.subdirs.begin(), listing.subdirs.end());
    if (listing.rows.empty()) continue;
    const DirNumber at = files.table.add_dir(number, dir);
    for (const auto& [row, name] : listing.rows) files.table.add_row(row, at, name);
  }
}

void Host::find_candidates() {
  candidates = unify::find_candidates(files, rules, masters);
  files.add(candidates.counts);
}

VerifyInput Host::verify_input() const {
  return {guests, files.table, candidates, files.packages, files.devices, masters, store.get(), rules};
}

std::vector<GroupVerdict> Host::verify() {
  const VerifyInput input = verify_input();
  GroupVerifier verifier(input);
  std::vector<GroupVerdict> verdicts;
  for (const auto& group : candidates.groups) verdicts.push_back(verifier.verify(group));
  return verdicts;
}

void Host::make_plan(Index* learning, bool reflink) {
  MadePlan made = unify::make_plan(verify_input(), verify(), reflink, learning);
  files.add(made.counts);
  link_plan = std::move(made.plan);
}

void Host::plan() {
  scan();
  find_candidates();
  make_plan();
}

GroupWork Host::work(GroupNumber group, Linker& linker) {
  GroupWork work;
  work.group = group;
  work.begin = link_plan.groups[group].begin;
  work.end = link_plan.groups[group].end;
  work.first_staged = link_plan.duplicates[work.begin].begin.value;  // unique in the plan
  if (const auto& name = link_plan.groups[group].master) work.master_index = masters.find_name(*name);
  linker.prepare(work);
  if (work.ready && work.master.fresh) {
    ok_or_throw(store->sync());
    index->put_masters(store->id(), {work.master.record});
    work.master_index = masters.add(work.master.record);
  }
  return work;
}

void Host::unify() {
  plan();
  Linker linking = linker();
  for (GroupNumber group; group < link_plan.groups.next_number(); ++group) {
    GroupWork one = work(group, linking);
    linking.link(one);
    linking.settle(one);
  }
}

GroupNumber Host::group_of(const std::string& guest, const std::string& name) const {
  for (GroupNumber g; g < link_plan.groups.next_number(); ++g)
    for (DuplicateNumber v = link_plan.groups[g].begin; v < link_plan.groups[g].end; ++v)
      for (NameNumber n = link_plan.duplicates[v].begin; n < link_plan.duplicates[v].end; ++n) {
        const FileRow& row = files.table.rows()[link_plan.names[n]];
        if (guests[files.table.guest(row)].name == guest && files.table.path(row) == name) return g;
      }
  throw std::runtime_error("not in the plan: " + guest + ":" + name);
}

JournalRun Host::journal_run(const std::string& run) const {
  JournalRun journal{run, "run", store->path(), store->id(), {}};
  for (const auto& guest : guests) journal.trees.push_back({guest.name, guest.root.path()});
  return journal;
}

std::vector<std::string> Host::staging() const {
  return names_in(store_path() + "/staging");
}
std::vector<std::string> Host::lost() const {
  return names_in(store_path() + "/lost");
}

}  // namespace vs::unit
