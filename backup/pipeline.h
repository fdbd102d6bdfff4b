// Workers that read, encode and compress blocks of items, and hand the results to the targets in the order of
// the plan.
//
// A block becomes one frame of each target that wants something of it. Memory is bounded: a worker takes the
// next block only while it is less than kWindow ahead of the one to be written next, so at most that many
// blocks (a few MiB each, see kBlockBytes) are alive, however slow a target or large the host is. The order
// of frames, and so the archives, are the same for any number of threads.
//
// There are more workers than processors, because reading waits (8 readers read a virtio disk five times as
// fast as one); how many compress at once is limited to the threads asked for.
#pragma once

#include <condition_variable>
#include <deque>
#include <functional>
#include <map>
#include <mutex>
#include <semaphore>
#include <thread>
#include <vector>

#include "backup/archive/target.h"
#include "backup/source/inode_index.h"
#include "backup/source_reader.h"

namespace vs::backup {

// Raw bytes after which a block is closed. zstd -3 has a window of 2 MiB, so larger frames gain little;
// smaller ones cost a restore of one file less.
inline constexpr uint64_t kBlockBytes = 2u << 20;
inline constexpr size_t kBlockItems = 4096;

struct Block {
  std::vector<Item> items;
  std::function<void()> then;  // in order, after this block was taken
};

struct PipelineCounts {
  uint64_t files_read = 0, bytes_read = 0, gone = 0, inconsistent = 0, failed = 0, verified = 0, alarms = 0;
};

class Pipeline {
 public:
  Pipeline(ScannedHost& host, DetailsTable& details, std::vector<Target*> targets,
           std::function<void(std::vector<InodeIndex::Learned>&&)> learn, RunContext& context);
  ~Pipeline();

  void push(Block block);  // waits for room; throws what ended the run
  void drain();            // until everything pushed was taken
  bool failed(size_t target) const { return failed_[target]; }
  // A large file, whole after drain(), is what it will be: counts and names what is wrong with it.
  void settled(const Item& item);
  PipelineCounts counts() const { return counts_; }

 private:
  struct Done {
    Block block;
    std::vector<Encoded> encoded;  // one a target
    std::vector<InodeIndex::Learned> learned;
    PipelineCounts counts;
  };
  void work(std::stop_token stop);
  Done process(Block block);
  void process_item(Item& item, Done& done, std::vector<std::string>& raw);
  void verify(const Item& item, Done& done);
  void take_in_order(uint64_t number, Done done);
  void take(Done& done);

  ScannedHost& host_;
  DetailsTable& details_;
  std::vector<Target*> targets_;
  std::vector<bool> failed_;
  std::function<void(std::vector<InodeIndex::Learned>&&)> learn_;
  RunContext& context_;
  std::counting_semaphore<> processors_;
  mutable std::mutex mutex_;
  std::condition_variable changed_;
  std::deque<std::pair<uint64_t, Block>> queue_;
  std::map<uint64_t, Done> ready_;
  uint64_t pushed_ = 0, taken_ = 0, window_ = 0;
  bool taking_ = false;
  std::exception_ptr error_;
  PipelineCounts counts_;
  std::vector<std::jthread> workers_;
};

}  // namespace vs::backup
