#include "unify/packages/trouble_log.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/escape.h"

namespace vs::unify {

void TroubleLog::add(std::string_view file, std::string detail, bool passing) {
  if (troubles_.size() - start_ >= kMaxInAll) return;
  if (file != last_file_) {
    last_file_ = file;
    in_last_file_ = 0;
  }
  if (++in_last_file_ > kMaxPerFile + 1) return;
  if (in_last_file_ == kMaxPerFile + 1) detail = "more troubles with this file are not listed";
  troubles_.push_back({escaped(file), std::move(detail), passing});
}

void TroubleLog::add_line(std::string_view file, std::string_view text, std::string_view line,
                          std::string_view expected) {
  // Counted only now: good files need no line numbers, and a bad one is counted ten times at most.
  if (file == last_file_ && in_last_file_ > kMaxPerFile) return;
  const auto number = 1 + std::count(text.data(), line.data(), '\n');
  constexpr size_t kShown = 80;
  add(file, fmt::format("line {}: expected {}, found \"{}\"{}", number, expected,
                        escaped(line.substr(0, kShown)), line.size() > kShown ? "..." : ""));
}

}  // namespace vs::unify
