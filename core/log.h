// Lines for the person who runs the command, on stderr. Thread safe. Text out of guests must have gone
// through escaped(). A Log also counts what went wrong, so that main can choose between exit codes 0 and 3.
#pragma once

#include <atomic>
#include <cstdint>
#include <functional>
#include <map>
#include <mutex>
#include <string>
#include <string_view>

namespace vs {

enum class Verbosity { quiet = 0, normal = 1, verbose = 2, debug = 3 };

class Log {
 public:
  explicit Log(Verbosity verbosity, std::string program = "vunify");
  void error(const std::string& text);    // always; "vunify: error: ..."
  void warning(const std::string& text);  // unless quiet
  void info(const std::string& text);     // unless quiet
  void verbose(const std::string& text);
  void debug(const std::string& text);
  // One object that could not be handled: warned of, up to kNamed by name and the rest by number (finish()).
  void object_failed(const std::string& text);
  void finish();
  // Troubles that may befall any number of objects are counted by who knows all of them; of each kind the
  // first is remembered here, as an example, and told with the number at the end: "warning: 12 x no_space (no
  // space ...), the first: ...". Also when quiet.
  void remember_first(std::string_view kind, const std::string& text);
  void tell_number(std::string_view kind, uint64_t count, std::string_view explanation);
  uint64_t failed_objects() const { return failed_objects_; }
  bool shows(Verbosity at_least) const { return verbosity_ >= at_least; }
  // Called under the lock before a line is written: the progress line clears itself there.
  void before_line(std::function<void()> clear);

  static constexpr uint64_t kNamed = 200;  // a run over broken disks must not fill the journal of the host

 private:
  void line(const char* prefix, const std::string& text);
  const Verbosity verbosity_;
  const std::string program_;
  std::mutex mutex_;
  std::function<void()> clear_;
  std::atomic<uint64_t> failed_objects_{0};
  std::map<std::string, std::string, std::less<>> first_;  // by kind
};

}  // namespace vs
