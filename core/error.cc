#include "core/error.h"

#include <fmt/format.h>

#include <cerrno>
#include <system_error>

#include "core/escape.h"

namespace vs {

Problem problem_from(int errno_value, const std::string& tried, const std::string& object) {
  return {errno_value,
          fmt::format("{} {}: {}", tried, escaped(object), std::generic_category().message(errno_value))};
}

Problem problem_from_errno(const std::string& tried, const std::string& object) {
  return problem_from(errno, tried, object);
}

}  // namespace vs
