// The TIME of NAME@TIME, by which a person names a state of a vserver.
//
// Times are UTC, as stamps are. A day, hour or minute stands for all of it: a state is taken as of its end, a
// deletion wants the one state within. What is not written out is refused, never guessed.
#pragma once

#include <string>
#include <string_view>

namespace vs::backup {

struct StateTime {
  // Stamps, "20261124T030000Z"; both "" for the newest state.
  std::string first, last;
  std::string text;  // as it was given; "" not at all
};

// Reads the time that `text` begins with: "2026-11-24", "2026-11-24T03:00:10Z" (hour, minute and second may
// be left out from the right, and leading zeros; a blank may stand for the T, Z may be left out), a stamp, or
// "latest". What follows must be nothing or ":PATH" (":/PATH" where a digit behind an hour or
// minute would be more of the time); `text` is left at that. Throws Error(Exit::usage) with
// an example.
StateTime take_state_time(std::string_view& text);

}  // namespace vs::backup
