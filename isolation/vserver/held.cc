#include "isolation/vserver/held.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <unistd.h>

#include <fstream>
#include <sstream>

#include "core/durable/durable_file.h"
#include "core/error.h"
#include "core/unique_fd.h"

namespace vs::isolation {

Held::Held(const Places& places, const std::string& name)
    : file_(fmt::format("{}/{}.held", places.run, name)) {}

bool Held::exists() const {
  return ::access(file_.c_str(), F_OK) == 0;
}

void Held::begin() const {
  const UniqueFd fd(::open(file_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_CLOEXEC, 0600));
  if (!fd) throw Error(problem_from_errno("create", file_).message);
}

void Held::add(const std::string& kind, const std::string& name) const {
  const UniqueFd fd(::open(file_.c_str(), O_WRONLY | O_APPEND | O_CLOEXEC));
  if (!fd) throw Error(problem_from_errno("open", file_).message);
  // One write: a line is there whole or not at all. /run does not survive a crash of the machine, and neither
  // does what is held.
  ok_or_throw(write_all(fd.get(), fmt::format("{} {}\n", kind, name), file_));
}

std::vector<Held::Item> Held::items() const {
  std::vector<Item> all;
  std::ifstream file(file_);
  for (std::string line; std::getline(file, line);)
    if (const size_t blank = line.find(' '); blank != std::string::npos)
      all.push_back({line.substr(0, blank), line.substr(blank + 1)});
  return all;
}

void Held::end() const {
  ::unlink(file_.c_str());
}

}  // namespace vs::isolation
