#include "tests/cli/docs.h"

#include <gtest/gtest.h>

#include <fstream>
#include <iterator>
#include <regex>
#include <sstream>

#include "tests/support/run.h"

namespace vs::test {

std::string file_text(const std::string& path) {
  std::ifstream file(VS_SOURCE_DIR "/" + path);
  EXPECT_TRUE(file) << path;
  return {std::istreambuf_iterator<char>(file), {}};
}

Names all_matches(const std::string& text, const std::string& pattern) {
  const std::regex regex(pattern);
  Names found;
  for (std::sregex_iterator it(text.begin(), text.end(), regex), end; it != end; ++it) found.insert((*it)[1]);
  return found;
}

Names joined(Names a, const Names& b) {
  a.insert(b.begin(), b.end());
  return a;
}

Names less(Names a, const Names& b) {
  for (const auto& name : b) a.erase(name);
  return a;
}

std::string help_of(const std::string& program_and_verb) {
  return must_run({"bash", "-c", VS_BINARY_DIR "/" + program_and_verb + " --help"});
}

Names options_in(const std::string& help) {
  Names names;
  std::istringstream lines(help);
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("  -")) names.merge(all_matches(line.substr(0, line.find("  ", 3)), "(--[a-z-]+)"));
  return names;
}

Names verbs_of(const std::string& program) {
  const std::string help = help_of(program);
  std::istringstream lines(help.substr(help.find("Subcommands:")));
  Names names;
  for (std::string line; std::getline(lines, line);)
    if (line.starts_with("  ") && line[2] != ' ') names.insert(line.substr(2, line.find(' ', 2) - 2));
  return names;
}

Names options_of_all_verbs(const std::string& program) {
  Names names;
  for (const auto& verb : verbs_of(program)) names.merge(options_in(help_of(program + " " + verb)));
  return names;
}

std::string man_text(const std::string& page) {
  const std::string source =
      std::regex_replace(file_text("packaging/man/" + page), std::regex("\\\\f[BIRP]"), "");
  return std::regex_replace(source, std::regex("\\\\-"), "-");
}

Names options_named_in(const std::string& text) {
  return all_matches(text, "(--[a-z][a-z-]*[a-z])");
}

Names completed_by_bash(const std::string& program, const std::string& words) {
  return all_matches(
      must_run({"bash", "-c",
                "source '" VS_SOURCE_DIR "/packaging/completions/" + program + ".bash'; COMP_WORDS=(" +
                    program + " " + words + "); COMP_CWORD=$((${#COMP_WORDS[@]} - 1)); _" + program +
                    "; printf '%s\\n' \"${COMPREPLY[@]}\""}),
      "([^\n]+)");
}

Names unknown_options_of_call(const std::string& file, const std::string& call_pattern,
                              const std::string& program) {
  const std::string text = file_text("packaging/systemd/" + file);
  std::smatch found;
  EXPECT_TRUE(std::regex_search(text, found, std::regex("(?:" + call_pattern + ")\\s*([a-z]+)([^\n]*)")))
      << file << " does not call " << program;
  if (found.empty()) return {};
  return less(options_named_in(found[2]), options_in(help_of(program + " " + found[1].str())));
}

}  // namespace vs::test
