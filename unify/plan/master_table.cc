#include "unify/plan/master_table.h"

#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <functional>
#include <iterator>

#include "core/full_io.h"
#include "core/hex.h"
#include "unify/plan/candidate_key.h"

namespace vs::unify {

MasterTable MasterTable::load(const Store* store, const Index& index) {
  MasterTable table;
  if (store == nullptr) return table;
  std::unordered_map<uint64_t, MasterRecord> recorded;
  for (auto& record : index.masters(store->id())) recorded.emplace(record.ino, std::move(record));
  for (auto& stored : store->list_masters()) {
    const auto it = recorded.find(stored.ino);
    if (it != recorded.end() && it->second.name == stored.name) {
      table.add(std::move(it->second));
    } else {
      table.unknown_.push_back(std::move(stored));
    }
  }
  return table;
}

void MasterTable::link(MasterNumber i) {
  by_ino_[records_[i].ino] = i;
  if (records_[i].retired) return;
  for (const auto& key : records_[i].answers) by_answer_.emplace(key, i);
}

MasterNumber MasterTable::add(MasterRecord record) {
  const MasterNumber i = records_.next_number();
  records_.push_back(std::move(record));
  link(i);
  return i;
}

void MasterTable::retire(MasterNumber master) {
  records_[master].retired = true;
  for (const auto& key : records_[master].answers) {
    const auto [begin, end] = by_answer_.equal_range(key);
    for (auto it = begin; it != end;) it = it->second == master ? by_answer_.erase(it) : std::next(it);
  }
}

std::optional<MasterNumber> MasterTable::find_name(std::string_view name) const {
  for (MasterNumber i; i < records_.next_number(); ++i)
    if (records_[i].name == name) return i;
  return std::nullopt;
}

std::vector<MasterNumber> MasterTable::answering(const Key128& key) const {
  std::vector<MasterNumber> masters;
  const auto [begin, end] = by_answer_.equal_range(key);
  for (auto it = begin; it != end; ++it) masters.push_back(it->second);
  // A master may have been given a key twice.
  std::sort(masters.begin(), masters.end(), std::greater<>());
  masters.erase(std::unique(masters.begin(), masters.end()), masters.end());
  return masters;
}

Expected<Digests> digest_file(int fd, DigestAlgorithm recorded, const std::string& object,
                              const Cancel* cancel) {
  Digester sha256(DigestAlgorithm::sha256);
  Digester other(recorded == DigestAlgorithm::sha256 ? DigestAlgorithm::none : recorded);
  std::string buffer(256 * 1024, '\0');
  for (off_t offset = 0;;) {
    if (cancel != nullptr && cancel->stop()) return Problem{ECANCELED, "stopped while reading " + object};
    const ssize_t got = pread_full(fd, buffer.data(), buffer.size(), static_cast<uint64_t>(offset));
    if (got < 0) return problem_from_errno("read", object);
    if (got == 0) break;
    sha256.update({buffer.data(), static_cast<size_t>(got)});
    other.update({buffer.data(), static_cast<size_t>(got)});
    offset += got;
  }
  Digests digests;
  digests.sha256 = sha256.finish();
  digests.recorded = recorded == DigestAlgorithm::sha256 ? digests.sha256 : other.finish();
  return digests;
}

namespace {

Expected<MasterRecord> record_from_inode(const Store& store, const StoredName& stored) {
  const auto fd = store.open_master(stored.name);
  if (!fd) return fd.error();
  const std::string shown = store.shown_master(stored.name);
  const auto stat = stat_fd(fd->get(), shown);
  if (!stat) return stat.error();
  if (!S_ISREG(stat->mode)) return Problem{EINVAL, "not a regular file: " + shown};
  auto xattrs = read_xattrs(fd->get(), shown);
  if (!xattrs) return xattrs.error();
  const auto digests = digest_file(fd->get(), DigestAlgorithm::md5, shown);
  if (!digests) return digests.error();
  const std::string digits = hex(digests->sha256);
  if (!stored.name.starts_with(digits.substr(0, 2) + "/" + digits.substr(2) + "-"))
    return Problem{EUCLEAN,
                   "content of master " + shown + " is not what its name says: SHA-256 is " + digits};
  MasterRecord record;
  record.name = stored.name;
  record.ino = stat->ino;
  record.size = stat->size;
  record.file_class = class_of(*stat, xattr_hash(*xattrs));
  record.xattrs = std::move(*xattrs);
  record.sha256 = digests->sha256;
  record.retired = !stored.name.starts_with(name_without_serial(record.sha256, record.file_class));
  // Whatever kind of digest a guest's database records, its file finds this master again.
  for (const auto& [algorithm, digest] : {std::pair(DigestAlgorithm::md5, &digests->recorded),
                                          std::pair(DigestAlgorithm::sha256, &digests->sha256)})
    record.answers.push_back(digest_key(record.size, record.file_class, algorithm, *digest, false));
  return record;
}

}  // namespace

std::vector<MasterRecord> adopt_unknown(const Store& store, MasterTable& table, RunContext& context) {
  std::vector<MasterRecord> adopted;
  for (const auto& stored : table.unknown()) {
    auto record = record_from_inode(store, stored);
    if (!record) {
      context.log.object_failed(record.error().message);
      continue;
    }
    if (record->retired)
      context.log.object_failed(store.shown_master(stored.name) +
                                " has another owner, mode, time or attributes than it was made with, and the "
                                "index does not know which; it gets no names any more");
    adopted.push_back(*record);
    table.add(std::move(*record));
  }
  if (!adopted.empty())
    context.log.info("adopted " + std::to_string(adopted.size()) + " masters that the index did not know");
  return adopted;
}

}  // namespace vs::unify
