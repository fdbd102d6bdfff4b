#include "backup/source/inode_index.h"

#include <fmt/format.h>
#include <lmdb.h>
#include <sys/stat.h>

#include <cstring>

#include "core/durable/durable_file.h"
#include "core/durable/record_log.h"

namespace vs::backup {
namespace {

// Address space only; an inode takes about 150 bytes.
constexpr size_t kMapSize = size_t{32} << 30;
constexpr uint32_t kVersion = 1;

std::string key_of(uint64_t filesystem, uint64_t ino) {
  std::string key;
  // Big end first, so that neighbours in the inode table are neighbours in the tree.
  for (int shift = 56; shift >= 0; shift -= 8) key += static_cast<char>(filesystem >> shift);
  for (int shift = 56; shift >= 0; shift -= 8) key += static_cast<char>(ino >> shift);
  return key;
}

// What must be equal; without ctime, which is compared apart.
std::string identity(const Inode& inode) {
  std::string out;
  put_u32(out, kVersion);
  put_u64(out, static_cast<uint64_t>(inode.btime_ns));
  put_u64(out, inode.size);
  put_u64(out, static_cast<uint64_t>(inode.mtime_ns));
  put_u64(out, inode.rdev);
  put_u32(out, inode.mode & S_IFMT);
  return out;
}

MDB_val value_of(const std::string& bytes) {
  return {bytes.size(), const_cast<char*>(bytes.data())};
}

}  // namespace

struct InodeIndex::Impl {
  MDB_env* env = nullptr;
  MDB_dbi inodes = 0;
  MDB_txn* reader = nullptr;
  std::string path;
  ~Impl() {
    if (reader != nullptr) mdb_txn_abort(reader);
    if (env != nullptr) mdb_env_close(env);
  }
  void check(int code, const char* tried) const {
    if (code != MDB_SUCCESS)
      throw Error(fmt::format("inode index {}: {}: {}", path, tried, mdb_strerror(code)));
  }
};

InodeIndex::InodeIndex(const std::string& dir, bool read_only) : impl_(std::make_unique<Impl>()) {
  impl_->path = dir + "/inodes.mdb";
  struct ::stat found;
  if (read_only && ::stat(impl_->path.c_str(), &found) != 0) return;
  if (!read_only) value_or_throw(open_private_dir(dir, true));
  impl_->check(mdb_env_create(&impl_->env), "create");
  impl_->check(mdb_env_set_mapsize(impl_->env, kMapSize), "configure");
  impl_->check(mdb_env_open(impl_->env, impl_->path.c_str(),
                            MDB_NOSUBDIR | MDB_NOTLS | MDB_NORDAHEAD | (read_only ? MDB_RDONLY : 0u), 0600),
               "open");
  MDB_txn* txn = nullptr;
  impl_->check(mdb_txn_begin(impl_->env, nullptr, read_only ? MDB_RDONLY : 0u, &txn), "begin");
  impl_->check(mdb_dbi_open(txn, nullptr, 0, &impl_->inodes), "open");
  impl_->check(mdb_txn_commit(txn), "commit");
  impl_->check(mdb_txn_begin(impl_->env, nullptr, MDB_RDONLY, &impl_->reader), "begin");
}

InodeIndex::~InodeIndex() = default;

std::optional<InodeDetails> InodeIndex::known(uint64_t filesystem, const Inode& inode) const {
  if (impl_->env == nullptr) return std::nullopt;
  const std::string key = key_of(filesystem, inode.ino);
  MDB_val k = value_of(key), value;
  if (mdb_get(impl_->reader, impl_->inodes, &k, &value) != MDB_SUCCESS) return std::nullopt;
  std::string_view bytes(static_cast<const char*>(value.mv_data), value.mv_size);
  const std::string wanted = identity(inode);
  if (!bytes.starts_with(wanted)) return std::nullopt;
  FieldReader in(bytes.substr(wanted.size()));
  const auto ctime_ns = static_cast<int64_t>(in.u64());
  const auto seen_ns = static_cast<int64_t>(in.u64());
  const bool was_sealed = in.u32() != 0;
  if (!(inode.sealed && was_sealed)) {
    if (ctime_ns != inode.ctime_ns || ctime_ns > seen_ns - kRacyNs) return std::nullopt;
  }
  InodeDetails details;
  const std::string_view content = in.string();
  if (content.size() != details.content.size()) return std::nullopt;
  std::memcpy(details.content.data(), content.data(), content.size());
  details.target = in.string();
  details.xattrs = in.string();
  details.flags = in.u32();
  details.project = in.u32();
  if (!in.ok()) return std::nullopt;
  return details;
}

void InodeIndex::learn(const std::vector<Learned>& learned) {
  if (learned.empty()) return;
  MDB_txn* txn = nullptr;
  impl_->check(mdb_txn_begin(impl_->env, nullptr, 0, &txn), "begin");
  for (const auto& one : learned) {
    const std::string key = key_of(one.filesystem, one.inode.ino);
    std::string bytes = identity(one.inode);
    put_u64(bytes, static_cast<uint64_t>(one.inode.ctime_ns));
    put_u64(bytes, static_cast<uint64_t>(one.seen_ns));
    put_u32(bytes, one.inode.sealed ? 1 : 0);
    put_string(bytes,
               {reinterpret_cast<const char*>(one.details.content.data()), one.details.content.size()});
    put_string(bytes, one.details.target);
    put_string(bytes, one.details.xattrs);
    put_u32(bytes, one.details.flags);
    put_u32(bytes, one.details.project);
    MDB_val k = value_of(key), v = value_of(bytes);
    const int code = mdb_put(txn, impl_->inodes, &k, &v, 0);
    if (code != MDB_SUCCESS) {
      mdb_txn_abort(txn);
      impl_->check(code, "write");
    }
  }
  impl_->check(mdb_txn_commit(txn), "commit");
}

}  // namespace vs::backup
