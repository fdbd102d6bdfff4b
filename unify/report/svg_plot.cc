#include "unify/report/svg_plot.h"

#include <algorithm>
#include <array>
#include <cmath>

#include "core/escape.h"
#include "unify/report/report_text.h"

namespace vs::unify::svg {
namespace {

constexpr double kRounding = 1.0001;  // what adding up steps may be off

Axis axis_for(double largest, double lines, double least_step) {
  Axis axis;
  axis.step = std::max(least_step, nice_step(std::max(largest, 1.0) / lines));
  axis.end = axis.step * std::max(1.0, std::ceil(largest / axis.step * 0.9999));
  return axis;
}

}  // namespace

double nice_step(double rough) {
  const double power = std::pow(10.0, std::floor(std::log10(rough)));
  for (const double factor : {1.0, 2.0, 5.0})
    if (rough <= factor * power * kRounding) return factor * power;
  return 10 * power;
}

Axis size_axis(double largest, double lines) {
  static constexpr std::array<const char*, 7> kUnits = {"bytes", "kB", "MB", "GB", "TB", "PB", "EB"};
  Axis axis = axis_for(largest, lines, 1);
  size_t unit = 0;
  for (; axis.end >= 1000 * axis.unit && unit + 1 < kUnits.size(); ++unit) axis.unit *= 1000;
  axis.unit_name = kUnits[unit];
  return axis;
}

Axis count_axis(double largest, double lines) {
  return axis_for(largest, lines, 1);
}

std::string tick_text(const Axis& axis, double value) {
  const double number = value / axis.unit;
  return number < 1000 ? fmt::format("{:.6g}", number) : count_text(static_cast<uint64_t>(number));
}

double reach_of(std::vector<double> values) {
  std::ranges::sort(values, std::ranges::greater{});
  if (values.size() < 3) return values.empty() ? 0 : values.front();
  const double rest = values[std::max<size_t>(1, values.size() / 50)];
  return rest > 0 && values.front() > 5 * rest ? rest * 1.25 : values.front();
}

void open_plot(std::string& out, double height, std::string_view label) {
  add(out,
      "<div class=\"scroll\"><svg class=\"plot\" viewBox=\"0 0 {:.0f} {:.0f}\" role=\"img\" "
      "aria-label=\"{}\">\n",
      kWidth, height, html_escaped(label));
}

void close_plot(std::string& out) {
  out += "</svg></div>\n";
}

void add_text(std::string& out, double x, double y, std::string_view anchor, std::string_view kind,
              std::string_view html) {
  add(out, "<text x=\"{:.1f}\" y=\"{:.1f}\" text-anchor=\"{}\"{}>{}</text>\n", x, y, anchor,
      kind.empty() ? "" : fmt::format(" class=\"{}\"", kind), html);
}

void add_line(std::string& out, double x1, double y1, double x2, double y2, std::string_view kind) {
  add(out, "<line x1=\"{:.1f}\" y1=\"{:.1f}\" x2=\"{:.1f}\" y2=\"{:.1f}\" class=\"{}\"/>\n", x1, y1, x2, y2,
      kind);
}

void add_rect(std::string& out, double x, double y, double width, double height, std::string_view kind) {
  if (width <= 0 || height <= 0) return;
  add(out, "<rect x=\"{:.2f}\" y=\"{:.2f}\" width=\"{:.2f}\" height=\"{:.2f}\" class=\"{}\"/>", x, y, width,
      height, kind);
}

void open_mark(std::string& out, const std::string& name_html, const std::string& tip_html) {
  add(out, "<g class=\"bar\"><title>{}{}{}</title>", name_html,
      name_html.empty() || tip_html.empty() ? "" : "\n", tip_html);
}

void close_mark(std::string& out) {
  out += "</g>\n";
}

void add_left_axis(std::string& out, const Panel& panel, const Axis& axis, std::string_view title) {
  for (double value = 0; value <= axis.end * kRounding; value += axis.step) {
    const double y = panel.bottom - value / axis.end * panel.height();
    add_line(out, panel.left, y, panel.right, y, value == 0 ? "base" : "grid");
    add_text(out, panel.left - 8, y + 4, "end", "tick", tick_text(axis, value));
  }
  add_text(out, panel.left, panel.top - 10, "start", "axis", html_escaped(title));
}

void add_cut(std::string& out, const Panel& panel, double x, double width, double value, const Axis& axis) {
  if (value > axis.end * kRounding) add_rect(out, x, panel.top + 9, width, 3, "gap");
}

std::string cut_note(const std::vector<double>& values, const Axis& axis) {
  const auto cut = std::ranges::count_if(values, [&](double value) { return value > axis.end * kRounding; });
  if (cut == 0) return "";
  return cut == 1 ? ", one bar cut" : fmt::format(", {} bars cut", cut);
}

std::string with_unit(std::string_view what, const Axis& axis) {
  return fmt::format("{} ({})", what, axis.unit_name);
}

}  // namespace vs::unify::svg
