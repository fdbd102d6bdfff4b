#include "backup/backup.h"

#include <ctime>
#include <iterator>

#include "backup/archive/archive_set.h"
#include "backup/known_inodes.h"
#include "backup/learner.h"
#include "backup/source/inode_index.h"
#include "backup/source/open_mounts.h"

namespace vs::backup {
namespace {

void stop_if_asked(const RunContext& context) {
  if (context.cancel.stop()) throw Error("interrupted; archives that were complete stay", Exit::interrupted);
}

// --- The passes -------------------------------------------------------------------------------------------

using Mounts = TypedVector<GuestNumber, std::vector<std::string>>;  // paths of entered mounts

Mounts reach(std::vector<Guest>& guests, const CreateOptions& options) {
  if (options.cross_mounts) return enter_mounts(guests);
  see_through_private_mounts(guests);
  return {};
}

ScannedHost scan(std::vector<Guest> guests, const Mounts& mounts, const CreateOptions& options,
                 RunContext& context) {
  const auto timed = context.timer.time("scan");
  context.progress.start("scanning", "names", 0);
  ScannedHost host;
  host.guests.assign(std::make_move_iterator(guests.begin()), std::make_move_iterator(guests.end()));
  walk(host, {options.exclusion, options.filesystems, mounts, options.subvolumes}, context);
  context.progress.finish();
  return host;
}

// Null if none is wanted or can be had: a run without it reads what it need not read, and that is all.
std::unique_ptr<InodeIndex> open_index(const CreateOptions& options, RunContext& context) {
  if (!options.state) return nullptr;
  try {
    return std::make_unique<InodeIndex>(*options.state, false, context.log);
  } catch (const Error& error) {
    context.log.object_failed(std::string(error.what()) +
                              "; all files are read, and what this run reads is not remembered");
    return nullptr;
  }
}

KnownInodes know(const ScannedHost& host, const InodeIndex* index, const std::string& stamp,
                 const CreateOptions& options, RunContext& context) {
  const auto timed = context.timer.time("decide");
  return find_known(host, index, stamp, options.verify_sample);
}

void begin(Pipeline& pipeline, const RunView& run, RunContext& context) {
  const auto timed = context.timer.time("prepare");
  pipeline.each_target([&](Target& target) { target.begin(run); });
}

void write_shared(WritePasses& passes, RunContext& context) {
  const auto timed = context.timer.time("shared");
  passes.write_shared();
}

void write_guests(WritePasses& passes, GuestNumber end, Pipeline& pipeline, RunContext& context) {
  const auto timed = context.timer.time("guests");
  for (GuestNumber guest; guest < end; ++guest) {
    stop_if_asked(context);
    passes.write_guest(guest);
  }
  pipeline.drain();
}

void learn(Learner& learner, RunContext& context) {
  const auto timed = context.timer.time("learn");
  learner.flush();
}

// ----------------------------------------------------------------------------------------------------------

// What a run that ends early leaves: finished archives, and the knowledge of what was read, which is true
// whatever became of the archives.
void abandon(const std::vector<Target*>& targets, Learner& learner) {
  for (Target* target : targets) target->abandon();
  learner.flush();
}

void count(CreateResult& result, const ScannedHost& host, const KnownInodes& known) {
  result.guests = host.guests.size();
  result.names = host.names;
  result.inodes = host.inodes.size();
  result.directories = host.directories;
  result.subvolumes_left_out = host.subvolumes_left_out;
  for (const auto& inode : host.inodes) result.shared += inode.shared ? 1 : 0;
  result.known = known.count;
}

}  // namespace

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
  std::vector<Target*> targets;
  for (const auto& target : owned) targets.push_back(target.get());
  // Two runs in one second, or a clock that was set back: archives of a set are ordered by their stamps. From
  // here on all archives of this run have the same one.
  wait_for_next_stamp(not_before);
  CreateResult result;
  result.stamp = stamp_of(now_ns());

  // 1. How each tree is entered. First, because all that looks into a tree goes through its root.
  const Mounts mounts = reach(guests, options);

  // 2. All names and inodes. Before anything is read, because an inode is read once however many names
  //    in however many guests it has. After it the scan is fixed: what changes in a tree from here on is
  //    noticed when it is read.
  ScannedHost host = scan(std::move(guests), mounts, options, context);
  stop_if_asked(context);
  if (options.before_finish.must_hold) options.before_finish.must_hold();

  // 3. Which inodes are what they were when an earlier run read them. Before targets are asked, because
  //    a target can say what it has only of what is known. After it the known details are fixed: planner
  //    and workers look at them without a lock.
  const std::unique_ptr<InodeIndex> index = open_index(options, context);
  const KnownInodes known = know(host, index.get(), result.stamp, options, context);
  count(result, host, known);

  ReadInodes read(host, known.details);
  TypedBits<InodeNumber> gone(host.inodes.size());
  const RunView run{
      host, known.details, read, gone, result.stamp, options.consistency, options.host_files, context.log};
  Learner learner(index.get(), options.moment_ns, context.log);
  try {
    const auto learn = [&](std::vector<InodeIndex::Learned>&& some) { learner.add(std::move(some)); };
    Pipeline pipeline(run, read, targets, learn, context);

    // 4. Each target looks at what it has. After it a target that cannot be written to is left out, and
    //    nothing is read for it.
    begin(pipeline, run, context);

    WritePasses passes(run, host, gone, known.sample, targets, pipeline, options.before_finish, context);
    context.progress.start("writing", "objects", 0);

    // 5. What several guests share, once. Before the guests, because their archives refer to it by
    //    number. After it the pool archive is complete and named, and what of it is gone is fixed.
    write_shared(passes, context);

    // 6. Guest by guest, depth first. After each its archive is complete, durable and named before the
    //    next one's.
    write_guests(passes, host.guests.next_number(), pipeline, context);

    // 7. What a target has left to do: a single archive gets its catalog and its name here.
    pipeline.each_target([](Target& target) { target.finish(); });
    result.failed_targets = pipeline.failed();
    context.progress.finish();
    result.counts = pipeline.counts();
  } catch (...) {
    abandon(targets, learner);
    throw;
  }

  // 8. What was read is known the next time. Last, because losing it costs reading, and nothing else.
  learn(learner, context);
  return result;
}

}  // namespace vs::backup
