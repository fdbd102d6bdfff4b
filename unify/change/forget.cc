#include "unify/change/forget.h"

#include <fmt/format.h>
#include <unistd.h>

#include <cerrno>

#include "core/escape.h"
#include "core/store/seal_keeper.h"
#include "core/store/unsealed_window.h"
#include "unify/change/master_maker.h"

namespace vs::unify {
namespace {

class Forgetter {
 public:
  Forgetter(const ForgetInput& input, Log& log) : input_(input), log_(log) { ok_or_throw(keeper_.start()); }

  Result drop(const NameOfMaster& name) {
    const RootDir& root = input_.guests[name.guest].root;
    const auto [parent, base] = split_path(name.path);
    const std::string last(base), shown = root.host_path(name.path);
    const auto dir = root.open_dir(parent);
    if (!dir) return dir.error();
    const auto master = open_recorded(input_.store, input_.masters[name.master]);
    if (!master) return master.error();
    const auto outcome = in_unsealed_window(
        input_.guard, shared_file(*master), keeper_, counts_, &log_,
        [&]() -> Result {
          const auto there = stat_at(dir->get(), last.c_str(), shown);
          if (!there) return there.error();
          if (there->ino != master->record.ino)
            return Problem{ESTALE, escaped(shown) + " is no name of a shared file any more"};
          if (::unlinkat(dir->get(), last.c_str(), 0) == 0) return Ok{};
          return problem_from_errno("remove", shown);
        },
        {});
    return outcome.changed;
  }

 private:
  const ForgetInput& input_;
  Log& log_;
  SealKeeper keeper_;
  WindowCounts counts_;
};

}  // namespace

ForgetResult forget_names(const ForgetInput& input, const std::vector<NameOfMaster>& names,
                          RunContext& context) {
  ForgetResult result;
  Forgetter forgetter(input, context.log);
  context.progress.start("forget", "files", names.size());
  for (const auto& name : names) {
    if (context.cancel.stop()) break;
    context.progress.add();
    if (const Result dropped = forgetter.drop(name); dropped) {
      ++result.dropped;
    } else if (dropped.error().code != ENOENT) {
      ++result.left;
      context.log.object_failed(dropped.error().message);
    }
  }
  context.progress.finish();
  return result;
}

}  // namespace vs::unify
