// Tables, folds and legends of the savings page. Names are guest-made and cut and escaped here.
//
// The page is written by our own functions rather than a template library: it is one file without network
// access, and each piece of text passes through the escaping here. Frozen in unify/report.
#pragma once

#include <cstdint>
#include <initializer_list>
#include <string>
#include <string_view>
#include <utility>

namespace vs::unify {

// Raw name -> at most `columns` columns of escaped text, "..." where it was cut.
std::string html_name(std::string_view name, size_t columns);

// Cells; a number carries its value for sorting.
std::string name_cell(std::string_view name);
std::string size_cell(uint64_t bytes);
std::string count_cell(uint64_t count);

// Titles that begin with '<' stand over names (left).
void open_table(std::string& out, std::initializer_list<std::string_view> titles);
void close_table(std::string& out);

void open_details(std::string& out, const std::string& title, bool open);
void close_details(std::string& out);

// Pairs of a class that colours and what it means.
void add_legend(std::string& out,
                std::initializer_list<std::pair<std::string_view, std::string_view>> entries);

}  // namespace vs::unify
