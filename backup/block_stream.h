// Cuts what is to be read and stored into blocks, in the order of the archives, and pushes them into the
// pipeline.
#pragma once

#include <functional>

#include "backup/pipeline.h"

namespace vs::backup {

class BlockStream {
 public:
  explicit BlockStream(Pipeline& pipeline) : pipeline_(pipeline) {}
  // `bytes`: about as many as it will add to its block.
  void add(Item item, uint64_t bytes);
  // The planner itself found that this inode is gone.
  void add_gone(InodeNumber inode);
  // Ends the block. `then` is called when everything added so far was taken, in the order of the plan.
  void end_block(std::function<void()> then = {});
  // Ends the block and waits until everything added so far was taken.
  void drain();

 private:
  Pipeline& pipeline_;
  Block block_;
  uint64_t bytes_ = 0;
};

}  // namespace vs::backup
