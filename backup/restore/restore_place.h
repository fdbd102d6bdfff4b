// Where a restore works, so that a vserver has its name only when all of it is there:
// TARGET/.vbackup-restore/NAME, renamed to TARGET/NAME at the end.
//
//   1 the work directory is made and locked (another restore into TARGET meanwhile: exit 11); what TARGET
//     hands down (a default ACL, flags, a project) is taken off it, so that it hands nothing down; ".of" in
//     it says what is restored
//   2 all is written there, but for flags that seal (kLateFlags) and the attributes of the vservers' own top
//   directories 3 syncfs, then the file ".complete" in it 4 flags are set; each vserver is renamed into place
//   and its top directory gets its attributes 5 the work directory goes
//
// Killed before 3, the next restore into TARGET, of whatever, removes what it finds there and begins anew:
// nothing was sealed there yet. Names of vunify's masters (--link-live) are sealed and stay; the same command
// takes them over, another one is refused. Killed after 3, the same command goes on with 4, each step of
// which may be done twice; another one is refused, for what is there is complete, and part of it may be in
// place. (Names of vservers never begin with a dot, those of what the host has for them with ".host.".)
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "core/tree/root_dir.h"

namespace vs::backup {

class RestorePlace {
 public:
  // `target` is made if it is missing. `identity` is a text that says what this command restores. Throws
  // Error(Exit::usage) for a guest that is there already, or for what a killed run of another command left
  // complete; `takes_over`: sealed names of a killed run of the same command may stay.
  RestorePlace(const std::string& target, const std::vector<std::string>& guests, const std::string& identity,
               bool takes_over);

  const RootDir& dir() const { return *work_; }  // the work directory
  const RootDir& target() const { return *target_; }
  bool was_complete() const { return was_complete_; }  // a killed run of this command came as far as 3
  void complete();                                     // step 3; throws Error
  // Where a guest is now.
  const RootDir& place_of(const std::string& guest) const;
  Result put(const std::string& guest);  // into place; done already: nothing
  void finish();                         // step 5

 private:
  void hand_nothing_down() const;
  void sweep(bool may_stay);
  std::string path_;
  std::unique_ptr<RootDir> target_, work_;
  bool was_complete_ = false;
};

inline constexpr const char* kRestoreDir = ".vbackup-restore";

}  // namespace vs::backup
