#include "unify/change/stray_masters.h"

#include <algorithm>

namespace vs::unify {

struct StrayMasters::Stray {
  OpenMaster master;
  std::unique_ptr<UnsealedWindow> window;
};

StrayMasters::Alone::Alone(StrayMasters& strays) : strays_(&strays) {
  strays.mutex_.lock();
  if (strays.depth_++ == 0) strays.windows_.lock();
}

StrayMasters::Alone::~Alone() {
  if (strays_ == nullptr) return;
  if (--strays_->depth_ == 0) strays_->windows_.unlock();
  strays_->mutex_.unlock();
}

std::optional<OpenMaster> StrayMasters::find(uint64_t ino) const {
  const auto index = masters_.find(ino);
  if (!index) return std::nullopt;
  auto master = open_recorded(store_, masters_[*index]);
  if (master) return std::move(*master);
  log_.object_failed(master.error().message);
  return std::nullopt;
}

Result StrayMasters::unseal(std::vector<std::unique_ptr<Stray>>& strays,
                            std::initializer_list<uint64_t> inos) {
  for (const uint64_t ino : inos) {
    if (std::any_of(strays.begin(), strays.end(),
                    [&](const auto& known) { return known->master.record.ino == ino; }))
      continue;
    auto master = find(ino);
    if (!master) continue;
    const auto sealed = guard_.is_sealed(master->fd.get(), master->shown);
    if (!sealed) return sealed.error();
    if (!*sealed) continue;
    Stray& stray = *strays.emplace_back(std::make_unique<Stray>());
    stray.master = std::move(*master);
    stray.window =
        std::make_unique<UnsealedWindow>(guard_, shared_file(stray.master), keeper_, counts_, &log_);
    if (auto opened = stray.window->open(); !opened) return opened;
  }
  return Ok{};
}

void StrayMasters::seal(Stray& stray) {
  if (!stray.window) return;
  const auto verdict = stray.window->close();
  if (verdict != UnsealedWindow::Verdict::intact) changed_.push_back(*masters_.find(stray.master.record.ino));
  left_unsealed_ = left_unsealed_ || verdict == UnsealedWindow::Verdict::unsealed;
}

Result StrayMasters::with_unsealed(std::initializer_list<uint64_t> inos,
                                   const std::function<Result()>& step) {
  const auto lock = alone();
  std::vector<std::unique_ptr<Stray>> strays;
  Result result = unseal(strays, inos);
  if (result) result = step();
  for (const auto& stray : strays) seal(*stray);
  return result;
}

std::vector<MasterRecord> StrayMasters::retire_changed(MasterTable& masters) {
  std::vector<MasterRecord> retired;
  for (const MasterNumber master : changed()) {
    masters.retire(master);
    retired.push_back(masters[master]);
  }
  return retired;
}

}  // namespace vs::unify
