#include "backup/block_stream.h"

#include <utility>

namespace vs::backup {

void BlockStream::add(Item item, uint64_t bytes) {
  if (!block_.items.empty() &&
      (bytes_ + bytes > kBlockBytes * 2 || bytes_ >= kBlockBytes || block_.items.size() >= kBlockItems))
    end_block();
  bytes_ += bytes;
  block_.items.push_back(std::move(item));
}

void BlockStream::add_gone(InodeNumber inode) {
  block_.gone.push_back(inode);
}

void BlockStream::end_block(std::function<void()> then) {
  if (block_.items.empty() && block_.gone.empty() && !then) return;
  block_.then = std::move(then);
  pipeline_.push(std::exchange(block_, {}));
  bytes_ = 0;
}

void BlockStream::drain() {
  end_block();
  pipeline_.drain();
}

}  // namespace vs::backup
