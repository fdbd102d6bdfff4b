#include "backup/freeze_delta.h"

#include <fmt/format.h>

#include <cerrno>

#include "core/escape.h"

namespace vs::backup {
namespace {

using Clock = std::chrono::steady_clock;

// One incremental of a guest that stands still. Throws what ends the run; what ends only this goes into
// `one`.
void archive_frozen(FrozenResult& one, std::unique_ptr<FrozenGuest> frozen, Clock::time_point begin,
                    std::vector<Guest> guests, OpenedTargets& opened, const FreezeOptions& freeze,
                    CreateOptions options, RunContext& context) {
  const auto thaw = [&] {
    frozen.reset();
    one.seconds = std::chrono::duration<double>(Clock::now() - begin).count();
  };
  Cancel limited(&context.cancel);
  limited.limit_runtime(freeze.budget -
                        std::chrono::duration_cast<std::chrono::milliseconds>(Clock::now() - begin));
  RunContext within{context.log, context.progress, context.timer, limited, context.jobs};
  options.before_finish.was_read = [&](GuestNumber) {
    if (!frozen->holds_still()) throw Error("somebody let it run on while it was read");
    thaw();
    one.frozen = true;
  };
  try {
    one.result = create_backup(std::move(guests), opened.targets, opened.last_stamp, options, within);
  } catch (const Error& error) {
    if (context.cancel.stop() || one.frozen) throw;
    one.why_not = limited.out_of_time() ? fmt::format("what had changed was not read within {:.1f} s",
                                                      static_cast<double>(freeze.budget.count()) / 1e3)
                                        : error.what();
  }
  if (frozen) thaw();
}

}  // namespace

std::vector<FrozenResult> freeze_delta(const std::vector<std::pair<std::string, std::string>>& trees,
                                       const FreezeOptions& freeze, GuestFreezer& freezer,
                                       CreateOptions options, RunContext& context) {
  std::vector<FrozenResult> results;
  options.consistency = "frozen";
  options.verify_sample = 0;  // reading what seems unchanged is for the live pass
  for (const auto& [name, path] : trees) {
    if (context.cancel.stop()) break;
    FrozenResult one;
    one.guest = name;
    // All that can be done before is: the set is opened, the second of the last stamp is over.
    OpenedTargets opened = freeze.open_targets(name);
    one.target_left_out = opened.left_out != 0;
    std::vector<Guest> guests;
    try {
      guests.push_back({name, "--tree", RootDir(path)});
    } catch (const Error& error) {  // its tree is not there any more
      one.why_not = error.what();
      context.log.object_failed(escaped(name) + " was archived live: " + one.why_not);
      results.push_back(std::move(one));
      continue;
    }
    wait_for_next_stamp(opened.last_stamp);
    const auto begin = Clock::now();
    auto frozen = freezer.freeze(guests.front(), freeze.budget);
    if (frozen)
      archive_frozen(one, std::move(*frozen), begin, std::move(guests), opened, freeze, options, context);
    else
      one.why_not = frozen.error().message;
    one.running = frozen || frozen.error().code != ESRCH;
    if (one.running && !one.frozen) context.log.warning(escaped(name) + " was archived live: " + one.why_not);
    results.push_back(std::move(one));
  }
  return results;
}

}  // namespace vs::backup
