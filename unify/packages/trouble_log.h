// Collects what is wrong with the package databases of one guest.
//
// A hostile database can be wrong a million times; ten reports per file and a thousand per guest say as much.
#pragma once

#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vs::unify {

// One trouble with one database, for the report. Both texts are escaped already (core/escape.h): what they
// quote is the guest's.
struct PackageTrouble {
  std::string file;    // guest-relative file the trouble is in
  std::string detail;  // place (line, record) and what was expected
  // The system refused, or the database changed meanwhile: another night it may be well. All else is an
  // oddity of the guest that stays until somebody repairs it.
  bool passing = false;
};

class TroubleLog {
 public:
  static constexpr size_t kMaxPerFile = 10;
  static constexpr size_t kMaxInAll = 1000;

  explicit TroubleLog(std::vector<PackageTrouble>& troubles) : troubles_(troubles), start_(troubles.size()) {}

  // `file` guest-relative, any bytes: escaped here. `detail` must be escaped where it quotes the guest.
  void add(std::string_view file, std::string detail) { add(file, std::move(detail), false); }
  void add_passing(std::string_view file, std::string detail) { add(file, std::move(detail), true); }
  size_t count() const { return troubles_.size() - start_; }
  // "line 12: expected a field, found "xyz"": `line` is a part of `text`, which is the file's content.
  void add_line(std::string_view file, std::string_view text, std::string_view line,
                std::string_view expected);

 private:
  void add(std::string_view file, std::string detail, bool passing);
  std::vector<PackageTrouble>& troubles_;
  size_t start_;
  std::string last_file_;
  size_t in_last_file_ = 0;
};

}  // namespace vs::unify
