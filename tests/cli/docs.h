// What programs and documents name, as sets of names that can be compared.
#pragma once

#include <set>
#include <string>

namespace vs::test {

using Names = std::set<std::string>;

std::string file_text(const std::string& path);                          // of a file of the source tree
Names all_matches(const std::string& text, const std::string& pattern);  // the first group of each match
Names joined(Names a, const Names& b);
Names less(Names a, const Names& b);

std::string help_of(const std::string& program_and_verb);
// Long names, with dashes, in the option column of a help text: lines of two blanks and a dash.
Names options_in(const std::string& help);
Names verbs_of(const std::string& program);
Names options_of_all_verbs(const std::string& program);

// What a reader sees of a man page, as far as names go: without fonts, with plain dashes.
std::string man_text(const std::string& page);
Names options_named_in(const std::string& text);
// What bash offers for these words, the last of them being completed.
Names completed_by_bash(const std::string& program, const std::string& words);
// `program verb` as a unit or script (packaging/systemd/FILE) calls it: options that the verb does not have.
Names unknown_options_of_call(const std::string& file, const std::string& call_pattern,
                              const std::string& program);

}  // namespace vs::test
