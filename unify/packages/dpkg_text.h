// The text files of dpkg's database, parsed where they lie in memory: every view is a part of the text given.
//
// What is malformed goes to the log with its line and is left out; the good entries remain. Nothing here
// opens anything, so tests and the fuzzer call it directly. Formats: deb822(5), dpkg-query(1),
// dpkg-divert(1), dpkg-statoverride(1), deb-conffiles(5), deb-md5sums(5).
#pragma once

#include <array>
#include <forward_list>
#include <string>
#include <string_view>
#include <vector>

#include "unify/packages/package_index.h"
#include "unify/packages/trouble_log.h"

namespace vs::unify {

// One file of the database: where it is (for messages) and what is in it.
struct DpkgText {
  std::string_view file;
  std::string_view text;
};

struct DpkgPackage {
  std::string_view name;
  std::string_view version;
  std::string_view arch;
  std::string_view source;       // without the "(version)"; empty where none is recorded
  bool has_files = false;        // some of its files may be in the tree: any state but not-installed
  bool normal = false;           // installed and configured, wanted or held
  bool multi_arch_same = false;  // its info files are called NAME:ARCH.*
  std::vector<std::string_view> conffiles;  // of its status entry; absolute
};

// The entries in status.d of distroless images have no Status field: all there is is installed.
enum class DpkgStatusField { required, absent };

// The entries of `status`; one without a usable name, architecture or status is left out.
std::vector<DpkgPackage> parse_dpkg_status(DpkgText status, DpkgStatusField field, TroubleLog& log);

// The paths of a .list, relative to the root. A directory whose content is listed right after it is left out
// (most are): only what can be a file matters.
std::vector<std::string_view> parse_dpkg_list(DpkgText list, TroubleLog& log);

struct DpkgDigest {
  std::string_view path;  // relative to the root; in the text, or in what was unescaped
  std::array<char, 16> md5{};
};
// As debhelper and md5sum(1) write them, and as vendors do: one blank or more, with '*', digits in capitals,
// "./" or "/" before the path, the end of a line as on DOS, no newline at the end of the file, and the names
// that md5sum escapes ("\" before the digest, then "\\" and "\n" in the name; unescaped into `unescaped`).
// A path that is cut off is the path of no file, or has a digest that does not fit: nothing is shared by it.
std::vector<DpkgDigest> parse_dpkg_md5sums(DpkgText md5sums, std::forward_list<std::string>& unescaped,
                                           TroubleLog& log);

// The paths of a .conffiles, without flags.
std::vector<std::string_view> parse_dpkg_conffiles(DpkgText conffiles, TroubleLog& log);

// All paths that a diversion concerns: where the file was to be and where it is instead.
std::vector<std::string_view> parse_dpkg_diversions(DpkgText diversions, TroubleLog& log);

std::vector<std::string_view> parse_dpkg_statoverride(DpkgText statoverride, TroubleLog& log);

// What dpkg recorded about one package's files; texts may be empty.
struct DpkgInfo {
  DpkgText list;
  DpkgText md5sums;
  DpkgText conffiles;
  // Files of a package with a list are those of the list: what is only in .md5sums was taken over by another
  // package since. A distroless image has no lists.
  bool has_list = true;
  // There is a .md5sums, whatever is in it: what has no digest there is not proved (kNoDigest). Without one
  // the package was made without digests.
  bool has_md5sums = false;
};
void record_dpkg_package(const DpkgPackage& package, const DpkgInfo& info, PackageIndexBuilder& builder,
                         TroubleLog& log);

}  // namespace vs::unify
