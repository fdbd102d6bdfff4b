#include "unify/packages/dpkg_text.h"

#include <algorithm>

#include "unify/packages/hex_digest.h"

namespace vs::unify {
namespace {

// All of Debian has 70,000.
constexpr size_t kMaxPackages = 200'000;

// Takes the next line, without its end, off `rest`. The last line may lack its newline; whether that is right
// is the caller's business.
bool next_line(std::string_view& rest, std::string_view& line) {
  if (rest.empty()) return false;
  const size_t end = std::min(rest.find('\n'), rest.size());
  line = rest.substr(0, end);
  rest.remove_prefix(std::min(end + 1, rest.size()));
  return true;
}

bool is_blank(char c) {
  return c == ' ' || c == '\t';
}

std::string_view trimmed(std::string_view text) {
  while (!text.empty() && is_blank(text.front())) text.remove_prefix(1);
  while (!text.empty() && (is_blank(text.back()) || text.back() == '\r')) text.remove_suffix(1);
  return text;
}

// Takes the next word off `rest`; empty at the end.
std::string_view next_word(std::string_view& rest) {
  rest = trimmed(rest);
  const size_t end = std::min(rest.find_first_of(" \t"), rest.size());
  const std::string_view word = rest.substr(0, end);
  rest.remove_prefix(end);
  return word;
}

// A truncated file ends within a line: dpkg writes each with its newline. That last line is not to be
// believed.
std::string_view whole_lines(DpkgText text, TroubleLog& log) {
  if (text.text.empty() || text.text.back() == '\n') return text.text;
  const size_t start = text.text.rfind('\n') + 1;  // npos + 1 is 0
  log.add_line(text.file, text.text, text.text.substr(start),
               "a newline at the end of the file (truncated?)");
  return text.text.substr(0, start);
}

// "./usr/bin/x" and "/usr/bin/x" are "usr/bin/x", so that list and digests can be compared.
std::string_view relative(std::string_view path) {
  for (;;) {
    if (path.starts_with('/'))
      path.remove_prefix(1);
    else if (path.starts_with("./"))
      path.remove_prefix(2);
    else
      return path;
  }
}

// Names and architectures become file names, so only what dpkg itself allows (deb-control(5)).
bool is_package_word(std::string_view word) {
  const auto allowed = [](char c) {
    return (c >= 'a' && c <= 'z') || (c >= '0' && c <= '9') || (c >= 'A' && c <= 'Z') || c == '+' ||
           c == '-' || c == '.';
  };
  return !word.empty() && word.size() <= 200 && word.front() != '.' &&
         std::all_of(word.begin(), word.end(), allowed);
}

// One line of a stanza, into the package. Fields we do not know are none of our business.
struct StatusEntry {
  DpkgPackage package;
  std::string_view status;
  std::string_view first_line;
  bool in_conffiles = false;

  void take_field(std::string_view name, std::string_view value);
};

void StatusEntry::take_field(std::string_view name, std::string_view value) {
  in_conffiles = name == "Conffiles";
  if (name == "Package") package.name = value;
  if (name == "Status") status = value;
  if (name == "Version") package.version = value;
  if (name == "Architecture") package.arch = value;
  if (name == "Multi-Arch") package.multi_arch_same = value == "same";
  if (name == "Source") package.source = next_word(value);
}

// "install ok installed": what is wanted, whether an error is flagged, how far it got.
bool take_status(std::string_view status, DpkgPackage& package) {
  const std::string_view want = next_word(status), flag = next_word(status), state = next_word(status);
  if (state.empty() || !trimmed(status).empty()) return false;
  package.normal = (want == "install" || want == "hold") && flag == "ok" && state == "installed";
  package.has_files = state != "not-installed";
  return true;
}

void finish_entry(StatusEntry& entry, DpkgText text, DpkgStatusField field,
                  std::vector<DpkgPackage>& packages, TroubleLog& log) {
  if (entry.first_line.data() == nullptr) return;
  DpkgPackage& package = entry.package;
  const auto wrong = [&](std::string_view expected) {
    log.add_line(text.file, text.text, entry.first_line, expected);
  };
  if (!is_package_word(package.name)) return wrong("an entry with a Package field that is a package name");
  if (field == DpkgStatusField::absent)
    package.has_files = package.normal = true;
  else if (!take_status(entry.status, package))
    return wrong("an entry with a Status field of three words");
  if (!package.has_files) return;
  if (!is_package_word(package.arch)) return wrong("an entry with an Architecture field");
  if (packages.size() >= kMaxPackages) return wrong("fewer packages");
  packages.push_back(std::move(package));
}

// " /etc/issue 1b6b... obsolete": the path may hold blanks, the digest and the flags do not.
std::string_view conffile_path(std::string_view line) {
  std::string_view path = trimmed(line);
  for (;;) {
    const size_t blank = path.find_last_of(" \t");
    if (blank == std::string_view::npos) return {};
    const std::string_view word = path.substr(blank + 1);
    path = trimmed(path.substr(0, blank));
    if (word != "obsolete" && word != "remove-on-upgrade")
      return path.starts_with('/') ? path : std::string_view();
  }
}

}  // namespace

std::vector<DpkgPackage> parse_dpkg_status(DpkgText status, DpkgStatusField field, TroubleLog& log) {
  std::vector<DpkgPackage> packages;
  StatusEntry entry;
  const bool whole = field == DpkgStatusField::absent || status.text.ends_with('\n');
  std::string_view rest = field == DpkgStatusField::required ? whole_lines(status, log) : status.text, line;
  while (next_line(rest, line)) {
    if (trimmed(line).empty()) {
      finish_entry(entry, status, field, packages, log);
      entry = {};
      continue;
    }
    if (entry.first_line.data() == nullptr) entry.first_line = line;
    if (is_blank(line.front())) {
      if (!entry.in_conffiles) continue;
      if (const auto path = conffile_path(line); !path.empty())
        entry.package.conffiles.push_back(path);
      else
        log.add_line(status.file, status.text, line, "a configuration file and its digest");
      continue;
    }
    const size_t colon = line.find(':');
    if (colon == std::string_view::npos || colon == 0)
      log.add_line(status.file, status.text, line, "\"Field: value\"");
    else
      entry.take_field(line.substr(0, colon), trimmed(line.substr(colon + 1)));
  }
  // Of an entry that is cut off, the fields that say "do not share" may be what is missing.
  if (whole) finish_entry(entry, status, field, packages, log);
  return packages;
}

std::vector<std::string_view> parse_dpkg_list(DpkgText list, TroubleLog& log) {
  std::vector<std::string_view> paths;
  std::string_view rest = whole_lines(list, log), line;
  while (next_line(rest, line)) {
    if (line == "/." || line == "/") continue;
    if (!line.starts_with('/')) {
      log.add_line(list.file, list.text, line, "an absolute path");
      continue;
    }
    const std::string_view path = relative(line);
    if (!paths.empty() && path.size() > paths.back().size() && path[paths.back().size()] == '/' &&
        path.starts_with(paths.back()))
      paths.pop_back();
    paths.push_back(path);
  }
  return paths;
}

namespace {

// What md5sum(1) makes of a name with a backslash or the end of a line in it.
std::string unescaped_name(std::string_view name) {
  std::string plain;
  for (size_t i = 0; i < name.size(); ++i) {
    const char next = name[i] == '\\' && i + 1 < name.size() ? name[i + 1] : '\0';
    if (next == '\\' || next == 'n' || next == 'r') {
      plain += next == 'n' ? '\n' : next == 'r' ? '\r' : '\\';
      ++i;
    } else {
      plain += name[i];
    }
  }
  return plain;
}

bool take_digest(std::string_view line, std::forward_list<std::string>& unescaped, DpkgDigest& digest) {
  constexpr size_t kDigits = 32;
  const bool with_escapes = line.starts_with('\\');
  if (with_escapes) line.remove_prefix(1);
  if (line.size() <= kDigits || !is_blank(line[kDigits]) ||
      !hex_to_bytes(line.substr(0, kDigits), digest.md5.data()))
    return false;
  std::string_view path = line.substr(kDigits);
  while (!path.empty() && is_blank(path.front())) path.remove_prefix(1);
  if (path.starts_with('*'))
    path.remove_prefix(1);  // read as binary, for systems where that is another thing
  if (with_escapes) path = unescaped.emplace_front(unescaped_name(path));
  digest.path = relative(path);
  return !digest.path.empty();
}

}  // namespace

std::vector<DpkgDigest> parse_dpkg_md5sums(DpkgText md5sums, std::forward_list<std::string>& unescaped,
                                           TroubleLog& log) {
  std::vector<DpkgDigest> digests;
  digests.reserve(md5sums.text.size() / 80);
  std::string_view rest = md5sums.text, line;
  while (next_line(rest, line)) {
    if (line.ends_with('\r')) line.remove_suffix(1);
    DpkgDigest digest;
    if (take_digest(line, unescaped, digest))
      digests.push_back(digest);
    else if (!line.empty())
      log.add_line(md5sums.file, md5sums.text, line, "an MD5 digest, a blank or two and a path");
  }
  return digests;
}

std::vector<std::string_view> parse_dpkg_conffiles(DpkgText conffiles, TroubleLog& log) {
  constexpr std::string_view kFlag = "remove-on-upgrade ";
  std::vector<std::string_view> paths;
  std::string_view rest = conffiles.text,
                   line;  // packagers write this one: a last line without newline is common
  while (next_line(rest, line)) {
    line = trimmed(line);
    if (line.empty()) continue;
    const bool flagged = line.starts_with(kFlag);
    const std::string_view path = flagged ? trimmed(line.substr(kFlag.size())) : line;
    if (path.starts_with('/'))
      paths.push_back(path);
    else
      log.add_line(conffiles.file, conffiles.text, line, "an absolute path");
  }
  return paths;
}

std::vector<std::string_view> parse_dpkg_diversions(DpkgText diversions, TroubleLog& log) {
  std::vector<std::string_view> paths;
  std::string_view rest = whole_lines(diversions, log), from, to, package;
  while (next_line(rest, from)) {
    if (!next_line(rest, to) || !next_line(rest, package)) {
      log.add_line(diversions.file, diversions.text, from, "three lines: path, diverted path, package");
      break;
    }
    if (!from.starts_with('/') || !to.starts_with('/') || package.empty()) {
      // The lines may be out of step from here on, so nothing further says what it seems to.
      log.add_line(diversions.file, diversions.text, from, "two absolute paths and a package, a line each");
      break;
    }
    paths.push_back(from);
    paths.push_back(to);
  }
  return paths;
}

std::vector<std::string_view> parse_dpkg_statoverride(DpkgText statoverride, TroubleLog& log) {
  std::vector<std::string_view> paths;
  std::string_view rest = whole_lines(statoverride, log), line;
  while (next_line(rest, line)) {
    std::string_view path = line;
    const auto user = next_word(path), group = next_word(path), mode = next_word(path);
    path = trimmed(path);
    if (!user.empty() && !group.empty() && !mode.empty() && path.starts_with('/'))
      paths.push_back(path);
    else if (!line.empty())
      log.add_line(statoverride.file, statoverride.text, line, "user, group, mode and an absolute path");
  }
  return paths;
}

namespace {

// Joins by sorting, not by a hash table, that a guest could make slow. Both are nearly sorted already.
template <class T>
void sort_rows(std::vector<T>& rows, bool (*less)(const T&, const T&)) {
  if (!std::is_sorted(rows.begin(), rows.end(), less)) std::sort(rows.begin(), rows.end(), less);
}

bool path_less(const std::string_view& a, const std::string_view& b) {
  return a < b;
}
bool digest_path_less(const DpkgDigest& a, const DpkgDigest& b) {
  return a.path < b.path;
}

// The files of one package on their way into the index.
class FileRecorder {
 public:
  FileRecorder(const DpkgPackage& package, PackageIndexBuilder& builder, TroubleLog& log)
      : builder_(builder), log_(log), flags_(package.normal ? 0 : kNotNormal) {
    number_ =
        builder.add_package({std::string(package.name), std::string(package.version),
                             std::string(package.arch), std::string(package.source), PackageKind::dpkg});
  }
  void add(DpkgText from, std::string_view path, const DpkgDigest* digest, uint8_t flags = 0) {
    const auto algorithm = digest != nullptr ? DigestAlgorithm::md5 : DigestAlgorithm::none;
    const std::string_view bytes =
        digest != nullptr ? std::string_view(digest->md5.data(), 16) : std::string_view();
    if (!builder_.add_file(path, number_, algorithm, bytes, flags | flags_))
      log_.add_line(from.file, from.text, path, "a path below the root, without \"..\"");
  }

 private:
  PackageIndexBuilder& builder_;
  TroubleLog& log_;
  uint32_t number_ = 0;
  uint8_t flags_;
};

// `without_digest`: the flags of a file that has none.
void record_listed(std::vector<std::string_view> paths, const std::vector<DpkgDigest>& digests, DpkgText list,
                   uint8_t without_digest, FileRecorder& recorder) {
  sort_rows(paths, path_less);
  auto digest = digests.begin();
  for (const std::string_view path : paths) {
    while (digest != digests.end() && digest->path < path) ++digest;
    const bool found = digest != digests.end() && digest->path == path;
    recorder.add(list, path, found ? &*digest : nullptr, found ? uint8_t{0} : without_digest);
  }
}

}  // namespace

void record_dpkg_package(const DpkgPackage& package, const DpkgInfo& info, PackageIndexBuilder& builder,
                         TroubleLog& log) {
  FileRecorder recorder(package, builder, log);
  std::forward_list<std::string> unescaped;
  std::vector<DpkgDigest> digests = parse_dpkg_md5sums(info.md5sums, unescaped, log);
  const bool has_digests = info.has_md5sums || !info.md5sums.text.empty();
  sort_rows(digests, digest_path_less);
  if (info.has_list)
    record_listed(parse_dpkg_list(info.list, log), digests, info.list,
                  has_digests ? uint8_t{kNoDigest} : uint8_t{0}, recorder);
  else
    for (const DpkgDigest& digest : digests) recorder.add(info.md5sums, digest.path, &digest);
  for (const std::string_view path : parse_dpkg_conffiles(info.conffiles, log))
    recorder.add(info.conffiles, path, nullptr, kConfig);
  // A view into another text than `from`: refused paths of the status entry are the same as those of
  // .conffiles.
  for (const std::string_view path : package.conffiles) builder.add_flags(path, kConfig);
}

}  // namespace vs::unify
