#include "backup/source/path_globs.h"

#include <fnmatch.h>

#include <sstream>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/tree/root_dir.h"

namespace vs::backup {

PathGlobs::PathGlobs(const std::vector<std::string>& globs)
    : used_(std::make_unique<std::atomic<bool>[]>(globs.size())) {
  for (const auto& given : globs) {
    std::string pattern = given;
    if (pattern.ends_with("/**")) pattern.resize(pattern.size() - 3);
    while (pattern.ends_with('/')) pattern.pop_back();
    const bool last_component = pattern.find('/') == std::string::npos;
    while (pattern.starts_with('/')) pattern.erase(0, 1);
    if (pattern.empty())
      throw Error("'" + escaped(given) + "': expected a path or a pattern such as var/cache/* or *.swp",
                  Exit::usage);
    globs_.push_back({given, std::move(pattern), last_component});
  }
}

bool PathGlobs::fit(const std::string& path) const {
  bool any = false;
  for (size_t i = 0; i < globs_.size(); ++i) {
    const std::string last = globs_[i].last_component ? std::string(split_path(path).second) : std::string();
    const char* text = globs_[i].last_component ? last.c_str() : path.c_str();
    if (::fnmatch(globs_[i].pattern.c_str(), text, FNM_PATHNAME) != 0) continue;
    used_[i].store(true, std::memory_order_relaxed);
    any = true;
  }
  return any;
}

std::vector<std::string> PathGlobs::unused() const {
  std::vector<std::string> unused;
  for (size_t i = 0; i < globs_.size(); ++i)
    if (!used_[i].load(std::memory_order_relaxed)) unused.push_back(globs_[i].given);
  return unused;
}

std::vector<std::string> globs_in_file(const std::string& path) {
  std::vector<std::string> globs;
  std::istringstream lines(value_or_throw(read_whole(path), Exit::usage));
  for (std::string line; std::getline(lines, line);) {
    if (line.ends_with('\r')) line.pop_back();
    if (!line.empty() && line[0] != '#') globs.push_back(line);
  }
  return globs;
}

}  // namespace vs::backup
