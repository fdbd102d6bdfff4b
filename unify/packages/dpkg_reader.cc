#include "unify/packages/dpkg_reader.h"

#include <fmt/format.h>

#include <algorithm>
#include <unordered_set>

#include "core/seeded_hash.h"
#include "unify/packages/database_file.h"
#include "unify/packages/dpkg_text.h"

namespace vs::unify {
namespace {

constexpr size_t kMaxUpdates = 1000;  // dpkg folds updates/ into status after 250
constexpr uint64_t kMaxInfoBytes = 512ull
                                   << 20;   // of all lists: many names may be one inode, read again and again
constexpr size_t kMaxStatusFiles = 20'000;  // status.d of a distroless image: one a package

// The files of var/lib/dpkg/info, into buffers that are kept from package to package.
class InfoReader {
 public:
  InfoReader(const DatabaseDir& info, PackageIndexBuilder& builder, TroubleLog& log)
      : info_(info), builder_(builder), log_(log) {}
  void read(const DpkgPackage& package);
  bool exhausted() const { return bytes_left_ == 0; }

 private:
  struct File {
    std::string path;
    std::string buffer;
  };
  bool read(const std::string& stem, std::string_view ending, File& file, DpkgText& text);

  const DatabaseDir& info_;
  PackageIndexBuilder& builder_;
  TroubleLog& log_;
  File list_, md5sums_, conffiles_;
  std::unordered_set<std::string, SeededHash> seen_;
  uint64_t bytes_left_ = kMaxInfoBytes;
};

void InfoReader::read(const DpkgPackage& package) {
  // Packages of which several architectures can be installed have the architecture in the name; databases
  // older than multi-arch do not.
  std::string stem(package.name), other = stem + ":" + std::string(package.arch);
  if (!seen_.insert(other).second) {
    log_.add(info_.file_path(other), "expected one status entry for a package, found several");
    return;
  }
  if (package.multi_arch_same) std::swap(stem, other);
  DpkgInfo info;
  if (!read(stem, ".list", list_, info.list)) {
    std::swap(stem, other);
    if (!read(stem, ".list", list_, info.list)) {
      if (package.normal)
        log_.add(info_.file_path(other + ".list"), "expected the list of the package's files, found none");
      return;
    }
  }
  info.has_md5sums =
      read(stem, ".md5sums", md5sums_, info.md5sums) || info_.has(stem + ".md5sums");  // unusable ones too
  read(stem, ".conffiles", conffiles_, info.conffiles);
  record_dpkg_package(package, info, builder_, log_);
}

bool InfoReader::read(const std::string& stem, std::string_view ending, File& file, DpkgText& text) {
  const std::string name = stem + std::string(ending);
  const auto content = info_.read(name, file.buffer, log_);
  if (!content) return false;
  bytes_left_ -= std::min<uint64_t>(bytes_left_, content->size());
  file.path = info_.file_path(name);
  text = {file.path, *content};
  return true;
}

using Names = std::unordered_set<std::string, SeededHash>;

// Names of packages that a dpkg at work (or one that was interrupted) has pending changes for.
Names read_updates(const RootDir& root, TroubleLog& log) {
  Names pending;
  const auto dir = DatabaseDir::open(root, "var/lib/dpkg/updates", log);
  if (!dir) return pending;
  std::string buffer;
  for (const std::string& name : dir->names(kMaxUpdates, log)) {
    if (name.find_first_not_of("0123456789") != std::string::npos) continue;  // dpkg's "tmp.i"
    const auto text = dir->read(name, buffer, log);
    if (!text) continue;
    const std::string path = dir->file_path(name);
    for (const DpkgPackage& package : parse_dpkg_status({path, *text}, DpkgStatusField::required, log))
      pending.emplace(package.name);
  }
  return pending;
}

// False when there is no usable status file. One that is there and is not usable makes the index unknown.
bool read_status(const RootDir& root, const DatabaseDir& dpkg, PackageIndexBuilder& builder,
                 TroubleLog& log) {
  std::string buffer;
  const size_t troubles = log.count();
  const auto text = dpkg.read("status", buffer, log);
  if (!text) {
    if (log.count() != troubles) builder.mark_unknown();
    return false;
  }
  const std::string path = dpkg.file_path("status");
  auto packages = parse_dpkg_status({path, *text}, DpkgStatusField::required, log);
  if (packages.empty() && log.count() != troubles) {
    builder.mark_unknown();
    return false;
  }
  const auto info = DatabaseDir::open(root, "var/lib/dpkg/info", log);
  if (!info) {
    if (packages.empty()) return true;  // nothing was ever installed
    log.add(path, "expected the lists of the packages' files in var/lib/dpkg/info, found no such directory");
    builder.mark_unknown();
    return false;
  }
  const auto pending = read_updates(root, log);
  InfoReader reader(*info, builder, log);
  for (DpkgPackage& package : packages) {
    if (!pending.empty() && pending.contains(std::string(package.name))) package.normal = false;
    reader.read(package);
    if (reader.exhausted()) {
      log.add(info->path(),
              fmt::format("expected at most {} bytes of lists; the rest is not read", kMaxInfoBytes));
      break;
    }
  }
  return true;
}

// Distroless images: status.d/NAME is the entry, status.d/NAME.md5sums the files.
bool read_status_d(const RootDir& root, PackageIndexBuilder& builder, TroubleLog& log) {
  const auto dir = DatabaseDir::open(root, "var/lib/dpkg/status.d", log);
  if (!dir) return false;
  std::string entry_buffer, md5sums_buffer;
  for (const std::string& name : dir->names(kMaxStatusFiles, log)) {
    if (name.ends_with(".md5sums")) continue;
    const auto text = dir->read(name, entry_buffer, log);
    if (!text) continue;
    const std::string path = dir->file_path(name), md5sums_path = path + ".md5sums";
    const auto packages = parse_dpkg_status({path, *text}, DpkgStatusField::absent, log);
    if (packages.size() != 1) {
      log.add(path, "expected the entry of one package");
      continue;
    }
    DpkgInfo info;
    info.has_list = false;
    if (const auto md5sums = dir->read(name + ".md5sums", md5sums_buffer, log))
      info.md5sums = {md5sums_path, *md5sums};
    record_dpkg_package(packages[0], info, builder, log);
  }
  return true;
}

void flag_paths(const std::vector<std::string_view>& paths, DpkgText text, uint8_t flag,
                PackageIndexBuilder& builder, TroubleLog& log) {
  for (const std::string_view path : paths)
    if (!builder.add_flags(path, flag))
      log.add_line(text.file, text.text, path, "a path below the root, without \"..\"");
}

}  // namespace

bool read_dpkg(const RootDir& root, PackageIndexBuilder& builder, TroubleLog& log) {
  const auto dpkg = DatabaseDir::open(root, "var/lib/dpkg", log);
  if (!dpkg) return false;
  const bool status = read_status(root, *dpkg, builder, log);
  const bool status_d = read_status_d(root, builder, log);
  if (!status && !status_d) return false;

  std::string buffer;
  if (const auto text = dpkg->read("diversions", buffer, log)) {
    const std::string path = dpkg->file_path("diversions");
    const DpkgText diversions{path, *text};
    flag_paths(parse_dpkg_diversions(diversions, log), diversions, kDiverted, builder, log);
  }
  if (const auto text = dpkg->read("statoverride", buffer, log)) {
    const std::string path = dpkg->file_path("statoverride");
    const DpkgText statoverride{path, *text};
    flag_paths(parse_dpkg_statoverride(statoverride, log), statoverride, kOverridden, builder, log);
  }
  return true;
}

}  // namespace vs::unify
