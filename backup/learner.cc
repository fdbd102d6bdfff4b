#include "backup/learner.h"

#include <algorithm>
#include <iterator>
#include <tuple>

namespace vs::backup {
namespace {

// LMDB copies pages for a transaction; larger batches cost memory, smaller ones fsyncs.
constexpr size_t kBatch = 20'000;

}  // namespace

void Learner::add(std::vector<InodeIndex::Learned>&& some) {
  if (index_ == nullptr) return;
  // What was read of a snapshot was seen when that was made: a change of the live file right after it can
  // bear the same ctime.
  if (moment_ns_ != 0)
    for (auto& one : some) one.seen_ns = std::min(one.seen_ns, moment_ns_);
  pending_.insert(pending_.end(), std::make_move_iterator(some.begin()), std::make_move_iterator(some.end()));
  if (pending_.size() >= kBatch) flush();
}

void Learner::flush() {
  if (index_ == nullptr) return;
  std::sort(pending_.begin(), pending_.end(), [](const auto& a, const auto& b) {
    return std::tie(a.filesystem, a.inode.ino) < std::tie(b.filesystem, b.inode.ino);
  });
  try {
    index_->learn(pending_);
  } catch (const Error& error) {
    log_.object_failed(std::string(error.what()) +
                       "; what this run reads is not remembered, and the next one reads it again");
    index_ = nullptr;
  }
  pending_.clear();
}

}  // namespace vs::backup
