// Fuzzes all that reads the text of a dpkg database, and the index that is made of it.
//
// The input is the database's files one after the other, each ended by a line "%%": status, then list,
// md5sums and conffiles for each of its packages in turn, diversions, statoverride, an entry of updates/.
// Seeds: tests/testdata/fuzz/dpkg_reader/.
#include <cstdlib>
#include <filesystem>
#include <optional>

#include "core/tree/root_dir.h"
#include "unify/packages/dpkg_text.h"

namespace {

using namespace vs;
using namespace vs::unify;

// The part up to the next "%%" line, taken off `rest`.
std::string_view next_part(std::string_view& rest) {
  constexpr std::string_view kMark = "%%\n";
  const size_t at = rest.find(kMark);
  const std::string_view part = rest.substr(0, at);
  rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + kMark.size());
  return part;
}

// A guest with the places that seeds speak of, so that resolving has something to find.
class Guest {
 public:
  Guest() {
    if (::mkdtemp(top_.data()) == nullptr) std::abort();
    std::filesystem::create_directories(top_ + "/usr/bin");
    std::filesystem::create_directories(top_ + "/etc");
    std::filesystem::create_symlink("usr/bin", top_ + "/bin");
    std::filesystem::create_symlink("/", top_ + "/usr/up");
    root_.emplace(top_);
  }
  ~Guest() { std::filesystem::remove_all(top_); }
  const RootDir& root() const { return *root_; }

 private:
  std::string top_ = "/tmp/vs-fuzz-guest.XXXXXX";
  std::optional<RootDir> root_;
};

const RootDir& guest() {
  static const Guest made;
  return made.root();
}

void check(const PackageIndex& index, size_t added) {
  if (index.file_count() > added) std::abort();
  const PackageIndex::Dir dir = index.dir(guest().stat().ino);
  std::string_view last;
  for (const PackageFile& file : dir) {
    const std::string_view name = index.name(file);
    if (name.empty() || name.find('/') != std::string_view::npos || name <= last) std::abort();
    if (index.find(dir, name) != &file || file.package >= index.packages().size()) std::abort();
    if (index.digest(file).size() != digest_size(file.algorithm)) std::abort();
    last = name;
  }
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  std::string_view rest(reinterpret_cast<const char*>(data), size);
  std::vector<PackageTrouble> troubles;
  TroubleLog log(troubles);
  PackageIndexBuilder builder;
  const std::string_view status = next_part(rest);
  for (const DpkgPackage& package : parse_dpkg_status({"status", status}, DpkgStatusField::required, log)) {
    DpkgInfo info;
    info.list = {"list", next_part(rest)};
    info.md5sums = {"md5sums", next_part(rest)};
    info.conffiles = {"conffiles", next_part(rest)};
    info.has_list = !info.list.text.empty();
    record_dpkg_package(package, info, builder, log);
  }
  for (const std::string_view path : parse_dpkg_diversions({"diversions", next_part(rest)}, log))
    builder.add_flags(path, kDiverted);
  for (const std::string_view path : parse_dpkg_statoverride({"statoverride", next_part(rest)}, log))
    builder.add_flags(path, kOverridden);
  parse_dpkg_status({"updates/1", next_part(rest)}, DpkgStatusField::absent, log);
  if (troubles.size() > TroubleLog::kMaxInAll) std::abort();
  check(std::move(builder).build(guest(), "fuzz"), size);
  return 0;
}
