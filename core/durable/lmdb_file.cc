#include "core/durable/lmdb_file.h"

#include <fmt/format.h>
#include <lmdb.h>
#include <sys/stat.h>

#include <utility>

#include "core/durable/durable_file.h"

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

}  // namespace

struct LmdbFile::Impl {
  MDB_env* env = nullptr;
  std::vector<MDB_dbi> tables;
  std::string shown, path;
  ~Impl() {
    if (env != nullptr) mdb_env_close(env);
  }
  void check(int code, const char* tried) const {
    if (code != MDB_SUCCESS)
      throw Error(fmt::format("{} {}: {}: {}", shown, path, tried, mdb_strerror(code)));
  }
  void open(const LmdbOptions& options) {
    check(mdb_env_create(&env), "create");
    if (!options.tables.empty())
      check(mdb_env_set_maxdbs(env, static_cast<MDB_dbi>(options.tables.size())), "configure");
    check(mdb_env_set_mapsize(env, options.map_size), "configure");
    const unsigned mode = options.read_only ? MDB_RDONLY : 0u;
    check(mdb_env_open(env, path.c_str(), MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | mode, 0600), "open");
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
  struct ::stat found;
  if (options.read_only && ::stat(impl_->path.c_str(), &found) != 0) return;
  if (!options.read_only) value_or_throw(open_private_dir(dir, true));
  impl_->open(options);
  using Mode = LmdbTransaction::Mode;
  LmdbTransaction opening(*this, options.read_only ? Mode::reading : Mode::writing);
  if (options.tables.empty()) impl_->open_table(raw(opening.transaction_), nullptr, false);
  for (const char* table : options.tables)
    impl_->open_table(raw(opening.transaction_), table, !options.read_only);
  opening.commit();
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
  return view_of(value);
}

void LmdbTransaction::put(size_t table, std::string_view key, std::string_view value) {
  MDB_val k = value_of(key), v = value_of(value);
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
  Cursor(*this, table).each(prefix, visit);
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
