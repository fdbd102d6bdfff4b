// Paths as people write them for --exclude and --include.
#pragma once

#include <atomic>
#include <memory>
#include <string>
#include <vector>

namespace vs::backup {

// Globs over paths that are relative to a guest's root. Where one has a '/', all of the path must fit
// ("var/cache/*", "/home/*/.cache": no '*' stands for a '/'); else its last component must ("*.swp"). A '/'
// at the end, or "/**", is as if it were not there.
class PathGlobs {
 public:
  // Throws Error(Exit::usage) for an empty one.
  explicit PathGlobs(const std::vector<std::string>& globs = {});
  bool empty() const { return globs_.empty(); }
  // Whether any fits, and it is noted which. For any thread.
  bool fit(const std::string& path) const;
  // Those that fitted nothing so far, as they were given.
  std::vector<std::string> unused() const;

 private:
  struct Glob {
    std::string given, pattern;
    bool last_component = false;
  };
  std::vector<Glob> globs_;
  std::unique_ptr<std::atomic<bool>[]> used_;  // by glob
};

// The globs in a file: one a line; empty lines, and those that begin with '#', are none. Throws
// Error(Exit::usage) for a file that cannot be read.
std::vector<std::string> globs_in_file(const std::string& path);

}  // namespace vs::backup
