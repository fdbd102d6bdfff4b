// Files that are larger than one piece: opened by the planner, read in parts by several workers, and stored
// again if they changed meanwhile.
#pragma once

#include <vector>

#include "backup/block_stream.h"

namespace vs::backup {

class LargeFiles {
 public:
  LargeFiles(const RunView& run, const std::vector<Target*>& targets, Pipeline& pipeline, BlockStream& blocks,
             RunContext& context)
      : run_(run), targets_(targets), pipeline_(pipeline), blocks_(blocks), context_(context) {}

  // Stores it, unless every target that wants it turns out to have it. False if it is gone: nothing of it was
  // stored.
  bool store(Item item);
  // All that store() left open is finished: to be called before the archive they are in is.
  void settle_all();

 private:
  bool push(Item& item);
  enum class Had { no, yes, gone };
  Had had_already(Item& item);
  void settle(Item& item);

  const RunView& run_;
  const std::vector<Target*>& targets_;
  Pipeline& pipeline_;
  BlockStream& blocks_;
  RunContext& context_;
  std::vector<Item> unsettled_;  // they may have changed while they were read
};

}  // namespace vs::backup
