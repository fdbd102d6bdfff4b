// One command of a package manager in several vservers: vapt and vrpm.
//
// What unify shares cannot be replaced inside a guest where the guard seals it. So before a command that
// changes packages `vunify release` gives the guest private copies: of the packages that apt says it will
// replace, else of all, and shares nothing of it again as long as the command runs. That program knows which
// guard is in force, and does nothing where guests may write by themselves.
#pragma once

#include <string>
#include <vector>

namespace vs::isolation {

struct PackageTool {
  const char* program;  // ours: vapt
  const char* inside;   // the guest's: apt-get
  const char* example;
  // Whether these words may change files of packages.
  bool (*changes)(const std::vector<std::string>& words);
  // To be run inside to learn which installed packages change; empty: it cannot be learned.
  std::vector<std::string> (*simulation)(const std::vector<std::string>& words);
};

int run_package_tool(const PackageTool& tool, int argc, char** argv);

// Installed packages that a run of `apt-get --simulate` would replace or remove. The text comes from the
// guest: what is no name of a package is left out.
std::vector<std::string> packages_to_change(const std::string& simulated);

}  // namespace vs::isolation
