#include "backup/large_files.h"

#include <utility>

#include "backup/source_reader.h"

namespace vs::backup {
namespace {

// A large file that changed while it was read is read and stored again, as often as this, and for as many
// bytes: what is written to all the time will not hold still for a third time either, and the image of a
// running machine would make an archive three times as large each night.
constexpr int kLargeRereads = 2;
constexpr uint64_t kRereadBytes = 1u << 30;

}  // namespace

bool LargeFiles::store(Item item) {
  blocks_.end_block();
  const Had had = had_already(item);
  if (had != Had::no) return had == Had::yes;
  if (!push(item)) return false;
  // Other names of it stand behind it and must be links to the copy that counts, the last one. The names of a
  // pool member come much later.
  if (item.kind == Item::Kind::object && run_.host.inodes[item.inode].names > 1)
    settle(item);
  else
    unsettled_.push_back(std::move(item));
  return true;
}

// All its parts go into the pipeline. False if it cannot be opened any more.
bool LargeFiles::push(Item& item) {
  const ReadResult opened = open_large(run_.host, item, context_.cancel, item.large);
  if (context_.cancel.stop()) throw Error("interrupted", Exit::interrupted);
  if (opened.state == ReadState::failed && item.last_try) context_.log.object_failed(opened.problem.message);
  if (opened.state != ReadState::done) return false;
  for (item.part = 0; item.part < item.large->parts.size(); ++item.part) {
    Block block;
    block.items.push_back(item);
    pipeline_.push(std::move(block));
  }
  return true;
}

// A host that lost its index knows nothing of a file that every target may have: it is read for its digest
// first, and once more only if it has to be stored.
LargeFiles::Had LargeFiles::had_already(Item& item) {
  if (run_.known.known(item.inode)) return Had::no;
  const Inode& inode = run_.host.inodes[item.inode];
  for (size_t t = 0; t < targets_.size(); ++t)
    if ((item.wanted >> t & 1) != 0 && !targets_[t]->may_have(item, inode)) return Had::no;
  Item digest = item;
  digest.wanted = 0;
  if (!push(digest)) return Had::gone;
  pipeline_.drain();
  const LargeFile& large = *digest.large;
  if (large.details.inconsistent) return Had::no;
  for (size_t t = 0; t < targets_.size(); ++t)
    if ((item.wanted >> t & 1) != 0 && targets_[t]->has(item, large.inode, large.details))
      item.wanted &= ~(1u << t);
  return item.wanted == 0 ? Had::yes : Had::no;
}

// Its bytes are in the archives when it turns out that they changed while they were read: it is stored again,
// behind what is there. For a program that unpacks an archive the last copy counts.
void LargeFiles::settle(Item& item) {
  pipeline_.drain();
  uint64_t bytes = 0;
  for (int again = 0;
       again < kLargeRereads && item.large->details.inconsistent && item.large->problem.message.empty();
       ++again) {
    bytes += item.large->inode.size;
    if (bytes > kRereadBytes) break;
    Item more = item;
    if (!push(more)) break;  // gone: the copy that is there stays, marked
    pipeline_.drain();
    item = std::move(more);
  }
  pipeline_.settled(item);
}

void LargeFiles::settle_all() {
  if (unsettled_.empty()) return;
  blocks_.end_block();
  for (auto& item : unsettled_) settle(item);
  unsettled_.clear();
}

}  // namespace vs::backup
