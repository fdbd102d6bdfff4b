// Workers that read, encode and compress blocks of items, and hand the results to the targets in the order of
// the plan.
//
// A block becomes one frame of each target that wants something of it. Memory is bounded: a worker takes the
// next block only while it is less than a window ahead of the one to be written next, so at most that many
// blocks (a few MiB each, see kBlockBytes) are alive, however slow a target or large the host is. The order
// of frames, and so the archives, are the same for any number of threads.
//
// There are more workers than processors, because reading waits (8 readers read a virtio disk five times as
// fast as one); how many compress at once is limited to the threads asked for.
//
// Threads share no row of a table that changes. Planner and workers read the scan and what was known before,
// both fixed. What a worker finds (rows, details, what is to be learned, counts) is in the result of its
// block, and the sink merges results one at a time: the sink is whichever worker finished the block that is
// next, and the lock of the pipeline hands it on. The planner may look at what was merged (read_inodes,
// counts, a large file) right after drain(), when nothing is under way.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <semaphore>
#include <stop_token>
#include <thread>
#include <vector>

#include "backup/archive/target.h"
#include "backup/source/inode_index.h"
#include "backup/source/read_inodes.h"
#include "backup/source_reader.h"

namespace vs::backup {

// Raw bytes after which a block is closed. zstd -3 has a window of 2 MiB, so larger frames gain little;
// smaller ones cost a restore of one file less.
inline constexpr uint64_t kBlockBytes = 2u << 20;
inline constexpr size_t kBlockItems = 4096;

struct Block {
  std::vector<Item> items;
  std::vector<InodeNumber> gone;  // inodes that the planner found to be gone
  std::function<void()> then;     // called by the sink after this block was taken
};

struct PipelineCounts {
  uint64_t files_read = 0, bytes_read = 0, gone = 0, inconsistent = 0, failed = 0, verified = 0, alarms = 0;
  void add(const PipelineCounts& more);
};

using Learn = std::function<void(std::vector<InodeIndex::Learned>&&)>;

class Pipeline {
 public:
  // `read` is this pipeline's to write to while it lives. `learn` is called by the sink.
  Pipeline(const RunView& run, ReadInodes& read, std::vector<Target*> targets, Learn learn,
           RunContext& context);
  ~Pipeline();

  void push(Block block);  // waits for room; throws what ended the run
  void drain();            // until everything pushed was taken
  bool failed(size_t target) const;
  std::vector<bool> failed() const;
  // Calls `call` with the target, or with each that has not failed. An Error that it throws fails that
  // target: it is named and left out from then on, and the others go on. Throws when none is left. For any
  // thread.
  template <class Call>
  void with_target(size_t target, const Call& call) {
    try {
      call(*targets_[target]);
    } catch (const Error& error) {
      fail(target, error);
    }
  }
  template <class Call>
  void each_target(const Call& call) {
    for (size_t target = 0; target < targets_.size(); ++target)
      if (!failed(target)) with_target(target, call);
  }
  // A large file, whole after drain(), is what it will be: counts and names what is wrong with it.
  void settled(const Item& item);
  const ReadInodes& read_inodes() const { return read_; }  // after drain() only
  PipelineCounts counts() const { return counts_; }        // after drain() only

 private:
  // What became of one block.
  struct BlockResult {
    Block block;
    std::vector<Encoded> encoded;  // one per target
    std::vector<ReadInode> read;
    std::vector<InodeIndex::Learned> learned;
    PipelineCounts counts;
  };
  using Raw = std::vector<std::string>;  // by target: the block before compression

  void work(std::stop_token stop);
  BlockResult process(Block block);
  void process_item(size_t number, BlockResult& result, Raw& raw);
  void process_part(size_t number, BlockResult& result, Raw& raw);
  bool read_item(const Item& item, ReadObject& object, BlockResult& result);
  bool zeros_instead(const Item& item, ReadObject& object, BlockResult& result);
  void compress(BlockResult& result, const Raw& raw);
  void verify(const Item& item, BlockResult& result);
  void take_in_order(uint64_t number, BlockResult result);
  void take(BlockResult& result);
  void merge(BlockResult& result);
  void merge_large(Item& item, BlockResult& result);
  void fail(size_t target, const Error& error);
  std::string shown(const Item& item) const;

  const RunView& run_;
  ReadInodes& read_;
  std::vector<Target*> targets_;
  Learn learn_;
  RunContext& context_;
  std::counting_semaphore<> processors_;
  PipelineCounts counts_;  // the sink's, and the planner's after drain()

  mutable std::mutex mutex_;  // guards the rest
  std::condition_variable changed_;
  std::vector<bool> failed_;  // by target
  std::deque<std::pair<uint64_t, Block>> queue_;
  std::map<uint64_t, BlockResult> ready_;
  uint64_t pushed_ = 0, taken_ = 0, window_ = 0;
  bool taking_ = false;
  std::exception_ptr error_;
  std::vector<std::jthread> workers_;
};

}  // namespace vs::backup
