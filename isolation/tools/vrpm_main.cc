// vrpm: rpm in several vservers.
#include <algorithm>
#include <string>

#include "isolation/tools/package_command.h"

namespace {

using Words = std::vector<std::string>;

// All but asking and verifying. Among short options the first letter is the mode: -qa, -Uvh.
bool changes(const Words& words) {
  return std::none_of(words.begin(), words.end(), [](const std::string& word) {
    return word == "--query" || word == "--verify" || word == "--checksig" ||
           (word.size() > 1 && word[0] == '-' && std::string("qVK").find(word[1]) != std::string::npos);
  });
}

// rpm cannot say what it would replace.
Words simulation(const Words&) {
  return {};
}

}  // namespace

int main(int argc, char** argv) {
  return vs::isolation::run_package_tool(
      {"vrpm", "rpm", "vrpm ALL -- -Uvh /tmp/bash-5.2-1.x86_64.rpm", changes, simulation}, argc, argv);
}
