#include "backup/pipeline.h"

#include <fmt/format.h>

#include "backup/archive/archive_set.h"
#include "backup/archive/compressor.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

constexpr unsigned kReadersAThread = 4;

}  // namespace

Pipeline::Pipeline(ScannedHost& host, DetailsTable& details, std::vector<Target*> targets,
                   std::function<void(std::vector<InodeIndex::Learned>&&)> learn, RunContext& context)
    : host_(host),
      details_(details),
      targets_(std::move(targets)),
      failed_(targets_.size()),
      learn_(std::move(learn)),
      context_(context),
      processors_(static_cast<ptrdiff_t>(std::max(1u, context.jobs))) {
  const unsigned workers = std::min(32u, std::max(1u, context.jobs) * kReadersAThread);
  window_ = workers * 2;
  for (unsigned i = 0; i < workers; ++i)
    workers_.emplace_back([this](const std::stop_token& stop) { work(stop); });
}

Pipeline::~Pipeline() {
  {
    const std::lock_guard lock(mutex_);  // or a worker between its look and its wait would sleep on
    for (auto& worker : workers_) worker.request_stop();
    changed_.notify_all();
  }
  workers_.clear();
}

void Pipeline::push(Block block) {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ != nullptr || pushed_ < taken_ + window_; });
  if (error_) std::rethrow_exception(error_);
  queue_.emplace_back(pushed_++, std::move(block));
  changed_.notify_all();
}

void Pipeline::drain() {
  std::unique_lock lock(mutex_);
  changed_.wait(lock, [&] { return error_ != nullptr || taken_ == pushed_; });
  if (error_) std::rethrow_exception(error_);
}

void Pipeline::work(std::stop_token stop) {
  for (;;) {
    std::unique_lock lock(mutex_);
    changed_.wait(lock, [&] { return stop.stop_requested() || !queue_.empty(); });
    if (stop.stop_requested()) return;
    auto [number, block] = std::move(queue_.front());
    queue_.pop_front();
    lock.unlock();
    try {
      take_in_order(number, process(std::move(block)));
    } catch (...) {
      lock.lock();
      if (!error_) error_ = std::current_exception();
      queue_.clear();
      changed_.notify_all();
      return;
    }
  }
}

Pipeline::Done Pipeline::process(Block block) {
  Done done;
  done.block = std::move(block);
  done.encoded.resize(targets_.size());
  std::vector<std::string> raw(targets_.size());
  for (auto& item : done.block.items) {
    if (context_.cancel.stop()) throw Error("interrupted", Exit::interrupted);
    process_item(item, done, raw);
  }
  struct Slot {
    std::counting_semaphore<>& slots;
    explicit Slot(std::counting_semaphore<>& s) : slots(s) { slots.acquire(); }
    ~Slot() { slots.release(); }
  };
  const Slot slot(processors_);
  for (size_t t = 0; t < targets_.size(); ++t) {
    if (raw[t].empty()) continue;
    thread_local std::map<int, Compressor> compressors;
    done.encoded[t].size = raw[t].size();
    done.encoded[t].frame =
        compressors.try_emplace(targets_[t]->level(), targets_[t]->level()).first->second.frame(raw[t]);
  }
  return done;
}

void Pipeline::process_item(Item& item, Done& done, std::vector<std::string>& raw) {
  const size_t number = static_cast<size_t>(&item - done.block.items.data());
  ReadObject object;
  if (item.verify) return verify(item, done);
  if (item.large) {
    LargeFile& large = *item.large;
    read_part(large, item.part, object.content.data);
    done.counts.files_read += item.part + 1 == large.parts.size() ? 1 : 0;
    done.counts.bytes_read += object.content.data.size();
    for (size_t t = 0; t < targets_.size(); ++t) {
      if ((item.wanted >> t & 1) == 0) continue;
      const uint64_t at = raw[t].size();
      if (item.part == 0) {
        done.encoded[t].placed.push_back({number, at});
        targets_[t]->append(item, large.inode, large.details, large.map, raw[t]);
      }
      raw[t] += object.content.data;
      if (item.part + 1 < large.parts.size()) continue;
      uint64_t stored = 0;
      for (const auto& part : large.parts)
        for (const auto& range : part.ranges) stored += range.second;
      if (stored % 512 != 0) raw[t].append(512 - stored % 512, '\0');
    }
    return;
  }
  if (item.read) {
    const int64_t seen = now_ns();
    const ReadResult result = read_object(host_, item, object);
    Inode& row = host_.inodes[item.inode];
    if (result.state != ReadState::done) {
      if (result.state == ReadState::failed) {
        ++done.counts.failed;
        context_.log.object_failed(result.problem.message);
      } else {
        ++done.counts.gone;
        context_.log.verbose("gone before it was read: " +
                             escaped(host_.guests[item.guest].root.host_path(item.path)));
      }
      if (!is_dir(row)) row.gone = true;
      return;
    }
    if (is_file(object.inode)) {
      ++done.counts.files_read;
      done.counts.bytes_read += object.content.data.size();
    }
    if (object.details.inconsistent) {
      ++done.counts.inconsistent;
      context_.log.warning("changed while it was read, every time; marked inconsistent: " +
                           escaped(host_.guests[item.guest].root.host_path(item.path)));
    }
    object.inode.names = row.names;
    object.inode.shared = row.shared;
    row = object.inode;
    details_.put(item.inode, object.details);
    if (!object.details.inconsistent)
      done.learned.push_back({host_.filesystems[object.inode.slot], object.inode, object.details, seen});
  } else if (item.kind != Item::Kind::link && item.kind != Item::Kind::name) {
    object.inode = host_.inodes[item.inode];
    object.details = details_.get(item.inode);
  }
  for (size_t t = 0; t < targets_.size(); ++t) {
    if ((item.wanted >> t & 1) == 0) continue;
    const uint64_t at = raw[t].size();
    if (targets_[t]->append(item, object.inode, object.details, object.content, raw[t]))
      done.encoded[t].placed.push_back({number, at});
  }
}

// Nothing of the run depends on it. What differs is not believed the next time, whatever its times say.
void Pipeline::verify(const Item& item, Done& done) {
  const Inode& believed = host_.inodes[item.inode];
  FileStat before;
  const auto fd = host_.guests[item.guest].root.open_regular(item.path, &before);
  if (!fd || before.ino != believed.ino || before.size != believed.size ||
      before.mtime_ns != believed.mtime_ns || before.ctime_ns != believed.ctime_ns)
    return;
  const std::string shown = host_.guests[item.guest].root.host_path(item.path);
  const auto digest = digest_of(fd->get(), before.size, shown);
  const auto after = stat_fd(fd->get(), shown);
  if (!after || after->ctime_ns != before.ctime_ns) return;
  ++done.counts.verified;
  if (!digest) {
    ++done.counts.failed;
    return context_.log.object_failed(digest.error().message);
  }
  InodeDetails details = details_.get(item.inode);
  if (*digest == details.content) return;
  ++done.counts.alarms;
  context_.log.error(
      "ALARM: its bytes are not what they were, though nothing says that it was changed (bit rot, or "
      "somebody who can set clocks): " +
      escaped(shown));
  Inode doubted = believed;
  doubted.sealed = false;
  done.learned.push_back({host_.filesystems[doubted.slot], doubted, details, 0});
}

void Pipeline::settled(const Item& item) {
  const LargeFile& large = *item.large;
  if (!large.details.inconsistent) return;
  const std::string shown = escaped(host_.guests[item.guest].root.host_path(item.path));
  const std::lock_guard lock(mutex_);
  ++counts_.inconsistent;
  if (large.problem.message.empty())
    return context_.log.warning("changed while it was read, every time; marked inconsistent: " + shown);
  ++counts_.failed;
  context_.log.object_failed(large.problem.message +
                             " (stored with zeros in that place, marked inconsistent)");
}

void Pipeline::take_in_order(uint64_t number, Done done) {
  std::unique_lock lock(mutex_);
  ready_.emplace(number, std::move(done));
  if (taking_) return;  // whoever takes now will take this too
  taking_ = true;
  while (!ready_.empty() && ready_.begin()->first == taken_ && !error_) {
    Done next = std::move(ready_.begin()->second);
    ready_.erase(ready_.begin());
    lock.unlock();
    std::exception_ptr error;
    try {
      take(next);
    } catch (...) {
      error = std::current_exception();
    }
    lock.lock();
    if (error && !error_) error_ = error;
    ++taken_;
    changed_.notify_all();
  }
  taking_ = false;
}

void Pipeline::take(Done& done) {
  counts_.files_read += done.counts.files_read;
  counts_.bytes_read += done.counts.bytes_read;
  counts_.gone += done.counts.gone;
  counts_.failed += done.counts.failed;
  counts_.inconsistent += done.counts.inconsistent;
  counts_.verified += done.counts.verified;
  counts_.alarms += done.counts.alarms;
  for (auto& item : done.block.items) {
    if (!item.large || item.part + 1 != item.large->parts.size()) continue;
    LargeFile& large = *item.large;
    finish_large(large);
    Inode& row = host_.inodes[item.inode];
    large.inode.names = row.names;
    large.inode.shared = row.shared;
    row = large.inode;
    details_.put(item.inode, large.details);
    if (!large.details.inconsistent)
      done.learned.push_back(
          {host_.filesystems[large.inode.slot], large.inode, large.details, large.opened_ns});
  }
  for (size_t t = 0; t < targets_.size(); ++t) {
    if (failed_[t] || done.encoded[t].size == 0) continue;
    try {
      targets_[t]->take(done.block.items, std::move(done.encoded[t]));
    } catch (const Error& error) {
      failed_[t] = true;
      context_.log.error(targets_[t]->describe() + ": " + error.what());
      if (std::find(failed_.begin(), failed_.end(), false) == failed_.end()) throw;
    }
  }
  if (!done.learned.empty()) learn_(std::move(done.learned));
  context_.progress.add(done.block.items.size());
  if (done.block.then) done.block.then();
}

}  // namespace vs::backup
