#include "backup/restore/check.h"

#include <fmt/format.h>

#include <algorithm>
#include <charconv>
#include <map>
#include <random>

#include "backup/restore/archive_checker.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

// Goes through catalogs, entry by entry: what refers to something that is not there is found.
class CatalogCheck {
 public:
  explicit CatalogCheck(ArchiveChecker& checker) : checker_(checker) {}

  // Returns what the archive itself must hold. Those of a set's pool come before those that refer to them.
  Contents contents_of(const Catalog& catalog) {
    Contents contents;
    Members own;  // a single archive has the members that it refers to
    Members& members = catalog.header.kind == "single" ? own : members_;
    for (const auto& [number, entry] : catalog.pool) {
      members.emplace(number, member_mark(entry));  // where two archives have it a restore takes the first
      if (entry.type == 'f') contents[entry.offset] = {pool_path(number), entry.size, entry.content};
    }
    std::vector<Entry> entries;
    for (const auto& [guest, dirs] : catalog.dirs)
      for (const auto& [path, bytes] : dirs) {
        if (!decode_dir(bytes, entries)) {
          checker_.find("catalog", escaped(guest) + ":" + escaped(path), "its record makes no sense");
          continue;
        }
        for (size_t i = 1; i < entries.size(); ++i)
          entry(catalog.header, escaped(guest) + ":" + escaped(join_path(path, entries[i].name)), entries[i],
                members, contents);
      }
    return contents;
  }
  uint64_t references() const { return references_; }

 private:
  using Members = std::map<uint64_t, uint32_t>;  // number -> member_mark()

  // Where its bytes are: in the pool, in this archive, or in an earlier one of the chain.
  void entry(const CatalogHeader& header, const std::string& object, const Entry& entry,
             const Members& members, Contents& contents) {
    if (entry.pool != 0) {
      ++references_;
      const auto member = members.find(entry.pool);
      if (member == members.end())
        checker_.find("reference", object,
                      fmt::format("is pool member {}, which no pool archive has", entry.pool));
      else if (entry.member != 0 && entry.member != member->second)
        checker_.find("reference", object,
                      fmt::format("was stored as pool member {}, which is another file now", entry.pool));
    } else if (entry.type == 'f' && entry.archive == header.number) {
      contents[entry.offset] = {object, entry.size, entry.content};
    } else if (entry.type == 'f' && entry.archive > header.number) {
      checker_.find("reference", object,
                    fmt::format("is in archive {} of the chain of {}, which comes after this one",
                                entry.archive, header.chain));
    }
  }

  ArchiveChecker& checker_;
  uint64_t references_ = 0;
  Members members_;
};

class SetCheck {
 public:
  SetCheck(ArchiveSet& set, std::vector<Finding>& findings, RunContext& context)
      : set_(set), checker_(findings, context) {
    for (const auto& problem : set.problems()) checker_.find("catalog", set.path(), problem);
  }

  // `read`: its bytes too.
  void archive(const Archive& archive, bool read) {
    ++counts_.archives;
    const auto catalog = set_.catalog(archive);
    if (!catalog) return checker_.find("catalog", archive.name, catalog.error().message);
    const auto file = set_.open(archive.name);
    if (!file) return checker_.find("missing", archive.name, file.error().message);
    compare_catalogs(archive, **file);
    const Contents contents = catalogs_.contents_of(*catalog);
    const bool in_chain = archive.header.kind == "inc" || archive.header.kind == "full";
    if (in_chain) check_chain(archive, *catalog);
    if (!read) return;
    ++counts_.archives_read;
    checker_.archive(**file, *file, contents);
  }

  CheckCounts counts() const {
    CheckCounts counts = checker_.counts();
    counts.archives = counts_.archives;
    counts.archives_read = counts_.archives_read;
    counts.references = catalogs_.references();
    return counts;
  }

 private:
  // Each archive before it is there, and is the one that it was made from: else this state cannot be
  // restored.
  void check_chain(const Archive& archive, const Catalog& catalog) {
    digests_[archive.name] = hex(catalog.digest);
    const auto chain = set_.chain_to(archive);
    if (!chain)
      return checker_.find("reference", archive.name,
                           chain.error().message + "; this state cannot be restored");
    if (chain->size() < 2 || archive.header.previous_digest.empty()) return;
    const Archive& before = (*chain)[chain->size() - 2];
    auto& digest = digests_[before.name];
    if (digest.empty())
      if (const auto read = set_.catalog(before)) digest = hex(read->digest);
    if (digest != archive.header.previous_digest)
      checker_.find("reference", archive.name,
                    before.name +
                        " is not the archive that this one was made from; this state cannot be "
                        "restored");
  }

  // The one within the archive and the one beside it.
  void compare_catalogs(const Archive& archive, const FramedFile& file) {
    const auto payload = file.payload();
    if (!payload || payload->empty())
      checker_.find("catalog", archive.name, file.path() + ": the catalog within is lost");
    else if (const auto within = parse_catalog(*payload, file.path() + " (catalog within)"); !within)
      checker_.find("catalog", archive.name, within.error().message);
    const auto beside = set_.catalog_beside(archive);
    if (!beside)
      checker_.find("catalog", archive.name, beside.error().message);
    else if (payload && *beside != *payload)
      checker_.find(
          "catalog", archive.name,
          set_.path() + "/" + archive.name + ".catalog: is not the catalog that its archive has within");
  }

  ArchiveSet& set_;
  ArchiveChecker checker_;
  CheckCounts counts_;
  CatalogCheck catalogs_{checker_};
  std::map<std::string, std::string> digests_;  // archive -> Catalog::digest, in hex
};

}  // namespace

DataPart::DataPart(const std::string& text) {
  const auto number = [](std::string_view digits) {
    uint64_t value = 0;
    const auto [end, error] = std::from_chars(digits.data(), digits.data() + digits.size(), value);
    return error == std::errc{} && end == digits.data() + digits.size() ? value : 0;
  };
  const size_t slash = text.find('/');
  if (text.ends_with('%')) {
    percent_ = number(std::string_view(text).substr(0, text.size() - 1));
    if (*percent_ >= 1 && *percent_ <= 100) return;
  } else if (slash != std::string::npos) {
    part_ = number(std::string_view(text).substr(0, slash));
    parts_ = number(std::string_view(text).substr(slash + 1));
    if (part_ >= 1 && part_ <= parts_) return;
  }
  throw Error("'" + escaped(text) + "': expected a part such as 2/7 or 10%", Exit::usage);
}

std::set<std::string> DataPart::choose(const std::vector<Archive>& archives) const {
  std::set<std::string> chosen;
  if (!percent_) {
    for (size_t i = part_ - 1; i < archives.size(); i += parts_) chosen.insert(archives[i].name);
    return chosen;
  }
  std::vector<const Archive*> order;
  uint64_t wanted = 0;
  for (const auto& archive : archives) {
    order.push_back(&archive);
    wanted += archive.size;
  }
  wanted = wanted / 100 * *percent_;
  std::shuffle(order.begin(), order.end(), std::mt19937_64(std::random_device{}()));
  uint64_t bytes = 0;
  for (const Archive* archive : order) {
    if (bytes >= wanted && !chosen.empty()) break;
    chosen.insert(archive->name);
    bytes += archive->size;
  }
  return chosen;
}

CheckCounts check_set(ArchiveSet& set, const std::vector<std::string>& guests, const DataPart& data,
                      std::vector<Finding>& findings, RunContext& context) {
  SetCheck check(set, findings, context);
  std::vector<Archive> order = set.archives();
  std::erase_if(order, [&](const Archive& archive) {
    return archive.header.kind != "pool" && !guests.empty() &&
           std::find(guests.begin(), guests.end(), archive.header.guest) == guests.end();
  });
  const std::set<std::string> read = data.choose(order);
  context.progress.start("checking", "files", 0);
  // The pool first: it says which references lead somewhere.
  std::stable_partition(order.begin(), order.end(),
                        [](const Archive& archive) { return archive.header.kind == "pool"; });
  for (const auto& archive : order)
    if (!context.cancel.stop()) check.archive(archive, read.contains(archive.name));
  context.progress.finish();
  return check.counts();
}

CheckCounts check_single(StoredBackups& backups, std::vector<Finding>& findings, RunContext& context) {
  ArchiveChecker checker(findings, context);
  CatalogCheck catalogs(checker);
  const auto [catalog, file] = backups.single();
  const Contents contents = catalogs.contents_of(*catalog);
  context.progress.start("checking", "files", 0);
  checker.archive(*file, file, contents);
  context.progress.finish();
  CheckCounts counts = checker.counts();
  counts.archives = counts.archives_read = 1;
  counts.references = catalogs.references();
  return counts;
}

}  // namespace vs::backup
