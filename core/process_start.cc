#include "core/process_start.h"

#include <sstream>
#include <string>

#include "core/durable/durable_file.h"

namespace vs {

uint64_t process_start(pid_t pid) {
  const std::string text = read_or_empty("/proc/" + std::to_string(pid) + "/stat");
  const size_t close = text.rfind(')');  // the name in field 2 may hold anything
  if (close == std::string::npos) return 0;
  std::istringstream words(text.substr(close + 1));
  std::string word;
  for (int field = 3; words >> word; ++field) {
    if (field == 3 && (word == "Z" || word == "X")) return 0;
    if (field == 22) return std::stoull(word);
  }
  return 0;
}

}  // namespace vs
