#include "backup/prune.h"

#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <map>
#include <unordered_set>

#include "backup/archive/archive_reader.h"
#include "backup/archive/archive_writer.h"
#include "backup/archive/entry_bytes.h"
#include "backup/pipeline.h"

namespace vs::backup {

void remove_archives(const ArchiveSet& set, std::vector<Archive> archives) {
  std::sort(archives.begin(), archives.end(),
            [](const Archive& a, const Archive& b) { return a.header.stamp > b.header.stamp; });
  for (const auto& archive : archives)
    for (const char* suffix : {".tar.zst", ".catalog"}) {
      const std::string name = archive.name + suffix;
      if (::unlinkat(set.fd(), name.c_str(), 0) != 0 && errno != ENOENT)
        throw Error(problem_from_errno("remove", set.path() + "/" + name).message);
    }
  if (::fsync(set.fd()) != 0) throw Error(problem_from_errno("fsync", set.path()).message);
}

namespace {

// Numbers of the members that a catalog refers to.
std::unordered_set<uint64_t> used_members(const ArchiveSet& set) {
  std::unordered_set<uint64_t> used;
  std::vector<Entry> entries;
  for (const auto& archive : set.archives()) {
    if (archive.header.kind == "pool") continue;
    const auto catalog = set.catalog(archive);
    if (!catalog) throw Error("nothing was removed: " + catalog.error().message);
    for (const auto& [guest, dirs] : catalog->dirs)
      for (const auto& [path, bytes] : dirs) {
        if (!decode_dir(bytes, entries))
          throw Error("nothing was removed: a record of " + archive.name + " makes no sense");
        for (const auto& entry : entries)
          if (entry.pool != 0) used.insert(entry.pool);
      }
  }
  return used;
}

std::vector<Archive> pool_archives(const ArchiveSet& set) {
  std::vector<Archive> pools;
  for (const auto& archive : set.archives())
    if (archive.header.kind == "pool") pools.push_back(archive);
  std::sort(pools.begin(), pools.end(),
            [](const Archive& a, const Archive& b) { return a.header.number > b.header.number; });
  return pools;
}

// What is not finished leaves nothing behind, and the archive stays as it is.
void stop_if_asked(const Cancel& cancel) {
  if (cancel.stop()) throw Error("interrupted", Exit::interrupted);
}

// From the start to the end offset of each entry that is still needed. Such entries are copied unchanged.
std::map<uint64_t, uint64_t> ends_of(const std::shared_ptr<FramedFile>& file,
                                     const std::map<uint64_t, Entry>& wanted, const Cancel& cancel) {
  std::map<uint64_t, uint64_t> ends;
  EntryStream stream(file, 0);
  uint64_t open = 0;
  bool is_open = false;
  for (;;) {
    stop_if_asked(cancel);
    const auto entry = value_or_throw(stream.next());
    // The end: two empty blocks stand behind the last one.
    if (is_open) ends[open] = entry ? entry->offset : file->content_size() - 1024;
    if (!entry) break;
    const auto it = wanted.find(entry->offset);
    is_open = it != wanted.end();
    if (!is_open) continue;
    open = entry->offset;
    if (it->second.type != 'f') continue;
    const auto look = [&](const EntryStream::Data&) -> Result {
      stop_if_asked(cancel);
      return Ok{};
    };
    if (value_or_throw(read_bytes(stream, it->second.size, file->path(), look)) != it->second.content)
      throw Error(file->path() + ": a member is not what it was (digest differs)");
  }
  if (ends.size() != wanted.size()) throw Error(file->path() + ": members are missing");
  return ends;
}

// The bytes from `begin` to `end` of what it unpacks to; `frame` and `bytes` hold the one unpacked last.
void append_range(const FramedFile& file, uint64_t begin, uint64_t end, size_t& frame, std::string& bytes,
                  std::string& out) {
  while (begin < end) {
    const size_t at = file.frame_of(begin);
    if (at >= file.frames().size()) throw Error(file.path() + ": the part that holds it is lost");
    if (at != frame || bytes.empty()) {
      bytes = value_or_throw(file.unpack(at));
      frame = at;
    }
    const uint64_t first = file.frames()[at].offset;
    const uint64_t take = std::min(end, first + bytes.size()) - begin;
    out.append(bytes, begin - first, take);
    begin += take;
  }
}

// The archive without what is dead, under a new number. Nothing has appeared if it throws.
void write_again(const ArchiveSet& set, const Archive& archive, uint32_t number,
                 const std::unordered_set<uint64_t>& used, const Cancel& cancel) {
  constexpr int kLevel = 3;
  const Catalog old = value_or_throw(set.catalog(archive));
  const auto file = value_or_throw(set.open(archive.name));
  if (!file->damage().empty()) throw Error(file->path() + ": " + file->damage());
  std::map<uint64_t, Entry> wanted;  // by offset
  std::map<uint64_t, uint64_t> number_at;
  for (const auto& [member, entry] : old.pool) {
    if (!used.contains(member)) continue;
    wanted[entry.offset] = entry;
    number_at[entry.offset] = member;
  }
  const auto ends = ends_of(file, wanted, cancel);
  Catalog catalog;
  catalog.header = old.header;
  catalog.header.number = number;
  catalog.header.bytes = 0;
  ArchiveWriter writer(set.fd(), set.path(), archive_name(catalog.header) + ".tar.zst", "prune", true);
  Compressor compressor(kLevel);
  std::string block, bytes;
  size_t frame = 0;
  uint64_t offset = 0;
  const auto flush = [&] {
    if (!block.empty()) writer.add(compressor.frame(block), block.size());
    block.clear();
  };
  for (const auto& [begin, end] : ends) {
    Entry entry = wanted.at(begin);
    entry.archive = number;
    entry.offset = offset;
    catalog.header.bytes += entry.size;
    catalog.pool[number_at.at(begin)] = entry;
    // A large member takes several blocks.
    for (uint64_t at = begin; at < end;) {
      stop_if_asked(cancel);
      const uint64_t take = std::min(end - at, kPiece);
      append_range(*file, at, at + take, frame, bytes, block);
      at += take;
      if (block.size() >= kBlockBytes) flush();
    }
    offset += end - begin;
  }
  flush();
  catalog.header.names = catalog.pool.size();
  catalog.header.first_pool = catalog.pool.begin()->first;
  catalog.header.last_pool = catalog.pool.rbegin()->first;
  ok_or_throw(writer.finish(catalog));
}

}  // namespace

PrunePlan plan_prune(const ArchiveSet& set, uint64_t most_dead) {
  if (!set.problems().empty()) throw Error("nothing was removed: " + set.problems().front());
  const auto used = used_members(set);
  PrunePlan plan;
  std::unordered_set<uint64_t> newer;  // used members that a pool archive of a larger number has
  for (const auto& archive : pool_archives(set)) {
    const auto catalog = set.catalog(archive);
    if (!catalog) throw Error("nothing was removed: " + catalog.error().message);
    uint64_t all = 0, alive = 0;
    bool needed = false;
    for (const auto& [member, entry] : catalog->pool) {
      const uint64_t bytes = entry.size + 512;
      all += bytes;
      if (!used.contains(member) || newer.contains(member)) continue;
      needed = true;
      alive += bytes;
      newer.insert(member);
    }
    if (!needed)
      plan.unused.push_back(archive);
    else if ((all - alive) * 100 > all * most_dead)
      plan.sparse.push_back(archive);
  }
  return plan;
}

PruneCounts prune_pool(ArchiveSet& set, const PrunePlan& plan, RunContext& context) {
  PruneCounts counts;
  ok_or_throw(set.use_numbers(set.next_numbers()));  // of what goes now, too
  for (const auto& archive : plan.unused) counts.bytes_freed += archive.size;
  remove_archives(set, plan.unused);
  counts.removed = plan.unused.size();
  const auto used = used_members(set);
  for (const auto& archive : plan.sparse) {
    if (context.cancel.stop()) break;
    const auto next = set.next_numbers();
    const uint32_t number = next.pool;
    try {
      ok_or_throw(set.use_numbers({number + 1, next.member}));
      write_again(set, archive, number, used, context.cancel);
    } catch (const Error& error) {
      if (error.code() == Exit::interrupted) break;
      context.log.object_failed(archive.name + " stays as it is: " + error.what());
      continue;
    }
    remove_archives(set, {archive});
    set.reload();
    ++counts.rewritten;
    for (const auto& now : set.archives())
      if (now.header.kind == "pool" && now.header.number == number && now.size < archive.size)
        counts.bytes_freed += archive.size - now.size;
  }
  return counts;
}

}  // namespace vs::backup
