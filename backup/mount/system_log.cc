#include "backup/mount/system_log.h"

#include <syslog.h>

#include <cstdio>
#include <string_view>

#include "core/error.h"

namespace vs::backup {
namespace {

ssize_t write_lines(void*, const char* bytes, size_t size) {
  std::string_view rest(bytes, size);
  while (!rest.empty()) {
    const std::string_view line = rest.substr(0, rest.find('\n'));
    if (!line.empty()) ::syslog(LOG_DAEMON | LOG_WARNING, "%.*s", static_cast<int>(line.size()), line.data());
    rest.remove_prefix(line.size() < rest.size() ? line.size() + 1 : line.size());
  }
  return static_cast<ssize_t>(size);
}

}  // namespace

void send_stderr_to_system_log(const char* program) {
  ::openlog(program, LOG_PID, LOG_DAEMON);
  std::FILE* stream = ::fopencookie(nullptr, "w", {nullptr, write_lines, nullptr, nullptr});
  if (stream == nullptr) throw Error(problem_from_errno("open", "the system's log").message);
  std::setvbuf(stream, nullptr, _IOLBF, BUFSIZ);
  stderr = stream;
}

}  // namespace vs::backup
