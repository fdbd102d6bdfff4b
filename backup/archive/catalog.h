// What an archive holds, as a file beside it and again inside of it. Format: catalog.md.
//
// A catalog is hostile when an archive is restored that came from somewhere: everything here that parses
// returns a Problem or stops, whatever the bytes are, and bounds what it takes (tests/fuzz/fuzz_catalog.cc).
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <string_view>
#include <vector>

#include "backup/source/inode_details.h"
#include "core/error.h"

namespace vs::backup {

// One name in a directory, with all that its inode is; or the number of the pool member that it is a name of.
struct Entry {
  std::string name;
  char type = 'f';      // f d l p s c b
  uint64_t pool = 0;    // not 0: a name of this pool member, which holds the rest ...
  uint32_t member = 0;  // ... and by this is told from another under that number: member_mark(); 0 not known
  bool linked = false;  // one of several names; all with the same `group` are one inode
  bool inconsistent = false;
  bool listed = true;  // of a directory itself: false if its children are not known
  uint64_t group = 0;
  uint32_t mode = 0, uid = 0, gid = 0;
  int64_t mtime_ns = 0, btime_ns = 0;
  uint64_t rdev = 0;
  uint64_t size = 0;
  uint32_t archive =
      0;  // of a file: which of its chain (0 the full) or which pool archive holds its bytes ...
  uint64_t offset = 0;  // ... and where its tar entry begins in what that unpacks to
  Sha256 content{};
  std::string target, xattrs;
  uint32_t flags = 0, project = 0;
};

Entry entry_of(const Inode& inode, const InodeDetails& details);
// Everything that a restore would give back is equal; where the bytes are and the name do not count.
bool same_object(const Entry& a, const Entry& b);

// A mark of everything that same_object compares, never 0: 32 bits of a digest. It finds a pool member that
// was replaced by another, by accident; that it is right is what its own digest says.
uint32_t member_mark(const Entry& member);
// Whether a name's member is not the one that it was a name of.
bool is_other_member(const Entry& name, const Entry& member);

void append_entry(std::string& out, const Entry& entry);
// A whole directory: the first entry is the directory itself (name ""), the others what is in it, sorted by
// name. False for nonsense.
bool decode_dir(std::string_view bytes, std::vector<Entry>& entries);

struct CatalogHeader {
  std::string kind;             // full, inc, pool, single
  std::string guest;            // "" for pool and single
  std::string stamp;            // when the run began, "20261124T030000Z": the same for all archives of a run
  std::string chain;            // the stamp of the full that this builds on
  uint32_t number = 0;          // in its chain, 0 the full; of a pool archive its number in the series
  std::string previous;         // stamp of the one before in the chain ...
  std::string previous_digest;  // ... and Catalog::digest of it, in hex; "" in older archives
  std::string host, version, set;
  std::string consistency;  // live, frozen, snapshot
  uint64_t names = 0, bytes = 0, inconsistent = 0;
  uint64_t first_pool = 0;  // of a pool archive: the smallest and largest numbers in it
  uint64_t last_pool = 0;
};

struct Catalog {
  CatalogHeader header;
  Sha256 digest{};  // of the bytes that it was parsed from
  // Directories by guest and path ("" the root): for an incremental, only those whose text differs from what
  // is known before.
  std::map<std::string, std::map<std::string, std::string>> dirs;
  std::map<uint64_t, Entry> pool;  // members, by number; their `archive` is the number of their pool archive
};

// EFBIG: a guest has more than a catalog can hold (some 50 million files), which ends its backup and no
// other.
Expected<std::string> catalog_bytes(const Catalog& catalog);
Expected<Catalog> parse_catalog(std::string_view bytes, const std::string& object);
Expected<CatalogHeader> parse_catalog_header(std::string_view bytes, const std::string& object);

// ".pool/3f/000000000000123f": by the number's last two digits, so that no directory gets too large.
std::string pool_path(uint64_t number);

}  // namespace vs::backup
