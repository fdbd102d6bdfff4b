#include "unify/report/savings_plots.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/escape.h"
#include "core/size_text.h"
#include "unify/report/html_parts.h"
#include "unify/report/report_text.h"
#include "unify/report/svg_plot.h"

namespace vs::unify {

using namespace svg;

namespace {

constexpr double kCharacter = 7.4;  // generous width of a character at 12 units

double total_of(const PlotBar& bar) {
  return bar.first + bar.second;
}

double largest_of(const std::vector<PlotBar>& bars) {
  double largest = 0;
  for (const PlotBar& bar : bars) largest = std::max(largest, total_of(bar));
  return largest;
}

// ---- one line a bar ----

constexpr double kRow = 22, kBarHeight = 14;
constexpr size_t kNameColumns = 30;

void add_row(std::string& out, const PlotBar& bar, const BarKinds& kinds, const Panel& panel, double y,
             double scale) {
  const double first = bar.first * scale, second = bar.second * scale;
  open_mark(out, html_escaped(bar.name), bar.tip);
  add_rect(out, 0, y, kWidth, kRow, "hit");
  add_text(out, panel.left - 8, y + 15, "end", "", html_name(bar.name, kNameColumns));
  add_rect(out, panel.left, y + 4, first, kBarHeight, kinds.first);
  add_rect(out, panel.left + first, y + 4, second, kBarHeight, kinds.second);
  add_text(out, panel.left + first + second + 6, y + 15, "start", "",
           size_text(static_cast<uint64_t>(total_of(bar))));
  close_mark(out);
}

double name_margin(const std::vector<PlotBar>& bars) {
  size_t columns = 6;
  for (const PlotBar& bar : bars)
    columns = std::max(columns, std::min(shown_columns(bar.name), kNameColumns + 1));
  return 16 + kCharacter * static_cast<double>(columns);
}

// ---- many ----

// Neighbours in one column; the bars are sorted, so their mean says what each of them is like.
struct StripColumn {
  size_t begin = 0, end = 0;
  double first = 0, second = 0;
};

std::vector<StripColumn> strip_columns(const std::vector<PlotBar>& bars) {
  const size_t each = (bars.size() + kStripColumns - 1) / kStripColumns;
  std::vector<StripColumn> columns;
  for (size_t begin = 0; begin < bars.size(); begin += each) {
    StripColumn column{begin, std::min(bars.size(), begin + each)};
    const auto count = static_cast<double>(column.end - column.begin);
    for (size_t i = column.begin; i < column.end; ++i) {
      column.first += bars[i].first / count;
      column.second += bars[i].second / count;
    }
    columns.push_back(column);
  }
  return columns;
}

void add_column(std::string& out, const std::vector<PlotBar>& bars, const StripColumn& column,
                const BarKinds& kinds, const Panel& panel, const Axis& axis, double x, double width) {
  const bool single = column.end - column.begin == 1;
  const double gap = width > 4 ? 1 : 0, scale = panel.height() / axis.end;
  const double first = std::min(column.first, axis.end) * scale;
  const double second = std::min(column.first + column.second, axis.end) * scale - first;
  const std::string tip = single
                              ? bars[column.begin].tip
                              : fmt::format("numbers {} to {} by size, mean {}", column.begin + 1, column.end,
                                            size_text(static_cast<uint64_t>(column.first + column.second)));
  open_mark(out, single ? html_escaped(bars[column.begin].name) : "", tip);
  add_rect(out, x, panel.top, width, panel.height(), "hit");
  add_rect(out, x, panel.bottom - first, width - gap, first, kinds.first);
  add_rect(out, x, panel.bottom - first - second, width - gap, second, kinds.second);
  add_cut(out, panel, x, width, column.first + column.second, axis);
  close_mark(out);
}

std::string mean_note(const StripColumn& column) {
  const size_t each = column.end - column.begin;
  return each == 1 ? "" : fmt::format(" (each bar is the mean of {})", each);
}

std::vector<double> totals_of(const std::vector<StripColumn>& columns) {
  std::vector<double> totals;
  for (const StripColumn& column : columns) totals.push_back(column.first + column.second);
  return totals;
}

void add_rank_axis(std::string& out, const Panel& panel, size_t count) {
  const double step = nice_step(std::max(1.0, static_cast<double>(count) / 10));
  const auto place = [&](double rank) {
    return panel.left + (rank - 0.5) / static_cast<double>(count) * panel.width();
  };
  add_text(out, place(1), panel.bottom + 17, "middle", "tick", "1");
  for (double rank = std::max(2.0, step); rank <= static_cast<double>(count); rank += step)
    add_text(out, place(rank), panel.bottom + 17, "middle", "tick", count_text(static_cast<uint64_t>(rank)));
}

// ---- runs ----

struct Trend {
  std::vector<HistoryEntry> runs;
  Panel saved, links;
  double step = 1;  // from run to run
  double x(size_t run) const { return saved.left + (static_cast<double>(run) + 0.5) * step; }
};

std::vector<HistoryEntry> last_runs(const std::vector<HistoryEntry>& nights) {
  return {nights.end() - static_cast<std::ptrdiff_t>(std::min(nights.size(), kTrendRuns)), nights.end()};
}

std::vector<double> values_of(const std::vector<HistoryEntry>& runs, uint64_t HistoryEntry::*value) {
  std::vector<double> values;
  for (const HistoryEntry& run : runs) values.push_back(static_cast<double>(run.*value));
  return values;
}

void add_curve(std::string& out, const Trend& trend, const Axis& axis) {
  std::string points;
  for (size_t i = 0; i < trend.runs.size(); ++i) {
    const double share = static_cast<double>(trend.runs[i].bytes_saved_total) / axis.end;
    add(points, "{:.1f},{:.1f} ", trend.x(i), trend.saved.bottom - share * trend.saved.height());
  }
  add(out, "<polygon class=\"area\" points=\"{:.1f},{:.1f} {}{:.1f},{:.1f}\"/>\n", trend.x(0),
      trend.saved.bottom, points, trend.x(trend.runs.size() - 1), trend.saved.bottom);
  add(out, "<polyline class=\"curve\" points=\"{}\"/>\n", points);
}

std::string run_tip(const HistoryEntry& run) {
  return fmt::format(
      "{}, run {} ({})\nsaved in all: {}\nsaved by this run: {}\nnew links: {}\ntook {:.1f} s, {} problems",
      utc_text(run.time), html_escaped(run.run), html_escaped(run.verb), size_text(run.bytes_saved_total),
      size_text(run.bytes_saved), count_text(run.files_linked), run.seconds, count_text(run.problems));
}

void add_run(std::string& out, const Trend& trend, size_t i, const Axis& saved, const Axis& links) {
  const HistoryEntry& run = trend.runs[i];
  const double left = trend.saved.left + static_cast<double>(i) * trend.step;
  const double y =
      trend.saved.bottom - static_cast<double>(run.bytes_saved_total) / saved.end * trend.saved.height();
  const auto linked = static_cast<double>(run.files_linked);
  const double high = std::min(linked, links.end) / links.end * trend.links.height();
  const double wide = std::min(28.0, trend.step * 0.7);
  open_mark(out, "", run_tip(run));
  add_rect(out, left, trend.saved.top, trend.step, trend.links.bottom - trend.saved.top, "hit");
  if (trend.step > 12)
    add(out, "<circle cx=\"{:.1f}\" cy=\"{:.1f}\" r=\"3.5\" class=\"saved\"/>", trend.x(i), y);
  add_rect(out, trend.x(i) - wide / 2, trend.links.bottom - high, wide, high, "own");
  add_cut(out, trend.links, trend.x(i) - wide / 2, wide, linked, links);
  close_mark(out);
}

// Dates where they change; the time of day where all runs are of one or two days.
void add_dates(std::string& out, const Trend& trend) {
  const bool days = trend.runs.back().time - trend.runs.front().time >= 2 * 86400;
  const auto room = static_cast<size_t>(std::ceil((days ? 92.0 : 48.0) / trend.step));
  std::string before;
  for (size_t i = 0, next = 0; i < trend.runs.size(); ++i) {
    const std::string text = days ? utc_date(trend.runs[i].time) : utc_clock(trend.runs[i].time);
    if (i < next || text == before) continue;
    add_text(out, trend.x(i), trend.links.bottom + 17, "middle", "tick", text);
    before = text;
    next = i + room;
  }
}

}  // namespace

std::string bar_plot(const std::vector<PlotBar>& bars, const BarKinds& kinds) {
  const double height = kRow * static_cast<double>(bars.size());
  const Panel panel{name_margin(bars), kWidth - 90, 4, 4 + height};
  const Axis axis = size_axis(largest_of(bars), 6);
  const double scale = panel.width() / axis.end;
  std::string out;
  open_plot(out, panel.bottom + 42, kinds.label);
  for (double value = 0; value <= axis.end * 1.0001; value += axis.step) {
    const double x = panel.left + value * scale;
    add_line(out, x, panel.top, x, panel.bottom + 4, value == 0 ? "base" : "grid");
    add_text(out, x, panel.bottom + 19, "middle", "tick", tick_text(axis, value));
  }
  add_text(out, (panel.left + panel.right) / 2, panel.bottom + 38, "middle", "axis",
           html_escaped(with_unit(kinds.axis, axis)));
  for (size_t i = 0; i < bars.size(); ++i)
    add_row(out, bars[i], kinds, panel, panel.top + kRow * static_cast<double>(i), scale);
  close_plot(out);
  return out;
}

std::string strip_plot(const std::vector<PlotBar>& bars, const BarKinds& kinds) {
  const Panel panel{64, kWidth - 24, 30, 270};
  const std::vector<StripColumn> columns = strip_columns(bars);
  const std::vector<double> totals = totals_of(columns);
  const Axis axis = size_axis(reach_of(totals), 5);
  const double width = panel.width() / static_cast<double>(columns.size());
  std::string out;
  open_plot(out, panel.bottom + 46, kinds.label);
  add_left_axis(out, panel, axis, with_unit(kinds.axis, axis) + cut_note(totals, axis));
  for (size_t i = 0; i < columns.size(); ++i)
    add_column(out, bars, columns[i], kinds, panel, axis, panel.left + static_cast<double>(i) * width, width);
  add_rank_axis(out, panel, bars.size());
  add_text(out, (panel.left + panel.right) / 2, panel.bottom + 38, "middle", "axis",
           "guests, largest first" + mean_note(columns.front()));
  close_plot(out);
  return out;
}

std::string trend_plot(const std::vector<HistoryEntry>& nights) {
  Trend trend{last_runs(nights), {64, kWidth - 24, 30, 200}, {64, kWidth - 24, 248, 328}};
  trend.step = trend.saved.width() / static_cast<double>(trend.runs.size());
  const std::vector<double> linked = values_of(trend.runs, &HistoryEntry::files_linked);
  const Axis saved = size_axis(std::ranges::max(values_of(trend.runs, &HistoryEntry::bytes_saved_total)), 4);
  const Axis links = count_axis(reach_of(linked), 3);
  std::string out;
  open_plot(out, trend.links.bottom + 46, "Saved disk and new links by run");
  add_left_axis(out, trend.saved, saved, with_unit("saved in all", saved));
  add_left_axis(out, trend.links, links, "new links of the run (files)" + cut_note(linked, links));
  add_curve(out, trend, saved);
  for (size_t i = 0; i < trend.runs.size(); ++i) add_run(out, trend, i, saved, links);
  add_dates(out, trend);
  add_text(out, (trend.saved.left + trend.saved.right) / 2, trend.links.bottom + 38, "middle", "axis",
           "start of the run (UTC)");
  close_plot(out);
  return out;
}

}  // namespace vs::unify
