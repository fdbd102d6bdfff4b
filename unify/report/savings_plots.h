// The plots of the savings page: SVG to stand in HTML, coloured by the classes of savings_style.h, every mark
// with a <title> as tooltip. Guest-made names are cut and escaped here.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "unify/report/savings.h"

namespace vs::unify {

// One mark: a name and one or two sizes in bytes stacked.
struct PlotBar {
  std::string_view name;  // raw
  double first = 0;
  double second = 0;
  std::string tip;  // lines of the tooltip below the name; no guest-made text
};

struct BarKinds {
  std::string_view first = "own";  // class that colours it
  std::string_view second = "shared";
  std::string_view axis;   // what the length means, without unit: "disk"
  std::string_view label;  // of the whole plot, for those who cannot see it
};

// One line a bar with its name; for at most some dozens.
std::string bar_plot(const std::vector<PlotBar>& bars, const BarKinds& kinds);
// Upright bars side by side without names, for hundreds and thousands; beyond kStripColumns each stands for
// neighbours and shows their mean.
inline constexpr size_t kStripColumns = 500;
std::string strip_plot(const std::vector<PlotBar>& bars, const BarKinds& kinds);
// Saved bytes and new links by run, the last kTrendRuns of them.
inline constexpr size_t kTrendRuns = 120;
std::string trend_plot(const std::vector<HistoryEntry>& nights);

}  // namespace vs::unify
