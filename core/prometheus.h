// Text for node_exporter's textfile collector: metrics that are all gauges, each declared once, with its
// samples right behind. The format allows one HELP per metric, so what is one metric must come in one go.
#pragma once

#include <concepts>
#include <cstdint>
#include <string>
#include <string_view>

namespace vs {

// `,key="value"`, for a sample. Text out of guests may be given: it becomes UTF-8 on one line (escaped()).
std::string prometheus_label(std::string_view key, std::string_view value);

class Exposition {
 public:
  // Each name begins with `prefix`; each sample has the label `common` (made by prometheus_label, or "").
  explicit Exposition(std::string_view prefix, std::string_view common = {});

  void metric(std::string_view name, std::string_view help);
  // As little text as tells the number from all others.
  void sample(const std::string& labels, double value);
  void sample(const std::string& labels, std::integral auto value) { add(labels, std::to_string(value)); }
  void single(std::string_view name, std::string_view help, auto value) {
    metric(name, help);
    sample("", value);
  }
  std::string take() { return std::move(out_); }

 private:
  void add(const std::string& labels, const std::string& value);
  std::string prefix_, common_, name_, out_;
};

}  // namespace vs
