#include "unify/packages/rpm_database.h"

#include <fcntl.h>
#include <linux/fs.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/stat.h>
#include <unistd.h>
#include <xxhash.h>

#include <algorithm>
#include <array>
#include <cerrno>
#include <cstdlib>
#include <ctime>
#include <filesystem>
#include <memory>

#include "core/full_io.h"

namespace vs::unify {
namespace {

constexpr const char* kCopyName = "vunify-rpm.";

constexpr std::array kPlaces = {"usr/lib/sysimage/rpm", "var/lib/rpm"};
constexpr size_t kPiece = 1 << 20;  // copied and hashed at once; larger pieces showed no gain

struct BackendFiles {
  RpmBackend backend;
  const char* main;
  const char* also;  // nullptr for none
};

// In rpm's own order of preference (lib/rpmdb.c backends[]), so that of a leftover beside the new database
// the new one is read. The indexes of ndb (Index.db) and bdb (Name, ...) are for finding one package: we read
// all.
constexpr std::array kBackends = {
    BackendFiles{RpmBackend::sqlite, "rpmdb.sqlite", "rpmdb.sqlite-wal"},
    BackendFiles{RpmBackend::ndb, "Packages.db", nullptr},
    BackendFiles{RpmBackend::bdb, "Packages", nullptr},
};

bool add_database(const DatabaseDir& dir, const BackendFiles& wanted, uint64_t max_bytes,
                  RpmDatabase& database, TroubleLog& log) {
  auto main = dir.open_file(wanted.main, max_bytes, log);
  if (!main) return false;
  database.backend = wanted.backend;
  database.path = dir.file_path(wanted.main);
  const uint64_t size = main->stat.size;
  database.files.push_back({wanted.main, std::move(*main)});
  if (wanted.also == nullptr) return true;
  if (auto also = dir.open_file(wanted.also, max_bytes - std::min(max_bytes, size), log))
    database.files.push_back({wanted.also, std::move(*also)});
  return true;
}

struct StateRelease {
  void operator()(XXH3_state_t* state) const { XXH3_freeState(state); }
};

// Hashes databases and copies them on the way.
class Hasher {
 public:
  Hasher(const std::string& salt, uint64_t max_bytes)
      : state_(XXH3_createState()), buffer_(std::make_unique<char[]>(kPiece)), left_(max_bytes) {
    XXH3_128bits_reset(state_.get());
    update(salt.data(), salt.size());
  }
  // All of `from`, from its start; written to `to` as well unless that is -1.
  Result add(const std::string& name, int from, int to);
  DatabaseKey key() const {
    const XXH128_hash_t hash = XXH3_128bits_digest(state_.get());
    return {hash.low64, hash.high64};
  }

 private:
  void update(const void* bytes, size_t size) { XXH3_128bits_update(state_.get(), bytes, size); }

  std::unique_ptr<XXH3_state_t, StateRelease> state_;
  std::unique_ptr<char[]> buffer_;
  uint64_t left_;
};

Result write_all(int to, const char* bytes, size_t size, const std::string& name) {
  while (size > 0) {
    const ssize_t written = ::write(to, bytes, size);
    if (written < 0 && errno == EINTR) continue;
    if (written < 0) return problem_from_errno("write the private copy of", name);
    bytes += written;
    size -= static_cast<size_t>(written);
  }
  return Ok{};
}

Result Hasher::add(const std::string& name, int from, int to) {
  update(name.c_str(), name.size() + 1);
  uint64_t at = 0;
  for (;;) {
    const ssize_t got = pread_full(from, buffer_.get(), kPiece, at);
    if (got < 0) return problem_from_errno("read", name);
    if (got == 0) break;
    const auto size = static_cast<size_t>(got);
    if (size > left_) return Problem{EFBIG, "the database grew too large while it was read"};
    left_ -= size;
    at += size;
    update(buffer_.get(), size);
    if (to < 0) continue;
    if (auto written = write_all(to, buffer_.get(), size, name); !written) return written;
  }
  update(&at, sizeof at);
  return Ok{};
}

// A new file that the child, who is nobody, may read, and write if `writable`.
Expected<UniqueFd> create(const std::string& path, bool writable) {
  UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW, 0600));
  if (!fd || ::fchmod(fd.get(), writable ? 0666 : 0644) != 0) return problem_from_errno("create", path);
  return fd;
}

Result copy_file(const RpmDatabaseFile& file, const std::string& directory, Hasher& hasher) {
  const bool log_of_sqlite = file.name.ends_with("-wal");
  const auto to = create(directory + "/" + file.name, log_of_sqlite);
  if (!to) return to.error();
  // Where both lie on one xfs or btrfs the copy is free; it is hashed instead of the original then.
  if (::ioctl(to->get(), FICLONE, file.file.fd.get()) == 0) return hasher.add(file.name, to->get(), -1);
  return hasher.add(file.name, file.file.fd.get(), to->get());
}

// sqlite wants a log and shared memory beside a database in WAL mode. The child cannot create files, so they
// are there.
Result add_sqlite_files(const RpmDatabase& database, const std::string& directory) {
  if (database.backend != RpmBackend::sqlite) return Ok{};
  const std::string base = directory + "/" + database.files[0].name;
  if (database.files.size() == 1)
    if (const auto log = create(base + "-wal", true); !log) return log.error();
  if (const auto memory = create(base + "-shm", true); !memory) return memory.error();
  return Ok{};
}

}  // namespace

std::string_view backend_name(RpmBackend backend) {
  switch (backend) {
    case RpmBackend::sqlite:
      return "sqlite";
    case RpmBackend::ndb:
      return "ndb";
    case RpmBackend::bdb:
      return "bdb_ro";
  }
  return "unknown";
}

std::vector<RpmDatabase> find_rpm_databases(const RootDir& root, uint64_t max_bytes, TroubleLog& log) {
  std::vector<RpmDatabase> found;
  uint64_t first_ino = 0;
  for (unsigned place = 0; place < kPlaces.size(); ++place) {
    const auto dir = DatabaseDir::open(root, kPlaces[place], log);
    if (!dir || dir->stat().ino == first_ino) continue;
    if (first_ino == 0) first_ino = dir->stat().ino;
    for (const BackendFiles& backend : kBackends) {
      RpmDatabase database;
      database.place = place;
      if (!add_database(*dir, backend, max_bytes, database, log)) continue;
      found.push_back(std::move(database));
      break;
    }
  }
  return found;
}

Expected<DatabaseKey> hash_database(const RpmDatabase& database, const std::string& salt,
                                    uint64_t max_bytes) {
  Hasher hasher(salt, max_bytes);
  for (const RpmDatabaseFile& file : database.files)
    if (auto added = hasher.add(file.name, file.file.fd.get(), -1); !added) return added.error();
  return hasher.key();
}

size_t sweep_private_copies(const std::string& parent, int64_t least_age) {
  size_t swept = 0;
  std::error_code error;
  for (std::filesystem::directory_iterator it(parent, error), end; !error && it != end; it.increment(error)) {
    if (!it->path().filename().string().starts_with(kCopyName)) continue;
    const UniqueFd fd(::open(it->path().c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    struct ::stat found {};
    // Nobody else can put another directory in its place: it is ours, and /tmp is sticky.
    if (!fd || ::fstat(fd.get(), &found) != 0 || found.st_uid != ::geteuid()) continue;
    if (::time(nullptr) - found.st_ctime < least_age || ::flock(fd.get(), LOCK_EX | LOCK_NB) != 0) continue;
    std::error_code ignored;
    std::filesystem::remove_all(it->path(), ignored);
    if (!ignored) ++swept;
  }
  return swept;
}

Expected<PrivateCopy> PrivateCopy::make(const RpmDatabase& database, const std::string& salt,
                                        uint64_t max_bytes, const std::string& parent) {
  std::string outer = parent + "/" + kCopyName + "XXXXXX";
  if (::mkdtemp(outer.data()) == nullptr) return problem_from_errno("create a private directory", outer);
  PrivateCopy copy;
  copy.outer_ = outer;
  copy.lock_.reset(::open(outer.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
  if (!copy.lock_ || ::flock(copy.lock_.get(), LOCK_SH | LOCK_NB) != 0)
    return problem_from_errno("lock", outer);
  if (::mkdir(copy.directory().c_str(), 0700) != 0 || ::chmod(copy.directory().c_str(), 0755) != 0)
    return problem_from_errno("create", copy.directory());
  Hasher hasher(salt, max_bytes);
  for (const RpmDatabaseFile& file : database.files)
    if (auto copied = copy_file(file, copy.directory(), hasher); !copied) return copied.error();
  if (auto added = add_sqlite_files(database, copy.directory()); !added) return added.error();
  copy.key_ = hasher.key();
  return copy;
}

PrivateCopy::~PrivateCopy() {
  if (outer_.empty()) return;
  std::error_code ignored;
  std::filesystem::remove_all(outer_, ignored);
}

}  // namespace vs::unify
