#include "unify/report/html_parts.h"

#include "core/escape.h"
#include "core/size_text.h"
#include "unify/report/report_text.h"
#include "unify/report/svg_plot.h"

namespace vs::unify {
namespace {

constexpr size_t kTableColumns = 60;  // of a name

std::string number_cell(uint64_t value, const std::string& text) {
  return fmt::format("<td data-v=\"{}\">{}</td>", value, text);
}

}  // namespace

std::string html_name(std::string_view name, size_t columns) {
  const std::string_view cut = cut_name(name, columns);
  return html_escaped(cut) + (cut.size() < name.size() ? "…" : "");
}

std::string name_cell(std::string_view name) {
  return fmt::format("<td class=\"name\" title=\"{}\"><bdi>{}</bdi></td>", html_escaped(name),
                     html_name(name, kTableColumns));
}

std::string size_cell(uint64_t bytes) {
  return number_cell(bytes, size_text(bytes));
}

std::string count_cell(uint64_t count) {
  return number_cell(count, count_text(count));
}

void open_table(std::string& out, std::initializer_list<std::string_view> titles) {
  out += "<div class=\"scroll\"><table><thead><tr>";
  for (const std::string_view title : titles) {
    const bool left = title.starts_with('<');
    svg::add(out, "<th scope=\"col\"{}>{}</th>", left ? " class=\"name\"" : "", title.substr(left ? 1 : 0));
  }
  out += "</tr></thead><tbody>\n";
}

void close_table(std::string& out) {
  out += "</tbody></table></div>\n";
}

void open_details(std::string& out, const std::string& title, bool open) {
  svg::add(out, "<details{}><summary>{}</summary>\n", open ? " open" : "", html_escaped(title));
}

void close_details(std::string& out) {
  out += "</details>\n";
}

void add_legend(std::string& out,
                std::initializer_list<std::pair<std::string_view, std::string_view>> entries) {
  out += "<div class=\"legend\">";
  for (const auto& [kind, text] : entries)
    svg::add(
        out,
        "<span><svg viewBox=\"0 0 12 12\" aria-hidden=\"true\"><rect width=\"12\" height=\"12\" rx=\"2\" "
        "class=\"{}\"/></svg>{}</span>",
        kind, html_escaped(text));
  out += "</div>\n";
}

}  // namespace vs::unify
