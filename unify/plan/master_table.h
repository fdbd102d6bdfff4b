// The masters of a store as this run knows them: what lies in the store, joined with what the index recorded.
#pragma once

#include <span>
#include <unordered_map>
#include <vector>

#include "core/run_context.h"
#include "core/store/store.h"
#include "core/typed_number.h"
#include "unify/plan/index.h"

namespace vs::unify {

using MasterNumber = TypedNumber<struct MasterTag>;

class MasterTable {
 public:
  // Truth is the directory listing of the store (inode numbers as they are now); a record without a file is
  // dropped, a file without a record is in unknown(). `store` may be nullptr: no masters.
  static MasterTable load(const Store* store, const Index& index);

  size_t size() const { return records_.size(); }
  MasterNumber next_number() const { return records_.next_number(); }
  bool empty() const { return records_.empty(); }
  const MasterRecord& operator[](MasterNumber i) const { return records_[i]; }
  std::span<const MasterRecord> records() const { return records_; }
  // Which master has this inode number (on the store's filesystem)? Hot: asked for every directory entry.
  std::optional<MasterNumber> find(uint64_t ino) const {
    const auto it = by_ino_.find(ino);
    return it == by_ino_.end() ? std::nullopt : std::optional<MasterNumber>(it->second);
  }
  std::optional<MasterNumber> find_name(std::string_view name) const;
  // Masters that may get new names and were the content of this candidate key, the latest first. In scope all
  // a key tells size and class only, so many contents may have one; with digests it is mostly one master.
  std::vector<MasterNumber> answering(const Key128& key) const;
  MasterNumber add(MasterRecord record);
  void retire(MasterNumber master);

  // Files in the store that no record tells of: the index was lost. adopt() reads them and makes records
  // again.
  const std::vector<StoredName>& unknown() const { return unknown_; }

 private:
  void link(MasterNumber i);
  TypedVector<MasterNumber, MasterRecord> records_;
  std::unordered_map<uint64_t, MasterNumber> by_ino_;
  std::unordered_multimap<Key128, MasterNumber, Key128Hash> by_answer_;
  std::vector<StoredName> unknown_;
};

// Makes records for masters that have none, from their inodes; returns them (also added to the table). Names
// that are no regular file or whose content is not what the name says are told in the log and left alone;
// those whose class is another are told and retired.
std::vector<MasterRecord> adopt_unknown(const Store& store, MasterTable& table, RunContext& context);

// Which digest a file has, read through a descriptor. Empty Problem-free result for the empty file.
struct Digests {
  std::string sha256;
  std::string recorded;  // in the algorithm asked for; equal to sha256 if that was it
};
// Problem code ECANCELED: `cancel` stopped it.
Expected<Digests> digest_file(int fd, DigestAlgorithm recorded, const std::string& object,
                              const Cancel* cancel = nullptr);

}  // namespace vs::unify
