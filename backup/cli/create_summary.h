// What `vbackup create` says at its end.
#pragma once

#include <memory>
#include <nlohmann/json_fwd.hpp>
#include <string>
#include <vector>

#include "backup/backup.h"
#include "backup/freeze_delta.h"

namespace vs::backup {

struct CreateReport {
  struct Stored {
    std::string to;  // as describe() of a target says
    Target::Counts counts;
  };
  CreateResult result;
  std::vector<Stored> targets;
  uint64_t targets_left_out = 0;     // that could not be opened
  std::vector<FrozenResult> frozen;  // guests that were looked at once more, standing still
  std::string consistency;
  uint64_t forgotten = 0;  // old archives that were removed after the run

  uint64_t failed_targets() const;
  // Of all guests and targets.
  bool all_targets() const;
  // Each guest that runs was frozen, and all of it was stored.
  bool all_stood_still() const;
  nlohmann::ordered_json json() const;
  std::string text() const;
};

std::vector<CreateReport::Stored> stored_in(const std::vector<std::unique_ptr<Target>>& targets);

}  // namespace vs::backup
