// Proof that nobody opened a file or directory: fanotify on it. Whoever opens, reads or changes one of the
// watched objects, by whatever path, is in opened(). O_PATH descriptors are not opens and are not seen;
// nothing can be read or changed through them.
#pragma once

#include <optional>
#include <string>
#include <vector>

#include "tests/support/skip.h"

namespace vs::test {

class OpenWatch {
 public:
  static std::optional<Obstacle> impossible();  // needs root and CONFIG_FANOTIFY
  OpenWatch();
  ~OpenWatch();
  OpenWatch(const OpenWatch&) = delete;
  void file(const std::string& path);
  void tree(const std::string& root);  // every directory and file below
  // "COMMAND (pid N) opened PATH" for each event since the last call that is not of this process.
  std::vector<std::string> opened();

 private:
  int fd_ = -1;
};

}  // namespace vs::test
