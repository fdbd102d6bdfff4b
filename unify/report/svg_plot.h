// Pieces every plot of the savings page is made of: axes, lines, texts, marks with a tooltip. All append to
// `out`; colours are the classes of savings_style.h. What is called html is escaped already, other text is
// escaped here.
//
// Our own rather than a plotting library: three kinds of plot that must work without scripts, in dark mode,
// and with names that guests chose. Frozen in unify/report.
#pragma once

#include <fmt/format.h>

#include <iterator>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

namespace vs::unify::svg {

inline constexpr double kWidth = 1040;  // of every plot, in its own units: about one pixel on a wide screen

template <class... Args>
void add(std::string& out, fmt::format_string<Args...> format, Args&&... args) {
  fmt::format_to(std::back_inserter(out), format, std::forward<Args>(args)...);
}

// An axis from 0 to `end` with a line each `step`, both multiples of 1, 2 or 5 in the unit shown.
struct Axis {
  double end = 1;
  double step = 1;
  double unit = 1;  // what one of the shown numbers is worth
  std::string unit_name;
};

// The least of 1, 2, 5 times a power of ten that is not below `rough`.
double nice_step(double rough);
// About `lines` lines up to at least `largest`; sizes in bytes get a unit.
Axis size_axis(double largest, double lines);
Axis count_axis(double largest, double lines);
std::string tick_text(const Axis& axis, double value);
std::string with_unit(std::string_view what, const Axis& axis);

// Where many bars stand side by side a few may be so much larger (the first night's links, one huge guest)
// that the others would be flat: then the axis ends at the others and those few are cut, see add_cut and
// cut_note.
double reach_of(std::vector<double> values);

// Where an upright plot stands.
struct Panel {
  double left = 0, right = 0, top = 0, bottom = 0;
  double height() const { return bottom - top; }
  double width() const { return right - left; }
};

void open_plot(std::string& out, double height, std::string_view label);
void close_plot(std::string& out);
void add_text(std::string& out, double x, double y, std::string_view anchor, std::string_view kind,
              std::string_view html);
void add_line(std::string& out, double x1, double y1, double x2, double y2, std::string_view kind);
void add_rect(std::string& out, double x, double y, double width, double height, std::string_view kind);
// A mark and its tooltip: everything drawn in between belongs to it.
void open_mark(std::string& out, const std::string& name_html, const std::string& tip_html);
void close_mark(std::string& out);
// The axis at the left of the panel, with its grid and title.
void add_left_axis(std::string& out, const Panel& panel, const Axis& axis, std::string_view title);
// The gap in a bar that says that it ends only outside the picture, if it does.
void add_cut(std::string& out, const Panel& panel, double x, double width, double value, const Axis& axis);
// ", 3 bars cut": for the title of the axis.
std::string cut_note(const std::vector<double>& values, const Axis& axis);

}  // namespace vs::unify::svg
