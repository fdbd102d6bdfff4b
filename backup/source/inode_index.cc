#include "backup/source/inode_index.h"

#include <sys/stat.h>

#include <cstring>
#include <memory>

#include "core/durable/lmdb_file.h"
#include "core/durable/record_log.h"

namespace vs::backup {
namespace {

// Address space only; an inode takes about 150 bytes.
constexpr size_t kMapSize = size_t{32} << 30;
// 1 believed what was written through mappings without a look, 2 had no checksums.
constexpr uint32_t kVersion = 3;

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

// The file has one table.
constexpr size_t kInodes = 0;

}  // namespace

struct InodeIndex::Impl {
  Impl(const std::string& in, bool read_only, Log& log)
      : dir(in), options{kMapSize, {}, read_only, "inode index", [&log](const std::string& message) {
                           log.warning(message +
                                       "; what is lost of it is read again, though it has not changed");
                         }} {
    open();
  }
  void open() {
    reader.reset();
    file.reset();
    file = std::make_unique<LmdbFile>(dir, "inodes.mdb", options);
    if (file->is_open()) reader.emplace(*file, LmdbTransaction::Mode::reading);
  }
  const std::string dir;
  const LmdbOptions options;
  std::unique_ptr<LmdbFile> file;
  std::optional<LmdbTransaction> reader;  // sees what was known when the run began
};

InodeIndex::InodeIndex(const std::string& dir, bool read_only, Log& log)
    : impl_(std::make_unique<Impl>(dir, read_only, log)) {}

InodeIndex::~InodeIndex() = default;

std::optional<InodeDetails> InodeIndex::known(uint64_t filesystem, const Inode& inode) const {
  if (!impl_->reader) return std::nullopt;
  const auto bytes = impl_->reader->get(kInodes, key_of(filesystem, inode.ino));
  const std::string wanted = identity(inode);
  if (!bytes || !bytes->starts_with(wanted)) return std::nullopt;
  FieldReader in(bytes->substr(wanted.size()));
  const auto ctime_ns = static_cast<int64_t>(in.u64());
  const auto believed_before_ns = static_cast<int64_t>(in.u64());
  const bool was_sealed = in.u32() != 0;
  if (!(inode.sealed && was_sealed)) {
    if (ctime_ns != inode.ctime_ns || ctime_ns > believed_before_ns) return std::nullopt;
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
  try {
    put(learned);
  } catch (const LmdbDamaged&) {
    impl_->open();  // what is damaged is set aside
    put(learned);
  }
}

void InodeIndex::put(const std::vector<Learned>& learned) {
  LmdbTransaction transaction(*impl_->file, LmdbTransaction::Mode::writing);
  for (const auto& one : learned) {
    std::string bytes = identity(one.inode);
    put_u64(bytes, static_cast<uint64_t>(one.inode.ctime_ns));
    put_u64(bytes, static_cast<uint64_t>(one.seen_ns - one.doubt_ns));
    put_u32(bytes, one.inode.sealed ? 1 : 0);
    put_string(bytes,
               {reinterpret_cast<const char*>(one.details.content.data()), one.details.content.size()});
    put_string(bytes, one.details.target);
    put_string(bytes, one.details.xattrs);
    put_u32(bytes, one.details.flags);
    put_u32(bytes, one.details.project);
    transaction.put(kInodes, key_of(one.filesystem, one.inode.ino), bytes);
  }
  transaction.commit();
}

}  // namespace vs::backup
