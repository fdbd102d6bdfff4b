#include "unify/plan/index.h"

#include <fmt/format.h>
#include <lmdb.h>
#include <sys/stat.h>

#include <algorithm>

#include "core/durable/durable_file.h"
#include "core/durable/record_log.h"
#include "core/error.h"

namespace vs::unify {
namespace {

// Address space only; the file grows as it is filled. 10^7 contents take about 2 GiB.
constexpr size_t kMapSize = size_t{16} << 30;

void put_key(std::string& out, const Key128& key) {
  put_u64(out, key.low);
  put_u64(out, key.high);
}
Key128 take_key(FieldReader& in) {
  Key128 key;
  key.low = in.u64();
  key.high = in.u64();
  return key;
}

std::string master_bytes(const MasterRecord& record) {
  std::string out;
  put_u32(out, 1);  // version of this layout
  put_string(out, record.name);
  put_u64(out, record.ino);
  put_u64(out, record.size);
  put_u32(out, record.file_class.uid);
  put_u32(out, record.file_class.gid);
  put_u32(out, record.file_class.mode);
  put_u64(out, static_cast<uint64_t>(record.file_class.mtime_ns));
  put_u64(out, record.file_class.xattrs);
  put_u32(out, static_cast<uint32_t>(record.xattrs.size()));
  for (const auto& [name, value] : record.xattrs) {
    put_string(out, name);
    put_string(out, value);
  }
  put_string(out, record.sha256);
  put_key(out, record.content);
  put_u32(out, static_cast<uint32_t>(record.answers.size()));
  for (const auto& key : record.answers) put_key(out, key);
  for (const auto* text : {&record.package, &record.version, &record.arch, &record.source})
    put_string(out, *text);
  put_u32(out, record.retired ? 1 : 0);
  return out;
}

std::optional<MasterRecord> master_of(std::string_view bytes) {
  FieldReader in(bytes);
  if (in.u32() != 1) return std::nullopt;
  MasterRecord record;
  record.name = in.string();
  record.ino = in.u64();
  record.size = in.u64();
  record.file_class.uid = in.u32();
  record.file_class.gid = in.u32();
  record.file_class.mode = in.u32();
  record.file_class.mtime_ns = static_cast<int64_t>(in.u64());
  record.file_class.xattrs = in.u64();
  for (uint32_t n = in.u32(); n > 0 && in.ok(); --n) {
    Xattr xattr;
    xattr.name = in.string();
    xattr.value = in.string();
    record.xattrs.push_back(std::move(xattr));
  }
  record.sha256 = in.string();
  record.content = take_key(in);
  for (uint32_t n = in.u32(); n > 0 && in.ok(); --n) record.answers.push_back(take_key(in));
  for (auto* text : {&record.package, &record.version, &record.arch, &record.source}) *text = in.string();
  record.retired = in.u32() != 0;
  if (!in.ok()) return std::nullopt;
  return record;
}

std::string identity_bytes(const FileRow& row) {
  std::string out;
  put_u64(out, static_cast<uint64_t>(row.btime_ns));
  put_u64(out, row.size);
  put_u64(out, static_cast<uint64_t>(row.mtime_ns));
  put_u64(out, static_cast<uint64_t>(row.ctime_ns));
  return out;
}

std::string content_bytes(const Index::Learned& learned) {
  std::string out = identity_bytes(learned.row);
  put_key(out, learned.content.content);
  put_u64(out, learned.content.xattrs);
  put_u32(out, learned.content.pristine ? 1 : 0);
  put_key(out, learned.content.recorded);
  put_u64(out, learned.content.shared_with);
  return out;
}

std::string content_key(uint64_t dev, uint64_t ino) {
  std::string key;
  put_u64(key, dev);
  put_u64(key, ino);
  return key;
}

MDB_val value_of(const std::string& bytes) {
  return {bytes.size(), const_cast<char*>(bytes.data())};
}
std::string_view view_of(const MDB_val& value) {
  return {static_cast<const char*>(value.mv_data), value.mv_size};
}

}  // namespace

struct Index::Impl {
  MDB_env* env = nullptr;
  MDB_dbi masters = 0, contents = 0;
  std::string path;
  ~Impl() {
    if (env != nullptr) mdb_env_close(env);
  }
  void check(int code, const char* tried) const {
    if (code != MDB_SUCCESS) throw Error(fmt::format("index {}: {}: {}", path, tried, mdb_strerror(code)));
  }

  // One transaction; aborted unless committed.
  struct Txn {
    const Impl& impl;
    MDB_txn* txn = nullptr;
    Txn(const Impl& i, unsigned flags) : impl(i) {
      impl.check(mdb_txn_begin(i.env, nullptr, flags, &txn), "begin");
    }
    Txn(const Txn&) = delete;
    ~Txn() {
      if (txn != nullptr) mdb_txn_abort(txn);
    }
    void put(MDB_dbi dbi, const std::string& key, const std::string& bytes) {
      MDB_val k = value_of(key), v = value_of(bytes);
      impl.check(mdb_put(txn, dbi, &k, &v, 0), "write");
    }
    void commit() { impl.check(mdb_txn_commit(std::exchange(txn, nullptr)), "commit"); }
  };
};

Index::Index(const std::string& dir, bool read_only) : impl_(std::make_unique<Impl>()) {
  impl_->path = dir + "/index.mdb";
  struct ::stat found;
  if (read_only && ::stat(impl_->path.c_str(), &found) != 0) return;  // nothing known
  if (!read_only) value_or_throw(open_private_dir(dir, true));
  impl_->check(mdb_env_create(&impl_->env), "create");
  impl_->check(mdb_env_set_maxdbs(impl_->env, 2), "configure");
  impl_->check(mdb_env_set_mapsize(impl_->env, kMapSize), "configure");
  impl_->check(mdb_env_open(impl_->env, impl_->path.c_str(),
                            MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | (read_only ? MDB_RDONLY : 0u), 0600),
               "open");
  Impl::Txn txn(*impl_, read_only ? MDB_RDONLY : 0u);
  const unsigned create = read_only ? 0u : MDB_CREATE;
  impl_->check(mdb_dbi_open(txn.txn, "masters", create, &impl_->masters), "open masters");
  impl_->check(mdb_dbi_open(txn.txn, "contents", create, &impl_->contents), "open contents");
  txn.commit();
}

Index::~Index() = default;

std::vector<MasterRecord> Index::masters(const std::string& store_id) const {
  std::vector<MasterRecord> records;
  if (impl_->env == nullptr) return records;
  Impl::Txn txn(*impl_, MDB_RDONLY);
  MDB_cursor* cursor = nullptr;
  impl_->check(mdb_cursor_open(txn.txn, impl_->masters, &cursor), "read");
  MDB_val key = value_of(store_id), value;
  for (int got = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
       got == MDB_SUCCESS && view_of(key).starts_with(store_id);
       got = mdb_cursor_get(cursor, &key, &value, MDB_NEXT))
    if (auto record = master_of(view_of(value))) records.push_back(std::move(*record));
  mdb_cursor_close(cursor);
  return records;
}

void Index::put_masters(const std::string& store_id, const std::vector<MasterRecord>& records) {
  if (records.empty()) return;
  Impl::Txn txn(*impl_, 0);
  for (const auto& record : records) {
    std::string key = store_id;
    put_u64(key, record.ino);
    txn.put(impl_->masters, key, master_bytes(record));
  }
  txn.commit();
}

void Index::erase_masters(const std::string& store_id, const std::vector<uint64_t>& inos) {
  if (inos.empty()) return;
  Impl::Txn txn(*impl_, 0);
  for (const uint64_t ino : inos) {
    std::string key = store_id;
    put_u64(key, ino);
    MDB_val k = value_of(key);
    const int code = mdb_del(txn.txn, impl_->masters, &k, nullptr);
    if (code != MDB_NOTFOUND) impl_->check(code, "erase");
  }
  txn.commit();
}

std::optional<KnownContent> Index::known(uint64_t dev, const FileRow& row) const {
  if (impl_->env == nullptr) return std::nullopt;
  Impl::Txn txn(*impl_, MDB_RDONLY);
  const std::string key = content_key(dev, row.ino);
  MDB_val k = value_of(key), value;
  if (mdb_get(txn.txn, impl_->contents, &k, &value) != MDB_SUCCESS) return std::nullopt;
  const std::string identity = identity_bytes(row);
  std::string_view bytes = view_of(value);
  if (!bytes.starts_with(identity)) return std::nullopt;
  FieldReader in(bytes.substr(identity.size()));
  KnownContent known;
  known.content = take_key(in);
  known.xattrs = in.u64();
  known.pristine = in.u32() != 0;
  known.recorded = take_key(in);
  known.shared_with = in.u64();
  if (!in.ok()) return std::nullopt;
  return known;
}

size_t Index::contents() const {
  if (impl_->env == nullptr) return 0;
  Impl::Txn txn(*impl_, MDB_RDONLY);
  MDB_stat stat{};
  impl_->check(mdb_stat(txn.txn, impl_->contents, &stat), "count");
  return stat.ms_entries;
}

size_t Index::forget_others(uint64_t dev, std::vector<uint64_t> inos) {
  if (impl_->env == nullptr) return 0;
  std::sort(inos.begin(), inos.end());
  std::string prefix;
  put_u64(prefix, dev);
  size_t forgotten = 0;
  Impl::Txn txn(*impl_, 0);
  MDB_cursor* cursor = nullptr;
  impl_->check(mdb_cursor_open(txn.txn, impl_->contents, &cursor), "read");
  MDB_val key = value_of(prefix), value;
  for (int got = mdb_cursor_get(cursor, &key, &value, MDB_SET_RANGE);
       got == MDB_SUCCESS && view_of(key).starts_with(prefix);
       got = mdb_cursor_get(cursor, &key, &value, MDB_NEXT)) {
    FieldReader in(view_of(key).substr(prefix.size()));
    if (std::binary_search(inos.begin(), inos.end(), in.u64())) continue;
    impl_->check(mdb_cursor_del(cursor, 0), "erase");
    ++forgotten;
  }
  mdb_cursor_close(cursor);
  txn.commit();
  return forgotten;
}

void Index::learn(const std::vector<Learned>& contents) {
  if (contents.empty()) return;
  Impl::Txn txn(*impl_, 0);
  for (const auto& learned : contents)
    txn.put(impl_->contents, content_key(learned.dev, learned.row.ino), content_bytes(learned));
  txn.commit();
}

}  // namespace vs::unify
