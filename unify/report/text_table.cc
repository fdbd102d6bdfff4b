#include "unify/report/text_table.h"

#include <algorithm>
#include <string_view>

namespace vs::unify {
namespace {

// Characters of UTF-8 text.
size_t width_of(std::string_view text) {
  return static_cast<size_t>(
      std::ranges::count_if(text, [](char c) { return (static_cast<unsigned char>(c) & 0xc0) != 0x80; }));
}

void append_cell(std::string& out, const std::string& cell, size_t width, Align align, bool last) {
  const std::string padding(width - std::min(width, width_of(cell)), ' ');
  if (align == Align::right) out += padding;
  out += cell;
  if (last) return;
  if (align == Align::left) out += padding;
  out += "  ";
}

}  // namespace

std::string TextTable::text() const {
  std::vector<std::string> titles;
  for (const TextColumn& column : columns_) titles.push_back(column.title);
  std::vector<size_t> widths;
  for (size_t i = 0; i < columns_.size(); ++i) {
    widths.push_back(width_of(titles[i]));
    for (const auto& row : rows_) widths[i] = std::max(widths[i], width_of(row[i]));
  }
  std::string out;
  const auto append_row = [&](const std::vector<std::string>& cells) {
    for (size_t i = 0; i < cells.size(); ++i) {
      const bool last = i + 1 == cells.size();
      append_cell(out, cells[i], last && columns_[i].align == Align::left ? 0 : widths[i], columns_[i].align,
                  last);
    }
    out += '\n';
  };
  append_row(titles);
  for (const auto& row : rows_) append_row(row);
  return out;
}

}  // namespace vs::unify
