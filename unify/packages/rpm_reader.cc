// Two halves: the parent's (find, copy, wait, check, keep) and, in namespace inside, the child's, the only
// code of this product that calls librpm.
#include "unify/packages/rpm_reader.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <rpm/header.h>
#include <rpm/rpmdb.h>
#include <rpm/rpmfiles.h>
#include <rpm/rpmlib.h>
#include <rpm/rpmlog.h>
#include <rpm/rpmmacro.h>
#include <rpm/rpmts.h>
#include <sys/mman.h>
#include <sys/stat.h>

#include <array>
#include <memory>

#include "core/escape.h"
#include "core/unique_fd.h"
#include "unify/packages/hex_digest.h"
#include "unify/packages/ndb_file.h"
#include "unify/packages/package_cache.h"
#include "unify/packages/rpm_database.h"
#include "unify/packages/rpm_stream.h"

namespace vs::unify {
namespace inside {
namespace {

// One array tag of a header, for the time of a package.
class Tag {
 public:
  Tag(Header header, rpmTagVal tag) : data_(rpmtdNew()) {
    ok_ = headerGet(header, tag, data_, HEADERGET_MINMEM) == 1;
  }
  Tag(const Tag&) = delete;
  Tag& operator=(const Tag&) = delete;
  ~Tag() {
    rpmtdFreeData(data_);
    rpmtdFree(data_);
  }
  uint32_t count() const { return ok_ ? rpmtdCount(data_) : 0; }
  bool present() const { return count() != 0; }
  // Text or number at `index`, which must be below count(). A tag of another type than it should have gives
  // "" or 0.
  std::string_view text(uint32_t index) const {
    rpmtdSetIndex(data_, static_cast<int>(index));
    const char* found = rpmtdGetString(data_);
    return found != nullptr ? found : "";
  }
  uint64_t number(uint32_t index) const {
    rpmtdSetIndex(data_, static_cast<int>(index));
    return rpmtdGetNumber(data_);
  }

 private:
  rpmtd data_;
  bool ok_ = false;
};

std::string_view text_of(Header header, rpmTagVal tag) {
  const char* found = headerGetString(header, tag);
  return found != nullptr ? found : "";
}

std::string version_of(Header header) {
  std::string version;
  if (headerIsEntry(header, RPMTAG_EPOCH))
    version = std::to_string(headerGetNumber(header, RPMTAG_EPOCH)) + ":";
  return version.append(text_of(header, RPMTAG_VERSION)).append("-").append(text_of(header, RPMTAG_RELEASE));
}

// "glibc-2.37-5.fc38.src.rpm" -> "glibc"
std::string_view source_of(Header header) {
  std::string_view source = text_of(header, RPMTAG_SOURCERPM);
  for (int dash = 0; dash < 2; ++dash) {
    const size_t at = source.rfind('-');
    if (at == std::string_view::npos) return {};
    source = source.substr(0, at);
  }
  return source;
}

// Raw bytes; empty unless `hex` is a digest of exactly that algorithm.
std::string_view digest_bytes(std::string_view hex, DigestAlgorithm algorithm, std::array<char, 64>& bytes) {
  const size_t size = digest_size(algorithm);
  if (size == 0 || hex.size() != 2 * size) return {};
  if (!hex_to_bytes(hex, bytes.data())) return {};
  return {bytes.data(), size};
}

// The file tags of one package, all of the same length.
struct FileTags {
  Tag base_names, dir_names, dir_indexes, modes, flags, states, verify, digests;
  DigestAlgorithm algorithm = DigestAlgorithm::md5;

  explicit FileTags(Header header)
      : base_names(header, RPMTAG_BASENAMES),
        dir_names(header, RPMTAG_DIRNAMES),
        dir_indexes(header, RPMTAG_DIRINDEXES),
        modes(header, RPMTAG_FILEMODES),
        flags(header, RPMTAG_FILEFLAGS),
        states(header, RPMTAG_FILESTATES),
        verify(header, RPMTAG_FILEVERIFYFLAGS),
        digests(header, RPMTAG_FILEDIGESTS) {
    const uint64_t recorded = headerGetNumber(header, RPMTAG_FILEDIGESTALGO);
    if (recorded != 0)
      algorithm = recorded < 256 ? static_cast<DigestAlgorithm>(recorded) : DigestAlgorithm::none;
    if (digest_size(algorithm) == 0) algorithm = DigestAlgorithm::none;  // newer than we are
  }
  // Names, directories and modes must be there for each file; what says no more than it does may be absent as
  // a whole.
  bool consistent() const {
    const uint32_t files = base_names.count();
    if (dir_indexes.count() != files || modes.count() != files || !dir_names.present()) return false;
    for (const Tag* tag : {&flags, &states, &verify, &digests})
      if (tag->present() && tag->count() != files) return false;
    return true;
  }
  uint8_t flags_of(uint32_t file) const;
};

uint8_t FileTags::flags_of(uint32_t file) const {
  uint8_t result = 0;
  const uint64_t recorded = flags.present() ? flags.number(file) : 0;
  if ((recorded & RPMFILE_CONFIG) != 0) result |= kConfig;
  if ((recorded & RPMFILE_GHOST) != 0) result |= kGhost;
  // An installed package always has states. Without them it is not known whether the file was put there at
  // all.
  if (!states.present() || states.number(file) != RPMFILE_STATE_NORMAL) result |= kNotNormal;
  if (verify.present() && (verify.number(file) & RPMVERIFY_FILEDIGEST) == 0) result |= kMayChange;
  return result;
}

// Regular files, and whatever is configuration or a ghost: a directory or symlink cannot be shared anyway.
bool concerns_us(uint64_t mode, uint8_t flags) {
  return S_ISREG(mode) || (!S_ISDIR(mode) && !S_ISLNK(mode) && (flags & (kConfig | kGhost)) != 0);
}

void send_files(Header header, RpmStreamWriter& out) {
  const FileTags tags(header);
  if (tags.base_names.count() == 0) return;
  if (!tags.consistent())
    return out.trouble(fmt::format("package {}: expected as many modes, directories and digests as files",
                                   text_of(header, RPMTAG_NAME)));
  uint64_t dir = UINT64_MAX;
  std::array<char, 64> bytes;
  for (uint32_t file = 0; file < tags.base_names.count(); ++file) {
    const uint8_t flags = tags.flags_of(file);
    if (!concerns_us(tags.modes.number(file), flags)) continue;
    const uint64_t file_dir = tags.dir_indexes.number(file);
    if (file_dir >= tags.dir_names.count()) {
      out.trouble(fmt::format("package {}: directory {} of {}", text_of(header, RPMTAG_NAME), file_dir,
                              tags.dir_names.count()));
      continue;
    }
    if (file_dir != dir) out.dir(tags.dir_names.text(static_cast<uint32_t>(file_dir)));
    dir = file_dir;
    const std::string_view hex = tags.digests.present() ? tags.digests.text(file) : std::string_view();
    const std::string_view digest = digest_bytes(hex, tags.algorithm, bytes);
    out.file(flags, digest.empty() ? DigestAlgorithm::none : tags.algorithm, digest,
             tags.base_names.text(file));
  }
}

void send_package(Header header, RpmStreamWriter& out) {
  const std::string_view name = text_of(header, RPMTAG_NAME);
  if (name == "gpg-pubkey") return;  // a key, kept as if it were a package
  if (name.empty()) return out.trouble("a header without a name");
  out.package(name, version_of(header), text_of(header, RPMTAG_ARCH), source_of(header));
  send_files(header, out);
}

// What librpm says. While a database is opened it complains of every index that was not copied, so that is
// looked at only when opening fails.
struct LibraryLog {
  RpmStreamWriter& out;
  bool opening = true;
  std::string while_opening;
};

int take_log(rpmlogRec record, rpmlogCallbackData data) {
  auto& log = *static_cast<LibraryLog*>(data);
  std::string_view message = rpmlogRecMessage(record);
  while (!message.empty() && message.back() == '\n') message.remove_suffix(1);
  if (rpmlogRecPriority(record) > RPMLOG_WARNING) return 0;
  if (log.opening)
    log.while_opening.append(log.while_opening.empty() ? "" : "; ").append(message);
  else
    log.out.trouble(message);
  return 0;
}

struct TsFree {
  void operator()(rpmts ts) const { rpmtsFree(ts); }
};

// False when the database cannot be used as a whole.
bool read_by_librpm(const std::string& directory, RpmBackend backend, LibraryLog& log) {
  rpmPushMacro(nullptr, "_dbpath", nullptr, directory.c_str(), RMIL_CMDLINE);
  rpmPushMacro(nullptr, "_db_backend", nullptr, std::string(backend_name(backend)).c_str(), RMIL_CMDLINE);
  const std::unique_ptr<rpmts_s, TsFree> ts(rpmtsCreate());
  rpmtsSetVSFlags(ts.get(), RPMVSF_MASK_NODIGESTS | RPMVSF_MASK_NOSIGNATURES | RPMVSF_NOHDRCHK);
  // A librpm built without this backend opens an empty "dummy" instead, and calls that success.
  if (rpmtsOpenDB(ts.get(), O_RDONLY) != 0 || log.while_opening.find("dummy database") != std::string::npos) {
    log.out.trouble(log.while_opening);
    return false;
  }
  log.opening = false;
  rpmdbMatchIterator headers = rpmtsInitIterator(ts.get(), RPMDBI_PACKAGES, nullptr, 0);
  while (Header header = rpmdbNextIterator(headers)) send_package(header, log.out);
  rpmdbFreeIterator(headers);
  return true;
}

bool read_ndb(const std::string& directory, LibraryLog& log) {
  const UniqueFd fd(::open((directory + "/Packages.db").c_str(), O_RDONLY | O_CLOEXEC));
  struct ::stat stat;
  if (!fd || ::fstat(fd.get(), &stat) != 0 || stat.st_size == 0) return false;
  const auto size = static_cast<size_t>(stat.st_size);
  void* mapped =
      ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, fd.get(), 0);  // private copy: nobody truncates it
  if (mapped == MAP_FAILED) return false;
  const NdbContent content = parse_ndb({static_cast<const char*>(mapped), size});
  for (const std::string& trouble : content.troubles) log.out.trouble(trouble);
  log.opening = false;
  for (const std::string_view bytes : content.headers) {
    const Header header =
        headerImport(const_cast<char*>(bytes.data()), static_cast<unsigned>(bytes.size()), HEADERIMPORT_COPY);
    if (header == nullptr) {
      log.out.trouble(
          fmt::format("byte {}: expected a package header", bytes.data() - static_cast<const char*>(mapped)));
      continue;
    }
    send_package(header, log.out);
    headerFree(header);
  }
  return content.usable;
}

// The host's macro files are not read: nothing in them matters to reading headers, and Debian's make the
// database's path by running a shell. Signatures and header digests are not checked: the guest could make
// right ones.
void read_headers(const std::string& directory, RpmBackend backend, int pipe) {
  RpmStreamWriter out(pipe);
  LibraryLog log{out, true, {}};
  rpmlogSetCallback(take_log, &log);
  const bool usable =
      backend == RpmBackend::ndb ? read_ndb(directory, log) : read_by_librpm(directory, backend, log);
  // Without its END the stream says: as a whole not usable.
  usable ? out.end() : out.flush();
}

}  // namespace
}  // namespace inside

namespace {

// A part of the cache's key: another librpm may read what this one could not.
std::string reader_version() {
  return std::string("1 ") + RPMVERSION;
}

constexpr int kTries = 3;  // to copy a database that a guest is just changing

// What the child had to say before it gave up; "" for nothing.
std::string last_trouble(std::string_view stream) {
  RpmStreamReader reader(stream);
  RpmRecord record;
  std::string text;
  while (reader.next(record))
    if (record.kind == RpmRecordKind::trouble) text = escaped(record.name);
  return text;
}

// The stream of one database, whole and right or empty.
class DatabaseReader {
 public:
  DatabaseReader(const RpmDatabase& database, const RpmOptions& options, std::string cache, TroubleLog& log)
      : database_(database), options_(options), cache_(std::move(cache)), log_(log) {}

  bool read(PackageIndexBuilder& builder);

 private:
  bool fail(const std::string& why) {
    log_.add_passing(database_.path, why);
    return false;
  }
  bool read_copy(const PrivateCopy& copy, PackageIndexBuilder& builder);

  const RpmDatabase& database_;
  const RpmOptions& options_;
  const std::string cache_;  // "" for none
  TroubleLog& log_;
};

bool DatabaseReader::read(PackageIndexBuilder& builder) {
  for (int tries = 0; tries < kTries; ++tries) {
    const auto key = hash_database(database_, reader_version(), options_.max_bytes);
    if (!key) return fail(key.error().message);
    if (!cache_.empty())
      if (const auto stream = load_cached(cache_, *key))
        if (add_rpm_stream(*stream, database_.path, builder, log_).empty()) return true;
    if (options_.before_copy) options_.before_copy();
    const auto copy = PrivateCopy::make(database_, reader_version(), options_.max_bytes, options_.work_dir);
    if (!copy) return fail(copy.error().message);
    if (copy->key() == *key) return read_copy(*copy, builder);
  }
  return fail("changes while it is read; the guest's packages are not known in this run");
}

bool DatabaseReader::read_copy(const PrivateCopy& copy, PackageIndexBuilder& builder) {
  const RpmBackend backend = database_.backend;
  const auto work = [backend](const std::string& directory, int out) {
    inside::read_headers(directory, backend, out);
  };
  const SandboxOutcome outcome = run_in_sandbox(copy.directory(), options_.limits, work);
  if (!outcome.finished) return fail("cannot be read: the child that reads it was " + outcome.how);
  const std::string problem = add_rpm_stream(outcome.output, database_.path, builder, log_);
  if (!problem.empty()) {
    const std::string told = last_trouble(outcome.output);
    return fail("cannot be read: " + (told.empty() ? problem : told));
  }
  if (!cache_.empty())
    if (const auto stored = store_cached(cache_, copy.key(), outcome.output); !stored)
      log_.add_passing(cache_, stored.error().message);
  return true;
}

}  // namespace

std::string read_rpm(const RootDir& root, const RpmOptions& options, PackageIndexBuilder& builder,
                     TroubleLog& log) {
  std::string backends;
  if (options.cache_dir) ::mkdir(options.cache_dir->c_str(), 0700);  // failing shows when a result is stored
  const size_t troubles = log.count();
  const auto databases = find_rpm_databases(root, options.max_bytes, log);
  if (databases.empty() && log.count() != troubles) builder.mark_unknown();
  for (const RpmDatabase& database : databases) {
    std::string cache;
    if (options.cache_dir) cache = cache_file(*options.cache_dir, root, database.place);
    try {
      if (!DatabaseReader(database, options, cache, log).read(builder)) {
        builder.mark_unknown();
        continue;
      }
    } catch (const Error& error) {  // no pipe, no process: this host's trouble, and the other guests' dpkg
                                    // still is of use
      log.add_passing(database.path, error.what());
      builder.mark_unknown();
      continue;
    }
    backends += (backends.empty() ? "" : ", ") + std::string(backend_name(database.backend));
  }
  return backends;
}

}  // namespace vs::unify
