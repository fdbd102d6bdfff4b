#include "unify/plan/index.h"

#include <algorithm>

#include "core/durable/lmdb_file.h"
#include "core/durable/record_log.h"
#include "core/store/store.h"

namespace vs::unify {
namespace {

// Address space only; the file grows as it is filled. 10^7 contents take about 2 GiB.
constexpr size_t kMapSize = size_t{16} << 30;

// Of what is told of a master. Layout 1 is the same, but without a checksum behind it
// (core/durable/lmdb_file.h).
constexpr uint32_t kVersion = 2, kWithoutChecksum = 1;

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
  put_u32(out, kVersion);
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

std::optional<MasterRecord> master_of(std::string_view bytes, uint32_t version = kVersion) {
  FieldReader in(bytes);
  if (in.u32() != version) return std::nullopt;
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
  if (!in.ok() || !in.at_end()) return std::nullopt;
  return record;
}

// Tables of the file, in this order.
constexpr size_t kMasters = 0, kContents = 1;

// An entry of a version without checksums. What is told of a master is believed if the master's name says the
// same, which holds hashes of the content and of the class; contents are read again.
std::optional<std::string> of_before(size_t table, std::string_view bytes) {
  if (table != kMasters) return std::nullopt;
  const auto record = master_of(bytes, kWithoutChecksum);
  if (!record || record->sha256.size() != 32 || xattr_hash(record->xattrs) != record->file_class.xattrs ||
      !record->name.starts_with(name_without_serial(record->sha256, record->file_class)))
    return std::nullopt;
  return master_bytes(*record);
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

std::string master_key(const std::string& store_id, uint64_t ino) {
  std::string key = store_id;
  put_u64(key, ino);
  return key;
}

}  // namespace

struct Index::Impl {
  LmdbFile file;
};

using Mode = LmdbTransaction::Mode;

Index::Index(const std::string& dir, bool read_only,
             const std::function<void(const std::string& message)>& damaged)
    : impl_(new Impl{
          {dir, "index.mdb", {kMapSize, {"masters", "contents"}, read_only, "index", damaged, of_before}}}) {}

Index::~Index() = default;

std::vector<MasterRecord> Index::masters(const std::string& store_id) const {
  std::vector<MasterRecord> records;
  if (!impl_->file.is_open()) return records;
  LmdbTransaction(impl_->file, Mode::reading)
      .each(kMasters, store_id, [&](std::string_view, std::string_view value) {
        if (auto record = master_of(value)) records.push_back(std::move(*record));
      });
  return records;
}

void Index::put_masters(const std::string& store_id, const std::vector<MasterRecord>& records) {
  if (records.empty()) return;
  LmdbTransaction transaction(impl_->file, Mode::writing);
  for (const auto& record : records)
    transaction.put(kMasters, master_key(store_id, record.ino), master_bytes(record));
  transaction.commit();
}

void Index::erase_masters(const std::string& store_id, const std::vector<uint64_t>& inos) {
  if (inos.empty()) return;
  LmdbTransaction transaction(impl_->file, Mode::writing);
  for (const uint64_t ino : inos) transaction.erase(kMasters, master_key(store_id, ino));
  transaction.commit();
}

std::optional<KnownContent> Index::known(uint64_t dev, const FileRow& row) const {
  if (!impl_->file.is_open()) return std::nullopt;
  const LmdbTransaction transaction(impl_->file, Mode::reading);
  const auto bytes = transaction.get(kContents, content_key(dev, row.ino));
  const std::string identity = identity_bytes(row);
  if (!bytes || !bytes->starts_with(identity)) return std::nullopt;
  FieldReader in(bytes->substr(identity.size()));
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
  if (!impl_->file.is_open()) return 0;
  return LmdbTransaction(impl_->file, Mode::reading).size(kContents);
}

size_t Index::forget_others(uint64_t dev, std::vector<uint64_t> inos) {
  if (!impl_->file.is_open()) return 0;
  std::sort(inos.begin(), inos.end());
  std::string prefix;
  put_u64(prefix, dev);
  LmdbTransaction transaction(impl_->file, Mode::writing);
  const size_t forgotten = transaction.erase_if(kContents, prefix, [&](std::string_view key) {
    FieldReader in(key.substr(prefix.size()));
    return !std::binary_search(inos.begin(), inos.end(), in.u64());
  });
  transaction.commit();
  return forgotten;
}

void Index::learn(const std::vector<Learned>& contents) {
  if (contents.empty()) return;
  LmdbTransaction transaction(impl_->file, Mode::writing);
  for (const auto& learned : contents)
    transaction.put(kContents, content_key(learned.dev, learned.row.ino), content_bytes(learned));
  transaction.commit();
}

}  // namespace vs::unify
