// The files of an archive set, and what may become of them: lost, torn, flipped, or in each other's place.
#pragma once

#include <map>
#include <string>
#include <vector>

#include "tests/backup/model/dice.h"

namespace vs::test {

using SetFiles = std::map<std::string, std::string>;  // name -> bytes

SetFiles files_of(const std::string& set);
// Files that differ from `now` are written, those that `wanted` does not have go.
void put_files(const std::string& set, const SetFiles& now, const SetFiles& wanted);

// All bytes that each name ever had, the newest last: also of archives that were forgotten since.
class FileVersions {
 public:
  void add(const SetFiles& files);
  const std::map<std::string, std::vector<std::string>>& all() const { return versions_; }

 private:
  std::map<std::string, std::vector<std::string>> versions_;
};

// One to three things go wrong. `own` are versions of this set, `other` those of another set of the same
// guests (empty where there is none). Says in words what was done; "" if it came to nothing.
std::string damage(SetFiles& files, const FileVersions& own, const FileVersions& other, Dice& dice);

}  // namespace vs::test
