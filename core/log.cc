#include "core/log.h"

#include <fmt/format.h>

#include <cstdio>

namespace vs {

Log::Log(Verbosity verbosity, std::string program) : verbosity_(verbosity), program_(std::move(program)) {}

void Log::line(const char* prefix, const std::string& text) {
  const std::string whole = fmt::format("{}: {}{}\n", program_, prefix, text);
  const std::lock_guard guard(mutex_);
  if (clear_) clear_();
  std::fwrite(whole.data(), 1, whole.size(), stderr);
}

void Log::error(const std::string& text) {
  line("error: ", text);
}
void Log::warning(const std::string& text) {
  if (shows(Verbosity::normal)) line("warning: ", text);
}
void Log::info(const std::string& text) {
  if (shows(Verbosity::normal)) line("", text);
}
void Log::verbose(const std::string& text) {
  if (shows(Verbosity::verbose)) line("", text);
}
void Log::debug(const std::string& text) {
  if (shows(Verbosity::debug)) line("debug: ", text);
}

void Log::object_failed(const std::string& text) {
  if (++failed_objects_ <= kNamed) line("warning: ", text);
}

void Log::finish() {
  if (failed_objects_ > kNamed)
    line("warning: ", fmt::format("and {} more of such lines", failed_objects_ - kNamed));
}

void Log::remember_first(std::string_view kind, const std::string& text) {
  const std::lock_guard guard(mutex_);
  if (first_.find(kind) == first_.end()) first_.emplace(kind, text);
}

void Log::tell_number(std::string_view kind, uint64_t count, std::string_view explanation) {
  std::string example;
  {
    const std::lock_guard guard(mutex_);
    if (const auto it = first_.find(kind); it != first_.end()) example = ", the first: " + it->second;
  }
  line("warning: ", fmt::format("{} x {} ({}){}", count, kind, explanation, example));
}

void Log::before_line(std::function<void()> clear) {
  const std::lock_guard guard(mutex_);
  clear_ = std::move(clear);
}

}  // namespace vs
