#include "backup/freeze_delta.h"

#include <chrono>

namespace vs::backup {

std::vector<FrozenResult> freeze_delta(const std::vector<std::pair<std::string, std::string>>& trees, const std::function<OpenedTargets()>& open_targets, GuestFreezer& freezer, CreateOptions options,
                                       RunContext& context) {
  std::vector<FrozenResult> results;
  options.consistency = "frozen";
  options.verify_sample = 0;  // reading what seems unchanged is for the live pass
  for (const auto& [name, path] : trees) {
    if (context.cancel.stop()) break;
    FrozenResult one;
    one.guest = name;
    // All that can be done before is: the set is opened, the second of the last stamp is over.
    OpenedTargets opened = open_targets();
    std::vector<Guest> guests;
    guests.push_back({name, "--tree", RootDir(path)});
    wait_for_next_stamp(opened.last_stamp);
    const auto begin = std::chrono::steady_clock::now();
    auto frozen = freezer.freeze(name);
    if (!frozen) {
      one.why_not = frozen.error().message;
      context.log.warning(name + " was archived live: " + one.why_not);
    } else {
      one.frozen = true;
      one.result = create_backup(std::move(guests), opened.targets, opened.last_stamp, options, context);
      frozen->reset();
      one.seconds = std::chrono::duration<double>(std::chrono::steady_clock::now() - begin).count();
    }
    results.push_back(std::move(one));
  }
  return results;
}

}  // namespace vs::backup
