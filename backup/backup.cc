#include "backup/backup.h"

#include <algorithm>
#include <unordered_set>

#include "backup/archive/archive_set.h"
#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/tree/mount_table.h"
#include "core/tree/nodev_mount.h"

namespace vs::backup {
namespace {

// LMDB copies pages for a transaction; larger batches cost memory, smaller ones fsyncs.
constexpr size_t kLearnBatch = 20'000;

// A large file that changed while it was read is read and stored again, as often as this, and for as many
// bytes: what is written to all the time will not hold still for a third time either, and the image of a
// running machine would make an archive three times as large each night.
constexpr int kLargeRereads = 2;
constexpr uint64_t kRereadBytes = 1u << 30;

// Of an entry: its header, and mostly a pax header with its records. 512 made blocks of links three times as
// large as they were meant to be.
constexpr uint64_t kHeaderBytes = 1536;

// Collects what was read, from the sink's thread, and hands it to the index now and then.
class Learner {
 public:
  Learner(InodeIndex* index, int64_t moment_ns) : index_(index), moment_ns_(moment_ns) {}
  void add(std::vector<InodeIndex::Learned>&& some) {
    if (index_ == nullptr) return;
    // What was read of a snapshot was seen when that was made: a change of the live file right after it can
    // bear the same ctime.
    if (moment_ns_ != 0)
      for (auto& one : some) one.seen_ns = std::min(one.seen_ns, moment_ns_);
    pending_.insert(pending_.end(), std::make_move_iterator(some.begin()),
                    std::make_move_iterator(some.end()));
    if (pending_.size() >= kLearnBatch) flush();
  }
  void flush() {
    if (index_ == nullptr) return;
    std::sort(pending_.begin(), pending_.end(), [](const auto& a, const auto& b) {
      return std::tie(a.filesystem, a.inode.ino) < std::tie(b.filesystem, b.inode.ino);
    });
    index_->learn(pending_);
    pending_.clear();
  }

 private:
  InodeIndex* index_;
  int64_t moment_ns_;
  std::vector<InodeIndex::Learned> pending_;
};

// Turns what the targets want into blocks, in the order of the archives.
class Planner {
 public:
  Planner(ScannedHost& host, DetailsTable& details, std::vector<Target*> targets, Pipeline& pipeline,
          const std::unordered_set<uint32_t>& sample, const CreateOptions& options, RunContext& context)
      : host_(host),
        details_(details),
        targets_(std::move(targets)),
        pipeline_(pipeline),
        sample_(sample),
        options_(options),
        context_(context) {}

  void shared() {
    for (uint32_t i = 0; i < host_.inodes.size(); ++i) {
      const Inode& inode = host_.inodes[i];
      if (!inode.shared || is_dir(inode)) continue;
      Item item = item_of(Item::Kind::shared, i);
      item.path = host_.first_path(inode);
      for (size_t t = 0; t < targets_.size(); ++t)
        if (!pipeline_.failed(t) && targets_[t]->wants_shared(i) != DirectoryWants::no)
          item.wanted |= 1u << t;
      add(std::move(item));
    }
    settle_all();
    flush([this] {
      if (options_.must_hold) options_.must_hold();
      each([](Target& target) { target.end_shared(); });
    });
    pipeline_.drain();
  }

  void guest(uint32_t g) {
    each([&](Target& target) { target.begin_guest(g); });
    std::vector<std::pair<uint32_t, std::string>> stack{{host_.trees[g].root, ""}};
    while (!stack.empty()) {
      const auto [dir, path] = std::move(stack.back());
      stack.pop_back();
      directory(g, dir, path);
      const auto& children = host_.dirs[dir].children;
      for (auto it = children.rbegin(); it != children.rend(); ++it)
        if (is_dir(host_.inodes[it->inode]))
          stack.emplace_back(host_.inodes[it->inode].dir, join_path(path, host_.trees[g].name(it->name)));
    }
    settle_all();
    flush([this, g] {
      if (options_.must_hold) options_.must_hold();
      if (options_.was_read) options_.was_read(g);
      each([g](Target& target) { target.end_guest(g); });
    });
  }

 private:
  void each(const std::function<void(Target&)>& call) {
    for (size_t t = 0; t < targets_.size(); ++t)
      if (!pipeline_.failed(t)) call(*targets_[t]);
  }

  Item item_of(Item::Kind kind, uint32_t inode) const {
    Item item;
    item.kind = kind;
    item.inode = inode;
    item.guest = host_.inodes[inode].guest;
    item.dir = host_.inodes[inode].dir;
    return item;
  }

  void directory(uint32_t g, uint32_t dir, const std::string& path) {
    const DirNode& node = host_.dirs[dir];
    std::vector<DirectoryWants> wants(targets_.size());
    for (size_t t = 0; t < targets_.size(); ++t) {
      if (pipeline_.failed(t))
        wants[t].children.assign(node.children.size(), DirectoryWants::no);
      else
        wants[t] = targets_[t]->plan_directory(g, dir, path);
    }
    Item self = item_of(Item::Kind::directory, node.inode);
    self.guest = g;
    self.path = path;
    for (size_t t = 0; t < targets_.size(); ++t) {
      if (wants[t].self == DirectoryWants::no) continue;
      self.wanted |= 1u << t;
      if (!wants[t].list.empty()) self.list = wants[t].list;
    }
    add(std::move(self));
    for (size_t c = 0; c < node.children.size(); ++c) {
      const Child& child = node.children[c];
      const Inode& inode = host_.inodes[child.inode];
      if (is_dir(inode) || inode.gone) continue;
      const bool first = inode.guest == g && inode.dir == dir && inode.name == child.name;
      Item item = item_of(inode.shared ? Item::Kind::name
                          : first      ? Item::Kind::object
                                       : Item::Kind::link,
                          child.inode);
      item.guest = g;
      item.path = join_path(path, host_.trees[g].name(child.name));
      for (size_t t = 0; t < targets_.size(); ++t)
        if (wants[t].children[c] != DirectoryWants::no) item.wanted |= 1u << t;
      add(std::move(item));
    }
  }

  void add(Item item) {
    const Inode& inode = host_.inodes[item.inode];
    const bool reference = item.kind == Item::Kind::link || item.kind == Item::Kind::name;
    const bool known = reference || details_.known(item.inode);
    if (known && item.wanted == 0) {
      if (reference || !sample_.contains(item.inode)) return;
      item.verify = true;
      return put(std::move(item), inode.size < kPiece ? inode.size : kPiece);
    }
    const bool content = is_file(inode) && !reference;
    item.read = !known || (content && item.wanted != 0);
    if (item.read && content && inode.size > kPiece) return add_large(std::move(item));
    const uint64_t bytes = kHeaderBytes + item.list.size() + (item.read && content ? inode.size : 0);
    put(std::move(item), bytes);
  }

  void put(Item item, uint64_t bytes) {
    if (!block_.items.empty() &&
        (bytes_ + bytes > kBlockBytes * 2 || bytes_ >= kBlockBytes || block_.items.size() >= kBlockItems))
      flush({});
    bytes_ += bytes;
    block_.items.push_back(std::move(item));
  }

  // Every part of it, into the pipeline. False if it cannot be opened any more.
  bool push_large(Item& item) {
    const ReadResult opened = open_large(host_, item, item.large);
    if (opened.state == ReadState::failed) context_.log.object_failed(opened.problem.message);
    if (opened.state != ReadState::done) return false;
    for (item.part = 0; item.part < item.large->parts.size(); ++item.part) {
      Block block;
      block.items.push_back(item);
      pipeline_.push(std::move(block));
    }
    return true;
  }

  void add_large(Item item) {
    flush({});
    if (had_already(item)) return;
    if (!push_large(item)) {
      host_.inodes[item.inode].gone = true;
      return;
    }
    // Other names of it stand behind it and must be links to the copy that counts, the last one. Those of the
    // pool come much later.
    if (item.kind == Item::Kind::object && host_.inodes[item.inode].names > 1)
      settle(item);
    else
      unsettled_.push_back(std::move(item));
  }

  // Who lost the index knows nothing of a file that every target may have: it is read for its digest, and
  // once more only if it has to be stored.
  bool had_already(Item& item) {
    if (details_.known(item.inode)) return false;
    const Inode& inode = host_.inodes[item.inode];
    for (size_t t = 0; t < targets_.size(); ++t)
      if ((item.wanted >> t & 1) != 0 && !targets_[t]->may_have(item, inode)) return false;
    Item digest = item;
    digest.wanted = 0;
    if (!push_large(digest)) {
      host_.inodes[item.inode].gone = true;
      return true;
    }
    pipeline_.drain();
    if (digest.large->details.inconsistent) return false;
    for (size_t t = 0; t < targets_.size(); ++t)
      if ((item.wanted >> t & 1) != 0 && targets_[t]->has(item, inode, digest.large->details))
        item.wanted &= ~(1u << t);
    return item.wanted == 0;
  }

  // Its bytes are in the archives when it turns out that they changed while they were read: it is stored
  // again, behind what is there. For what unpacks an archive the last one counts.
  void settle(Item& item) {
    pipeline_.drain();
    uint64_t bytes = 0;
    for (int again = 0;
         again < kLargeRereads && item.large->details.inconsistent && item.large->problem.message.empty();
         ++again) {
      bytes += item.large->inode.size;
      if (bytes > kRereadBytes) break;
      Item more = item;
      if (!push_large(more)) break;  // gone: the copy that there is stays, marked
      pipeline_.drain();
      item = std::move(more);
    }
    pipeline_.settled(item);
  }

  void settle_all() {
    if (unsettled_.empty()) return;
    flush({});
    for (auto& item : unsettled_) settle(item);
    unsettled_.clear();
  }

  void flush(std::function<void()> then) {
    if (block_.items.empty() && !then) return;
    block_.then = std::move(then);
    pipeline_.push(std::exchange(block_, {}));
    bytes_ = 0;
  }

  ScannedHost& host_;
  DetailsTable& details_;
  std::vector<Target*> targets_;
  Pipeline& pipeline_;
  const std::unordered_set<uint32_t>& sample_;  // inodes to be verified
  const CreateOptions& options_;
  RunContext& context_;
  Block block_;
  uint64_t bytes_ = 0;
  std::vector<Item> unsettled_;  // large files that may have changed while they were read
};

void stop_if_asked(const RunContext& context) {
  if (context.cancel.stop()) throw Error("interrupted; archives that were complete stay", Exit::interrupted);
}

bool in_sample(uint64_t ino, const std::string& stamp, uint64_t one_in) {
  return one_in != 0 && std::hash<std::string>{}(stamp + std::to_string(ino)) % one_in == 0;
}

// The details of what is as it was the last time; returns how many. Some of the files are put into the
// sample.
uint64_t decide(const ScannedHost& host, DetailsTable& details, const InodeIndex& index,
                const std::string& stamp, uint64_t one_in, std::unordered_set<uint32_t>& sample) {
  uint64_t known = 0;
  std::vector<uint32_t> order(host.inodes.size());
  for (uint32_t i = 0; i < order.size(); ++i) order[i] = i;
  // In the order of the index: neighbours are on one page of it.
  std::sort(order.begin(), order.end(),
            [&](uint32_t a, uint32_t b) { return host.inodes[a].ino < host.inodes[b].ino; });
  for (const uint32_t i : order) {
    const Inode& inode = host.inodes[i];
    auto found = index.known(host.filesystems[inode.slot], inode);
    if (!found) continue;
    ++known;
    if (is_file(inode) && in_sample(inode.ino, stamp, one_in)) sample.insert(i);
    details.put(i, std::move(*found));
  }
  return known;
}

// Regular files are opened in one step through a private view of their filesystem in which devices cannot be
// opened.
void see_through_private_mounts(std::vector<Guest>& guests) {
  for (auto& guest : guests) {
    UniqueFd up(::dup(guest.root.fd()));
    const std::string top = path_of_fd(guest.root.fd());
    if (top.empty()) continue;
    try {
      // The mount's own root is not asked for: a clone of the mount, seen from the guest's directory, is the
      // same.
      const NodevMount mount(top);
      if (!mount.available()) continue;
      if (UniqueFd seen = mount.open_dir(top); seen) guest.root.see_through(std::move(seen));
    } catch (const Error&) {
      // Read in two steps then.
    }
  }
}

// Lets each guest's root lead into the disk filesystems that are mounted in its tree; their paths there, in
// order.
std::vector<std::vector<std::string>> enter_mounts(std::vector<Guest>& guests) {
  std::vector<std::vector<std::string>> all(guests.size());
  const auto table = mount_table();
  for (size_t g = 0; g < guests.size(); ++g) {
    const std::string top = path_of_fd(guests[g].root.fd()) + "/";
    std::vector<uint64_t> ids;
    for (const auto& mount : table) {
      if (!mount.point.starts_with(top) || !is_disk_filesystem(mount.type)) continue;
      ids.push_back(mount.id);
      all[g].push_back(mount.point.substr(top.size()));
    }
    guests[g].root.enter_mounts(ids);
    std::sort(all[g].begin(), all[g].end());
    all[g].erase(std::unique(all[g].begin(), all[g].end()), all[g].end());
  }
  return all;
}

}  // namespace

// Two runs in one second, or a clock that was set back: archives of a set are ordered by their stamps.
void wait_for_next_stamp(const std::string& last) {
  for (int tries = 0; !last.empty() && stamp_of(now_ns()) <= last; ++tries) {
    if (tries > 20)
      throw Error("the set has archives of " + last + ", which is in the future; look at the clock");
    const timespec pause = {0, 100'000'000};
    ::nanosleep(&pause, nullptr);
  }
}

CreateResult create_backup(std::vector<Guest> guests, std::vector<std::unique_ptr<Target>>& owned,
                           const std::string& not_before, const CreateOptions& options, RunContext& context) {
  CreateResult result;
  std::vector<Target*> targets;
  for (const auto& target : owned) targets.push_back(target.get());
  wait_for_next_stamp(not_before);
  result.stamp = stamp_of(now_ns());
  std::vector<std::vector<std::string>> mounts;
  if (options.cross_mounts)
    mounts = enter_mounts(guests);
  else
    see_through_private_mounts(guests);
  ScannedHost host;
  host.guests = std::move(guests);
  {
    const auto timed = context.timer.time("scan");
    context.progress.start("scanning", "names", 0);
    walk(host, {options.excludes, options.filesystems, mounts}, context);
    context.progress.finish();
  }
  stop_if_asked(context);
  if (options.must_hold) options.must_hold();
  DetailsTable details(host.inodes.size());
  std::unordered_set<uint32_t> sample;
  std::unique_ptr<InodeIndex> index;
  if (!options.state.empty()) {
    const auto timed = context.timer.time("decide");
    index = std::make_unique<InodeIndex>(options.state, false);
    result.known = decide(host, details, *index, result.stamp, options.verify_sample, sample);
  }
  Learner learner(index.get(), options.moment_ns);
  {
    const auto timed = context.timer.time("prepare");
    for (Target* target : targets) target->begin(host, details, result.stamp, options.consistency);
  }
  try {
    Pipeline pipeline(
        host, details, targets,
        [&](std::vector<InodeIndex::Learned>&& some) { learner.add(std::move(some)); }, context);
    Planner planner(host, details, targets, pipeline, sample, options, context);
    context.progress.start("writing", "objects", 0);
    {
      const auto timed = context.timer.time("shared");
      planner.shared();
    }
    {
      const auto timed = context.timer.time("guests");
      for (uint32_t g = 0; g < host.guests.size(); ++g) {
        stop_if_asked(context);
        planner.guest(g);
      }
      pipeline.drain();
    }
    for (size_t t = 0; t < targets.size(); ++t) {
      if (pipeline.failed(t))
        ++result.failed_targets;
      else
        targets[t]->finish();
    }
    context.progress.finish();
    result.counts = pipeline.counts();
  } catch (...) {
    for (Target* target : targets) target->abandon();
    try {
      learner.flush();  // what was read is true whatever became of the archives
    } catch (const Error&) {
    }
    throw;
  }
  {
    const auto timed = context.timer.time("learn");
    learner.flush();
  }
  result.guests = host.guests.size();
  result.names = host.names;
  result.inodes = host.inodes.size();
  result.directories = host.directories;
  for (const auto& inode : host.inodes) result.shared += inode.shared ? 1 : 0;
  return result;
}

}  // namespace vs::backup
