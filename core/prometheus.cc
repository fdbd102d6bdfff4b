#include "core/prometheus.h"

#include <fmt/format.h>

#include "core/escape.h"

namespace vs {

std::string prometheus_label(std::string_view key, std::string_view value) {
  std::string text;
  for (const char c : escaped(value)) {
    if (c == '\\' || c == '"') text += '\\';
    text += c;
  }
  return fmt::format(",{}=\"{}\"", key, text);
}

Exposition::Exposition(std::string_view prefix, std::string_view common) : prefix_(prefix), common_(common) {}

void Exposition::metric(std::string_view name, std::string_view help) {
  name_ = prefix_ + std::string(name);
  out_ += fmt::format("# HELP {0} {1}\n# TYPE {0} gauge\n", name_, help);
}

void Exposition::sample(const std::string& labels, double value) {
  add(labels, fmt::format("{}", value));
}

void Exposition::add(const std::string& labels, const std::string& value) {
  const std::string all = common_ + labels;
  out_ += all.empty() ? fmt::format("{} {}\n", name_, value)
                      : fmt::format("{}{{{}}} {}\n", name_, all.substr(1), value);
}

}  // namespace vs
