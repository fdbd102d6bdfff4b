#include "core/durable/lmdb_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <lmdb.h>
#include <sys/stat.h>

#include <cerrno>
#include <cstdio>
#include <utility>

#include "core/durable/durable_file.h"
#include "core/durable/lmdb_pages.h"
#include "core/durable/record_log.h"

namespace vs {
namespace {

MDB_val value_of(std::string_view bytes) {
  return {bytes.size(), const_cast<char*>(bytes.data())};
}
std::string_view view_of(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}
MDB_txn* raw(void* transaction) {
  return static_cast<MDB_txn*>(transaction);
}

uint64_t checksum_of(std::string_view key, std::string_view value) {
  return checksum(value, checksum(key));
}

// Without its checksum; nothing for what is damaged.
std::optional<std::string_view> checked(std::string_view key, std::string_view bytes) {
  if (bytes.size() < sizeof(uint64_t)) return std::nullopt;
  const std::string_view value = bytes.substr(0, bytes.size() - sizeof(uint64_t));
  if (FieldReader(bytes.substr(value.size())).u64() != checksum_of(key, value)) return std::nullopt;
  return value;
}

// LMDB calls a write that was cut short EIO. What the filesystem has to say to the next one is the reason.
int why_not_written(const std::string& path) {
  constexpr size_t kEnough = 1 << 20;
  const std::string dir = path.substr(0, path.rfind('/'));
  const UniqueFd probe(::open(dir.c_str(), O_TMPFILE | O_WRONLY | O_CLOEXEC, 0600));
  if (!probe) return EIO;
  errno = 0;
  const auto written = write_all(probe.get(), std::string(kEnough, 'x'), path);
  return !written && (written.error().code == ENOSPC || written.error().code == EDQUOT) ? written.error().code
                                                                                        : EIO;
}

void set_aside(const std::string& path) {
  if (::rename(path.c_str(), (path + ".damaged").c_str()) != 0)
    throw Error(problem_from_errno("set aside", path).message);
}

// LMDB maps the file of its lock and writes there: a page that the filesystem has no room for would be
// SIGBUS.
void reserve_lock_file(const std::string& path) {
  // What LMDB makes it for 126 readers.
  constexpr off_t kSize = 8192;
  const UniqueFd fd(::open(path.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (fd && ::fallocate(fd.get(), 0, 0, kSize) == 0) return;
  // Others are none of a filesystem that is full, or are told by LMDB.
  if (errno == ENOSPC || errno == EDQUOT) throw Error(problem_from_errno("create", path).message);
}

}  // namespace

struct LmdbFile::Impl {
  MDB_env* env = nullptr;
  std::vector<MDB_dbi> tables;
  std::string shown, path;
  std::function<std::optional<std::string>(size_t, std::string_view)> of_before;
  ~Impl() { close(); }
  void close() {
    if (env != nullptr) mdb_env_close(std::exchange(env, nullptr));
    tables.clear();
  }
  void check(int code, const char* tried) const {
    if (code == MDB_SUCCESS) return;
    const bool damaged = code == MDB_INVALID || code == MDB_CORRUPTED || code == MDB_PAGE_NOTFOUND ||
                         code == MDB_VERSION_MISMATCH || code == MDB_INCOMPATIBLE;
    const int reason = code == EIO ? why_not_written(path) : code;
    const std::string message = fmt::format("{} {}: {}: {}", shown, path, tried, mdb_strerror(reason));
    if (damaged) throw LmdbDamaged(message);
    throw Error(message);
  }
  void check(const Result& result, const char* tried) const {
    if (result) return;
    const std::string message = fmt::format("{} {}: {}: {}", shown, path, tried, result.error().message);
    if (result.error().code == EBADMSG) throw LmdbDamaged(message);
    throw Error(message);
  }
  void check_head(int fd) const { check(check_lmdb_head(fd), "open"); }
  // A reader holds on to the pages that are looked at.
  void check_pages(int fd) const {
    constexpr int kTries = 10;  // somebody may write so often in the moment between two lines
    for (int tries = 1;; ++tries) {
      MDB_txn* reader = nullptr;
      check(mdb_txn_begin(env, nullptr, MDB_RDONLY, &reader), "begin");
      const auto pages = check_lmdb_pages(fd, mdb_txn_id(reader));
      mdb_txn_abort(reader);
      if (!pages && pages.error().code == ESTALE && tries < kTries) continue;
      return check(pages, "open");
    }
  }
  void open(const LmdbOptions& options) {
    // LMDB holds no lock on this file, which closing it would give back.
    const UniqueFd file(::open(path.c_str(), O_RDONLY | O_CLOEXEC));
    if (file) check_head(file.get());
    reserve_lock_file(path + "-lock");
    check(mdb_env_create(&env), "create");
    if (!options.tables.empty())
      check(mdb_env_set_maxdbs(env, static_cast<MDB_dbi>(options.tables.size())), "configure");
    check(mdb_env_set_mapsize(env, options.map_size), "configure");
    const unsigned mode = options.read_only ? MDB_RDONLY : 0u;
    check(mdb_env_open(env, path.c_str(), MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | mode, 0600), "open");
    if (file) check_pages(file.get());
  }
  void open_table(MDB_txn* transaction, const char* name, bool create) {
    tables.push_back(0);
    const int code =
        mdb_dbi_open(transaction, name, name != nullptr && create ? MDB_CREATE : 0u, &tables.back());
    check(code, name != nullptr ? fmt::format("open {}", name).c_str() : "open");
  }
};

LmdbFile::LmdbFile(const std::string& dir, const std::string& name, const LmdbOptions& options)
    : impl_(std::make_unique<Impl>()) {
  impl_->shown = options.shown;
  impl_->path = dir + "/" + name;
  impl_->of_before = options.of_before;
  struct ::stat found;
  if (options.read_only && ::stat(impl_->path.c_str(), &found) != 0) return;
  if (!options.read_only) value_or_throw(open_private_dir(dir, true));
  try {
    open(options);
  } catch (const LmdbDamaged& damage) {
    if (!options.damaged) throw;
    impl_->close();
    if (!options.read_only) set_aside(impl_->path);
    options.damaged(std::string(damage.what()) +
                    (options.read_only ? "; it is not used" : "; it is begun anew"));
    if (!options.read_only) open(options);
  }
}

void LmdbFile::open(const LmdbOptions& options) {
  impl_->open(options);
  using Mode = LmdbTransaction::Mode;
  LmdbTransaction opening(*this, options.read_only ? Mode::reading : Mode::writing);
  if (options.tables.empty()) impl_->open_table(raw(opening.transaction_), nullptr, false);
  for (const char* table : options.tables)
    impl_->open_table(raw(opening.transaction_), table, !options.read_only);
  opening.commit();
  look_at_entries(options);
}

void LmdbFile::look_at_entries(const LmdbOptions& options) {
  const bool writing = !options.read_only;
  LmdbTransaction::Mended all;
  try {
    LmdbTransaction transaction(*this,
                                writing ? LmdbTransaction::Mode::writing : LmdbTransaction::Mode::reading);
    for (size_t table = 0; table < impl_->tables.size(); ++table) {
      const auto mended = transaction.mend(table, writing);
      all.erased += mended.erased;
      all.rewritten += mended.rewritten;
    }
    if (writing && all.erased + all.rewritten != 0) transaction.commit();
  } catch (const LmdbDamaged&) {
    throw;
  } catch (const Error&) {
    // No room for it. They stay, and are not used either way.
  }
  if (all.erased != 0 && options.damaged)
    options.damaged(
        fmt::format("{} {}: {} entries have no right checksum: bits in them rotted, or they are of "
                    "an earlier version, which wrote none",
                    impl_->shown, impl_->path, all.erased));
}

LmdbFile::~LmdbFile() = default;

bool LmdbFile::is_open() const {
  return impl_->env != nullptr;
}

struct LmdbTransaction::Cursor {
  MDB_cursor* cursor = nullptr;
  const LmdbTransaction& within;
  Cursor(const LmdbTransaction& transaction, size_t table) : within(transaction) {
    within.file_.check(mdb_cursor_open(raw(within.transaction_), within.file_.tables.at(table), &cursor),
                       "read");
  }
  Cursor(const Cursor&) = delete;
  ~Cursor() { mdb_cursor_close(cursor); }
  // `visit(key, value)` of each entry whose key begins with `prefix`.
  template <class Visit>
  void each(std::string_view prefix, const Visit& visit) {
    MDB_val key = value_of(prefix), value;
    // LMDB has no empty keys, and refuses to search for one.
    for (int got = mdb_cursor_get(cursor, &key, &value, prefix.empty() ? MDB_FIRST : MDB_SET_RANGE);
         got == MDB_SUCCESS && view_of(key).starts_with(prefix);
         got = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
      visit(view_of(key), view_of(value));
  }
};

LmdbTransaction::LmdbTransaction(const LmdbFile& file, Mode mode) : file_(*file.impl_) {
  MDB_txn* begun = nullptr;
  file_.check(mdb_txn_begin(file_.env, nullptr, mode == Mode::reading ? MDB_RDONLY : 0u, &begun), "begin");
  transaction_ = begun;
}

LmdbTransaction::~LmdbTransaction() {
  if (transaction_ != nullptr) mdb_txn_abort(raw(transaction_));
}

std::optional<std::string_view> LmdbTransaction::get(size_t table, std::string_view key) const {
  MDB_val k = value_of(key), value;
  if (mdb_get(raw(transaction_), file_.tables.at(table), &k, &value) != MDB_SUCCESS) return std::nullopt;
  return checked(key, view_of(value));
}

void LmdbTransaction::put(size_t table, std::string_view key, std::string_view value) {
  std::string bytes(value);
  put_u64(bytes, checksum_of(key, value));
  MDB_val k = value_of(key), v = value_of(bytes);
  file_.check(mdb_put(raw(transaction_), file_.tables.at(table), &k, &v, 0), "write");
}

void LmdbTransaction::erase(size_t table, std::string_view key) {
  MDB_val k = value_of(key);
  const int code = mdb_del(raw(transaction_), file_.tables.at(table), &k, nullptr);
  if (code != MDB_NOTFOUND) file_.check(code, "erase");
}

size_t LmdbTransaction::size(size_t table) const {
  MDB_stat stat{};
  file_.check(mdb_stat(raw(transaction_), file_.tables.at(table), &stat), "count");
  return stat.ms_entries;
}

void LmdbTransaction::each(
    size_t table, std::string_view prefix,
    const std::function<void(std::string_view key, std::string_view value)>& visit) const {
  Cursor(*this, table).each(prefix, [&](std::string_view key, std::string_view bytes) {
    if (const auto value = checked(key, bytes)) return visit(key, *value);
    if (!file_.of_before) return;
    if (const auto value = file_.of_before(table, bytes)) visit(key, *value);
  });
}

LmdbTransaction::Mended LmdbTransaction::mend(size_t table, bool writing) {
  Mended mended;
  std::vector<std::pair<std::string, std::string>> rewritten;
  Cursor entries(*this, table);
  entries.each("", [&](std::string_view key, std::string_view bytes) {
    if (checked(key, bytes)) return;
    if (auto value = file_.of_before ? file_.of_before(table, bytes) : std::nullopt) {
      rewritten.emplace_back(key, std::move(*value));
    } else {
      ++mended.erased;
      if (writing) file_.check(mdb_cursor_del(entries.cursor, 0), "erase");
    }
  });
  mended.rewritten = rewritten.size();
  if (writing)
    for (const auto& [key, value] : rewritten) put(table, key, value);
  return mended;
}

size_t LmdbTransaction::erase_if(size_t table, std::string_view prefix,
                                 const std::function<bool(std::string_view key)>& gone) {
  size_t erased = 0;
  Cursor entries(*this, table);
  entries.each(prefix, [&](std::string_view key, std::string_view) {
    if (!gone(key)) return;
    file_.check(mdb_cursor_del(entries.cursor, 0), "erase");
    ++erased;
  });
  return erased;
}

void LmdbTransaction::commit() {
  file_.check(mdb_txn_commit(raw(std::exchange(transaction_, nullptr))), "commit");
}

}  // namespace vs
