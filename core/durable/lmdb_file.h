// One LMDB database in one file: opening it, transactions, and errors that say which file and what was tried.
// The only code of the toolkit that knows LMDB.
//
// LMDB has no checksums of its own, so each entry has one here, over its key as well: behind the value stand
// 8 bytes, little-endian, the XXH3-64 of the value seeded with the XXH3-64 of the key. An entry in which a
// bit rotted, or that is found under the key of another, is as if it had never been.
//
// Readers and the one writer do not block each other. A transaction may be used by another thread than the
// one that began it (MDB_NOTLS), by one thread at a time. All transactions end before their LmdbFile does.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <optional>
#include <string>
#include <string_view>
#include <vector>

#include "core/error.h"

namespace vs {

struct LmdbOptions {
  // How large the file may grow. Only address space is taken: the file grows as it is filled.
  size_t map_size = 0;
  // Names of its tables; they are referred to by their place here. Empty: one table without a name.
  std::vector<const char*> tables;
  bool read_only = false;  // a file that is missing is then an empty database
  std::string shown;       // how messages call it: "index"
  // Set for what may be lost: a damaged file is told here and is an empty database. Unless `read_only` it
  // becomes NAME.damaged, in place of an earlier one, and a new one is begun.
  // So are entries without a right checksum: they are counted when the file is opened, and are erased unless
  // `read_only`.
  std::function<void(const std::string& message)> damaged = {};
  // For files that an earlier version wrote, without checksums: what such an entry is in the form of now.
  // Nothing: it is none. each() calls it as well; get() knows no such entries.
  std::function<std::optional<std::string>(size_t table, std::string_view value)> of_before = {};
};

// The file is not, or not any more, what LMDB wrote.
class LmdbDamaged : public Error {
 public:
  using Error::Error;
};

class LmdbFile {
 public:
  // DIR/NAME. `dir` is created 0700 unless `read_only`. All its pages are looked at (lmdb_pages.h), so that
  // what is damaged is an error and not the end of the process. Throws Error, LmdbDamaged.
  LmdbFile(const std::string& dir, const std::string& name, const LmdbOptions& options);
  ~LmdbFile();
  LmdbFile(const LmdbFile&) = delete;
  // False: it is read only and does not exist, or is damaged. No transaction may be begun then.
  bool is_open() const;

 private:
  friend class LmdbTransaction;
  struct Impl;
  void open(const LmdbOptions& options);
  void look_at_entries(const LmdbOptions& options);
  std::unique_ptr<Impl> impl_;
};

// Begins with its constructor; what it wrote is dropped unless it is committed. All of it throws Error and
// LmdbDamaged.
class LmdbTransaction {
 public:
  enum class Mode { reading, writing };
  LmdbTransaction(const LmdbFile& file, Mode mode);
  ~LmdbTransaction();
  LmdbTransaction(const LmdbTransaction&) = delete;

  // The value is valid until the transaction ends or writes. Nothing for what cannot be read or has no right
  // checksum, too.
  std::optional<std::string_view> get(size_t table, std::string_view key) const;
  void put(size_t table, std::string_view key, std::string_view value);
  void erase(size_t table, std::string_view key);  // one that is missing is no error
  size_t size(size_t table) const;                 // with those that have no right checksum
  // Calls `visit` for all entries whose key begins with `prefix`, in the order of their keys.
  void each(size_t table, std::string_view prefix,
            const std::function<void(std::string_view key, std::string_view value)>& visit) const;
  // Erases those of them for which `gone` is true; returns how many.
  size_t erase_if(size_t table, std::string_view prefix,
                  const std::function<bool(std::string_view key)>& gone);
  void commit();

 private:
  friend class LmdbFile;
  struct Cursor;
  struct Mended {
    size_t erased = 0, rewritten = 0;
  };
  // What has no right checksum is erased, or written again in the form of now; counted only, unless
  // `writing`.
  Mended mend(size_t table, bool writing);
  const LmdbFile::Impl& file_;
  void* transaction_ = nullptr;
};

}  // namespace vs
