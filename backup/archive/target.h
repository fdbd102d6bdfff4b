// Where a run's objects go. Several targets are fed from one reading: what any of them wants is read once and
// offered to those that want it.
//
// A target is asked in the order of the passes: begin; wants_shared for each shared inode, end_shared; for
// each guest begin_guest, plan_directory for each directory depth first, end_guest; finish. It decides by
// what it has itself, so one may take a full and another next to nothing.
//
// Threads: begin(), wants_shared(), begin_guest() and plan_directory() come from the planner's thread; has()
// and may_have() from it and from workers. append() comes from any number of workers at once and must be a
// function of what the planner fixed before. take(), end_shared() and end_guest() come from the sink, in the
// order of the plan, one at a time. An Error that one target throws, in any of these calls, ends this target,
// not the run; the run ends when none is left.
#pragma once

#include <memory>
#include <mutex>
#include <string>
#include <utility>
#include <vector>

#include "backup/archive/catalog.h"
#include "backup/source/host_files.h"
#include "backup/source/inode_details.h"
#include "backup/source/opened_inode.h"
#include "backup/source/read_inodes.h"
#include "backup/source/scanned_host.h"
#include "core/log.h"
#include "core/typed_table.h"

namespace vs::backup {

// The bytes of an object that a target wants, as they are stored: data ranges one after the other, holes left
// out.
struct Content {
  std::string data;
  std::vector<std::pair<uint64_t, uint64_t>>
      ranges;  // (offset, length); empty with `sparse` false: all of it
  bool sparse = false;
};

// A file larger than one piece is read and stored piece by piece, by several workers, under one header that
// was fixed when it was opened.
struct LargeFile {
  std::shared_ptr<OpenedInode> opened;
  Inode inode;
  InodeDetails details;
  Content map;        // ranges of the whole file, no data
  std::string shown;  // its path, for messages
  struct Part {
    uint64_t piece = 0;
    std::vector<std::pair<uint64_t, uint64_t>> ranges;
  };
  std::vector<Part> parts;
  std::mutex mutex;  // guards what workers add
  Problem problem;   // the first part that could not be read; it is stored as zeros
  ContentDigest digest{0};
  bool changed = false;
  int64_t opened_ns = 0;  // the clock before it was opened
  int64_t doubt_ns = 0;   // see settle_writes()
};

struct Item {
  enum class Kind : uint8_t {
    directory,
    object,  // anything else, under its first name
    link,    // another name of an own object with several
    name,    // a name of a shared inode
    shared,  // a shared inode itself
  };
  Kind kind = Kind::object;
  GuestNumber guest;
  DirNumber dir = kNoDir;
  InodeNumber inode;
  std::string path;     // relative to the guest's root; of a shared inode its first name
  uint32_t wanted = 0;  // bit i: target i
  bool read = false;    // its details are not known, or its bytes are wanted
  bool verify = false;  // of the sample: read only to see whether it is what we believe
  std::string list;     // of a directory in an incremental: GNU.dumpdir
  // Held open already, when its first name is not enough to find it; else it is opened by `path`.
  std::shared_ptr<OpenedInode> opened;
  bool last_try = true;  // false: if it cannot be opened now its other names are tried, so nothing is said
  std::shared_ptr<LargeFile> large;
  size_t part = 0;
};

// What a target answers for one directory: what it wants of it.
struct DirectoryWants {
  enum Want : uint8_t { no, yes, if_changed };  // if_changed: its details must be read before that is known
  Want self = no;
  std::string list;
  std::vector<Want> children;  // one per child
};

struct Placed {
  size_t item = 0;      // in the block
  uint64_t offset = 0;  // of its entry in `bytes`, before compression
};

// What the items of one block became for one target.
struct Encoded {
  struct Packed {
    std::string frame;  // compressed
    uint64_t size = 0;  // before that
  };
  std::vector<Packed> frames;  // one, but for the list of a directory with a great many names
  std::vector<Placed> placed;
};

// What a target may look at, for as long as the run lasts.
struct RunView {
  const ScannedHost& host;             // fixed
  const DetailsTable& known;           // of inodes that are as they were before this run; fixed
  const ReadInodes& read;              // what this run read: for calls from the sink only
  const TypedBits<InodeNumber>& gone;  // the planner's: what it need not plan any more
  const std::string& stamp;
  const std::string& consistency;
  const HostFiles& host_files;
  Log& log;
};

class Target {
 public:
  virtual ~Target() = default;
  virtual std::string describe() const = 0;
  virtual void begin(const RunView& run) = 0;
  virtual DirectoryWants::Want wants_shared(InodeNumber inode) = 0;
  virtual void end_shared() = 0;
  virtual void begin_guest(GuestNumber guest) = 0;
  virtual DirectoryWants plan_directory(GuestNumber guest, DirNumber dir, const std::string& path) = 0;
  // True if the target has a file of this size and modification time. For a large file whose details are not
  // known: hashing it first may then save storing it again.
  virtual bool may_have(const Item& item, const Inode& inode) const = 0;
  // Now that its details are known, the target has it already.
  virtual bool has(const Item& item, const Inode& inode, const InodeDetails& details) = 0;
  // Appends what stands for this item; false if the target has it already. A large file may be appended
  // several times; the last one counts.
  virtual bool append(const Item& item, const Inode& inode, const InodeDetails& details,
                      const Content& content, std::string& out) = 0;
  virtual int level() const = 0;
  virtual void take(const std::vector<Item>& items, Encoded&& encoded) = 0;
  virtual void end_guest(GuestNumber guest) = 0;
  // Everything is durable and visible when this returns.
  virtual void finish() = 0;
  virtual void abandon() = 0;  // removes what is not finished
  struct Counts {
    uint64_t archives = 0, bytes_stored = 0, bytes_packed = 0, objects_stored = 0;
  };
  virtual Counts counts() const = 0;
};

}  // namespace vs::backup
