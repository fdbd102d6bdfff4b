// Aligned columns for a terminal. The last column is not padded, so that is where names of any length go.
//
// Our own, since no packaged library knows how wide escaped text is on a terminal. Frozen: it aligns columns
// and is to learn nothing more.
#pragma once

#include <string>
#include <vector>

namespace vs::unify {

enum class Align { left, right };

struct TextColumn {
  std::string title;
  Align align = Align::right;
};

class TextTable {
 public:
  explicit TextTable(std::vector<TextColumn> columns) : columns_(std::move(columns)) {}
  // One cell a column; the cells are printed as they are: escape guest-made names before.
  void add(std::vector<std::string> cells) { rows_.push_back(std::move(cells)); }
  // Title line, then the rows, each ended by a line break.
  std::string text() const;

 private:
  std::vector<TextColumn> columns_;
  std::vector<std::vector<std::string>> rows_;
};

}  // namespace vs::unify
