// What went wrong while a mount was served, each thing once: a program that meets EIO tries again, and a
// kernel that reads ahead asks twice. Thread safe.
#pragma once

#include <mutex>
#include <set>
#include <string>

#include "core/log.h"

namespace vs::backup {

class Troubles {
 public:
  explicit Troubles(Log& log) : log_(log) {}

  void tell(const std::string& text) {
    {
      const std::lock_guard lock(mutex_);
      // The log names so many, and counts the rest.
      if (told_.contains(text) || (told_.size() < Log::kNamed && !told_.insert(text).second)) return;
    }
    log_.object_failed(text);
  }

 private:
  Log& log_;
  std::mutex mutex_;
  std::set<std::string> told_;
};

}  // namespace vs::backup
