#include "isolation/freezer.h"

#include "isolation/cgroup.h"
#include "isolation/context.h"

namespace vs::isolation {
namespace {

class Nothing : public FrozenGuest {};

class Frozen : public FrozenGuest {
 public:
  Frozen(const Cgroups& cgroups, std::string name) : cgroups_(cgroups), name_(std::move(name)) {}
  // There is nobody to tell that thawing failed; a guest that stays frozen shows it in `vserver NAME status`.
  ~Frozen() override {
    if (cgroups_.exists(name_)) static_cast<void>(cgroups_.freeze(name_, false).has_value());
  }

 private:
  Cgroups cgroups_;
  std::string name_;
};

class CgroupFreezer : public GuestFreezer {
 public:
  explicit CgroupFreezer(const Places& places) : contexts_(make_contexts(places)) {}
  Expected<std::unique_ptr<FrozenGuest>> freeze(const std::string& guest) override {
    if (!contexts_->find_named(guest) || cgroups_.frozen(guest)) return std::unique_ptr<FrozenGuest>(std::make_unique<Nothing>());
    auto frozen = std::make_unique<Frozen>(cgroups_, guest);  // before: a freeze that times out is taken back, too
    if (auto done = cgroups_.freeze(guest, true); !done) return done.error();
    return std::unique_ptr<FrozenGuest>(std::move(frozen));
  }

 private:
  std::unique_ptr<Contexts> contexts_;
  Cgroups cgroups_;
};

}  // namespace

std::unique_ptr<GuestFreezer> make_freezer(const Places& places) { return std::make_unique<CgroupFreezer>(places); }

}  // namespace vs::isolation
