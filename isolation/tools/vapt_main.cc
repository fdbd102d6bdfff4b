// vapt: apt-get in several vservers.
#include <algorithm>
#include <string>

#include "isolation/tools/package_command.h"

namespace {

using Words = std::vector<std::string>;

// A package may be named as a verb is; then its files are looked for, and none too many released.
bool changes(const Words& words) {
  constexpr const char* verbs[] = {"install",   "reinstall",       "remove",       "purge",
                                   "upgrade",   "dist-upgrade",    "full-upgrade", "autoremove",
                                   "autopurge", "dselect-upgrade", "build-dep",    "satisfy"};
  return std::any_of(words.begin(), words.end(), [&](const std::string& word) {
    return std::find(std::begin(verbs), std::end(verbs), word) != std::end(verbs);
  });
}

Words simulation(const Words& words) {
  Words simulated = words;
  simulated.insert(simulated.begin(), "--simulate");
  return simulated;
}

}  // namespace

int main(int argc, char** argv) {
  return vs::isolation::run_package_tool(
      {"vapt", "apt-get", "vapt --unify ALL -- -y upgrade", changes, simulation}, argc, argv);
}
