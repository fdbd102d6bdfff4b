#include "backup/prune.h"

#include <fcntl.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <unordered_set>

#include "core/escape.h"

namespace vs::backup {

void remove_archives(const ArchiveSet& set, std::vector<Archive> archives) {
  std::sort(archives.begin(), archives.end(), [](const Archive& a, const Archive& b) { return a.header.stamp > b.header.stamp; });
  for (const auto& archive : archives)
    for (const char* suffix : {".tar.zst", ".catalog"}) {
      const std::string name = archive.name + suffix;
      if (::unlinkat(set.fd(), name.c_str(), 0) != 0 && errno != ENOENT) throw Error(problem_from_errno("remove", set.path() + "/" + name).message);
    }
  if (::fsync(set.fd()) != 0) throw Error(problem_from_errno("fsync", set.path()).message);
}

std::vector<Archive> unused_pool_archives(const ArchiveSet& set) {
  if (!set.problems().empty()) throw Error("nothing was removed: " + set.problems().front());
  std::unordered_set<uint64_t> used;
  std::vector<Entry> entries;
  for (const auto& archive : set.archives()) {
    if (archive.header.kind == "pool") continue;
    const auto catalog = set.catalog(archive);
    if (!catalog) throw Error("nothing was removed: " + catalog.error().message);
    for (const auto& [guest, dirs] : catalog->dirs)
      for (const auto& [path, bytes] : dirs) {
        if (!decode_dir(bytes, entries)) throw Error("nothing was removed: a record of " + archive.name + " makes no sense");
        for (const auto& entry : entries)
          if (entry.pool != 0) used.insert(entry.pool);
      }
  }
  std::vector<Archive> unused;
  for (const auto& archive : set.archives()) {
    if (archive.header.kind != "pool") continue;
    const auto catalog = set.catalog(archive);
    if (!catalog) throw Error("nothing was removed: " + catalog.error().message);
    if (std::none_of(catalog->pool.begin(), catalog->pool.end(), [&](const auto& member) { return used.contains(member.first); })) unused.push_back(archive);
  }
  return unused;
}

}  // namespace vs::backup
