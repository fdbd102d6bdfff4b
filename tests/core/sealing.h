// What tests of sealed files need.
#pragma once

#include <functional>
#include <memory>
#include <optional>
#include <string>

#include "core/store/guard.h"
#include "tests/core/scratch.h"
#include "tests/support/skip.h"

namespace vs::unit {

// The immutable guard, and what a guest does around the moment in which a master is unsealed. Hooks run in
// the thread of the linker.
class HookedGuard final : public Guard {
 public:
  std::function<void(int fd)> after_unseal, before_seal, after_seal;
  bool fail_seal = false;  // as a filesystem that has become read-only

  std::string_view name() const override { return real_->name(); }
  bool shares_inodes() const override { return real_->shares_inodes(); }
  bool needs_window() const override { return real_->needs_window(); }
  Result probe(int scratch_dir) const override { return real_->probe(scratch_dir); }
  Result seal(int fd, const std::string& object) const override;
  Result unseal(int fd, const std::string& object) const override;
  Expected<bool> is_sealed(int fd, const std::string& object) const override {
    return real_->is_sealed(fd, object);
  }

 private:
  std::unique_ptr<Guard> real_ = make_immutable_guard();
};

bool is_sealed(const std::string& path);
void seal(const std::string& path);
void unseal(const std::string& path);

// Why this machine cannot seal files where the tests work; nothing if it can.
std::optional<test::Obstacle> cannot_seal();

}  // namespace vs::unit
