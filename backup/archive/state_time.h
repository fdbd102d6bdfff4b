// The TIME of NAME@TIME, by which a person names a state of a vserver.
//
// Times are UTC, as stamps are. A day, hour or minute stands for all of it: a state is taken as of its end, a
// deletion wants the one state within. What is not written out is refused, never guessed.
#pragma once

#include <optional>
#include <string>
#include <string_view>

namespace vs::backup {

// Up to which stamp a state may be: the newest one that is not after it.
using StampLimit = std::optional<std::string>;
inline constexpr std::nullopt_t kNewest = std::nullopt;  // no limit: the newest of all

struct StateTime {
  struct Stamps {
    std::string first, last;  // "20261124T030000Z", both belong to it
  };
  std::optional<Stamps> within;  // none for "latest"
  std::string text;              // as it was given
  StampLimit limit() const { return within ? StampLimit(within->last) : kNewest; }
};

// Reads the time that `text` begins with: "2026-11-24", "2026-11-24T03:00:10Z" (hour, minute and second may
// be left out from the right, and leading zeros; a blank may stand for the T, Z may be left out), a stamp, or
// "latest". What follows must be nothing or ":PATH" (":/PATH" where a digit behind an hour or
// minute would be more of the time); `text` is left at that. Throws Error(Exit::usage) with
// an example.
StateTime take_state_time(std::string_view& text);

}  // namespace vs::backup
