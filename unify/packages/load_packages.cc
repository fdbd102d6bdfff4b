#include "unify/packages/load_packages.h"

#include <fcntl.h>
#include <fmt/format.h>

#include "unify/packages/dpkg_reader.h"
#include "unify/packages/recorded_dirs.h"
#include "unify/packages/rpm_reader.h"

namespace vs::unify {

namespace {

// Package managers that we know to be there and cannot read: said in `status`, or an administrator wonders
// why nothing of that guest is shared.
std::string unread_databases(const RootDir& root) {
  std::string found;
  for (const auto& [name, place] :
       {std::pair("apk", "lib/apk/db/installed"), std::pair("pacman", "var/lib/pacman/local")})
    if (root.open_in_root(place, O_PATH)) found += (found.empty() ? "" : ", ") + std::string(name);
  return found.empty() ? "none" : "none (" + found + ": not read by this version)";
}

}  // namespace

PackageIndex load_packages(const RootDir& root, const std::optional<std::string>& cache_dir,
                           std::vector<PackageTrouble>& troubles) {
  TroubleLog log(troubles);
  PackageIndexBuilder builder;
  std::string source;
  if (read_dpkg(root, builder, log)) source = "dpkg";
  RpmOptions options;
  options.cache_dir = cache_dir;
  if (cache_dir) options.work_dir = *cache_dir;
  if (const std::string backends = read_rpm(root, options, builder, log); !backends.empty())
    source += (source.empty() ? "rpm (" : " + rpm (") + backends + ")";
  if (source.empty()) source = unread_databases(root);
  PackageIndex index = std::move(builder).build(root, std::move(source));
  if (index.too_many_links())
    log.add(index.source(),
            fmt::format("it names directories through more than {} symbolic links; nothing of what it "
                        "says is used",
                        RecordedDirs::kMaxLinks));
  return index;
}

}  // namespace vs::unify
