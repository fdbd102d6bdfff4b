// Whether a set gives back what was put into it: each state that it lists is restored as exactly that, or
// refused with a message; and `check` calls no set whole of which a listed state is refused.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/backup/everything.h"
#include "tests/support/run.h"

namespace vs::test {

// guest -> stamp -> what its tree was, and what the host had for it. Two of them where two sets had a night
// each in one second.
using Remembered =
    std::map<std::string, std::map<std::string, std::vector<std::shared_ptr<const Everything>>>>;

struct Judge {
  std::string set;
  std::string scratch;  // a directory on a filesystem that can hold all that the guests have
  EverythingOptions options;
  bool whole = false;  // nothing was damaged: all that is listed has to be restored

  // What is wrong; empty when all is well.
  std::vector<std::string> faults(const Remembered& remembered) const;
};

// To what a guest's tree is: the file of the host that belongs to it, if it is there.
void add_host_file(const std::string& file, Everything& all);

// What `vbackup list` shows: guest -> stamps.
std::map<std::string, std::vector<std::string>> listed(const std::string& set,
                                                       std::vector<std::string>& faults);
// Ended by itself with one of the exit codes, and if it is not 0 with a message: else it is added to
// `faults`.
void expect_said(const RunResult& result, const std::string& what, const std::vector<int>& codes,
                 std::vector<std::string>& faults);

}  // namespace vs::test
