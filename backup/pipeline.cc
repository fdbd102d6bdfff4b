#include "backup/pipeline.h"

#include <algorithm>

#include "backup/archive/archive_set.h"
#include "backup/archive/compressor.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

constexpr unsigned kReadersAThread = 4;

}  // namespace

void PipelineCounts::add(const PipelineCounts& more) {
  files_read += more.files_read;
  bytes_read += more.bytes_read;
  gone += more.gone;
  inconsistent += more.inconsistent;
  failed += more.failed;
  verified += more.verified;
  alarms += more.alarms;
}

Pipeline::Pipeline(const RunView& run, ReadInodes& read, std::vector<Target*> targets, Learn learn,
                   RunContext& context)
    : run_(run),
      read_(read),
      targets_(std::move(targets)),
      learn_(std::move(learn)),
      context_(context),
      processors_(static_cast<ptrdiff_t>(std::max(1u, context.jobs))),
      failed_(targets_.size()) {
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

bool Pipeline::failed(size_t target) const {
  const std::lock_guard lock(mutex_);
  return failed_[target];
}

std::vector<bool> Pipeline::failed() const {
  const std::lock_guard lock(mutex_);
  return failed_;
}

void Pipeline::fail(size_t target, const Error& error) {
  if (error.code() == Exit::interrupted) throw error;
  const std::string what = targets_[target]->describe() + ": " + error.what();
  // The only one: what it says ends the run.
  if (targets_.size() == 1) throw Error(what, error.code());
  {
    const std::lock_guard lock(mutex_);
    if (failed_[target]) return;  // several workers may find the same
    failed_[target] = true;
  }
  context_.log.error(what + "; it is left out from here on");
  const std::vector<bool> all = failed();
  if (std::find(all.begin(), all.end(), false) == all.end()) throw Error("no target is left to write to");
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

Pipeline::BlockResult Pipeline::process(Block block) {
  BlockResult result;
  result.block = std::move(block);
  result.encoded.resize(targets_.size());
  Raw raw(targets_.size());
  for (size_t number = 0; number < result.block.items.size(); ++number) {
    if (context_.cancel.stop()) throw Error("interrupted", Exit::interrupted);
    process_item(number, result, raw);
  }
  compress(result, raw);
  return result;
}

void Pipeline::compress(BlockResult& result, const Raw& raw) {
  struct Slot {
    std::counting_semaphore<>& slots;
    explicit Slot(std::counting_semaphore<>& s) : slots(s) { slots.acquire(); }
    ~Slot() { slots.release(); }
  };
  const Slot slot(processors_);
  for (size_t t = 0; t < targets_.size(); ++t) {
    if (raw[t].empty()) continue;
    thread_local std::map<int, Compressor> compressors;
    const int level = targets_[t]->level();
    Compressor& compressor = compressors.try_emplace(level, level).first->second;
    for (std::string_view rest = raw[t]; !rest.empty();) {
      const std::string_view part = rest.substr(0, kLargestFrame);
      result.encoded[t].frames.push_back({compressor.frame(part), part.size()});
      rest.remove_prefix(part.size());
    }
  }
}

void Pipeline::process_item(size_t number, BlockResult& result, Raw& raw) {
  const Item& item = result.block.items[number];
  if (item.verify) return verify(item, result);
  if (item.large) return process_part(number, result, raw);
  ReadObject object;
  const bool reference = item.kind == Item::Kind::link || item.kind == Item::Kind::name;
  if (item.read) {
    if (!read_item(item, object, result)) return;
  } else if (!reference) {
    object.inode = run_.host.inodes[item.inode];
    object.details = run_.known.get(item.inode);
  }
  for (size_t t = 0; t < targets_.size(); ++t) {
    if ((item.wanted >> t & 1) == 0) continue;
    const uint64_t at = raw[t].size();
    with_target(t, [&](Target& target) {
      if (target.append(item, object.inode, object.details, object.content, raw[t]))
        result.encoded[t].placed.push_back({number, at});
    });
  }
}

// One part of a large file. The first one has the header before it, the last one the padding behind it.
void Pipeline::process_part(size_t number, BlockResult& result, Raw& raw) {
  const Item& item = result.block.items[number];
  LargeFile& large = *item.large;
  const bool last = item.part + 1 == large.parts.size();
  std::string data;
  read_part(large, item.part, data);
  result.counts.files_read += last ? 1 : 0;
  result.counts.bytes_read += data.size();
  uint64_t stored = 0;
  if (last)
    for (const auto& part : large.parts)
      for (const auto& range : part.ranges) stored += range.second;
  for (size_t t = 0; t < targets_.size(); ++t) {
    if ((item.wanted >> t & 1) == 0) continue;
    if (item.part == 0) {
      result.encoded[t].placed.push_back({number, raw[t].size()});
      with_target(
          t, [&](Target& target) { target.append(item, large.inode, large.details, large.map, raw[t]); });
    }
    raw[t] += data;
    if (last && stored % 512 != 0) raw[t].append(512 - stored % 512, '\0');
  }
}

// False if there is nothing to store: it is gone, or could not be read and is named.
bool Pipeline::read_item(const Item& item, ReadObject& object, BlockResult& result) {
  const int64_t seen = now_ns();
  const ReadResult outcome = read_object(run_.host, item, object);
  if (outcome.state != ReadState::done) {
    const bool failed = outcome.state == ReadState::failed;
    if (failed && item.last_try) {
      ++result.counts.failed;
      context_.log.object_failed(outcome.problem.message);
    } else if (item.last_try) {
      ++result.counts.gone;
      context_.log.verbose("gone before it was read: " + shown(item));
    }
    if (item.kind == Item::Kind::object && item.opened && is_file(object.inode))
      return zeros_instead(item, object, result);
    if (!is_dir(run_.host.inodes[item.inode])) result.read.push_back({item.inode, true, {}, {}});
    return false;
  }
  if (is_file(object.inode)) {
    ++result.counts.files_read;
    result.counts.bytes_read += object.content.data.size();
  }
  if (object.details.inconsistent) {
    ++result.counts.inconsistent;
    context_.log.warning("changed while it was read, every time; marked inconsistent: " + shown(item));
  }
  result.read.push_back({item.inode, false, object.inode, object.details});
  if (!object.details.inconsistent)
    result.learned.push_back(
        {run_.host.filesystems[object.inode.slot], object.inode, object.details, seen, object.doubt_ns});
  return true;
}

// A file of which other names are links to this one, and whose bytes cannot be read: they would lead nowhere.
// It was named as failed.
bool Pipeline::zeros_instead(const Item& item, ReadObject& object, BlockResult& result) {
  object.inode = run_.host.inodes[item.inode];
  object.details = {};
  object.details.content = ContentDigest(object.inode.size).finish();
  object.details.inconsistent = true;
  object.content = {};
  object.content.sparse = object.inode.size != 0;
  result.read.push_back({item.inode, false, object.inode, object.details});
  return true;
}

std::string Pipeline::shown(const Item& item) const {
  return escaped(run_.host.guests[item.guest].root.host_path(item.path));
}

// Nothing of the run depends on it. What differs is not believed the next time, whatever its times say.
void Pipeline::verify(const Item& item, BlockResult& result) {
  const Inode& believed = run_.host.inodes[item.inode];
  FileStat before;
  const auto fd = run_.host.guests[item.guest].root.open_regular(item.path, &before);
  if (!fd || before.ino != believed.ino || before.size != believed.size ||
      before.mtime_ns != believed.mtime_ns || before.ctime_ns != believed.ctime_ns)
    return;
  const std::string path = run_.host.guests[item.guest].root.host_path(item.path);
  const auto digest = digest_of(fd->get(), before.size, path, &context_.cancel);
  if (context_.cancel.stop()) throw Error("interrupted", Exit::interrupted);
  const auto after = stat_fd(fd->get(), path);
  if (!after || after->ctime_ns != before.ctime_ns) return;
  ++result.counts.verified;
  if (!digest) {
    ++result.counts.failed;
    return context_.log.object_failed(digest.error().message);
  }
  InodeDetails details = run_.known.get(item.inode);
  if (*digest == details.content) return;
  ++result.counts.alarms;
  context_.log.error(
      "ALARM: its bytes are not what they were, though nothing says that it was changed (bit rot, or "
      "somebody who can set clocks): " +
      escaped(path));
  Inode doubted = believed;
  doubted.sealed = false;
  result.learned.push_back({run_.host.filesystems[doubted.slot], doubted, details, 0, kRacyNs});
}

void Pipeline::settled(const Item& item) {
  const LargeFile& large = *item.large;
  if (!large.details.inconsistent) return;
  ++counts_.inconsistent;
  if (large.problem.message.empty())
    return context_.log.warning("changed while it was read, every time; marked inconsistent: " + shown(item));
  ++counts_.failed;
  context_.log.object_failed(large.problem.message +
                             " (stored with zeros in that place, marked inconsistent)");
}

void Pipeline::take_in_order(uint64_t number, BlockResult result) {
  std::unique_lock lock(mutex_);
  ready_.emplace(number, std::move(result));
  if (taking_) return;  // whoever takes now will take this too
  taking_ = true;
  while (!ready_.empty() && ready_.begin()->first == taken_ && !error_) {
    BlockResult next = std::move(ready_.begin()->second);
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

void Pipeline::take(BlockResult& result) {
  merge(result);
  for (size_t t = 0; t < targets_.size(); ++t)
    if (!result.encoded[t].frames.empty() && !failed(t))
      with_target(t, [&](Target& target) { target.take(result.block.items, std::move(result.encoded[t])); });
  if (!result.learned.empty()) learn_(std::move(result.learned));
  context_.progress.add(result.block.items.size());
  if (result.block.then) result.block.then();
}

void Pipeline::merge(BlockResult& result) {
  counts_.add(result.counts);
  for (const auto& found : result.read) read_.merge(found);
  for (const InodeNumber inode : result.block.gone) read_.merge({inode, true, {}, {}});
  for (auto& item : result.block.items)
    if (item.large && item.part + 1 == item.large->parts.size()) merge_large(item, result);
}

// All its parts were read: the last one is in this block.
void Pipeline::merge_large(Item& item, BlockResult& result) {
  LargeFile& large = *item.large;
  finish_large(large);
  read_.merge({item.inode, false, large.inode, large.details});
  if (!large.details.inconsistent)
    result.learned.push_back({run_.host.filesystems[large.inode.slot], large.inode, large.details,
                              large.opened_ns, large.doubt_ns});
}

}  // namespace vs::backup
