// Which backups to keep. A function of names and times, so that it can be tested without archives.
//
// A backup is kept for each rule that it is the newest of its hour, day, week, month or year for, as many as
// the rule says, newest first. An incremental needs all before it in its chain: what a kept one needs stays,
// whatever the rules say, and is told as "needed". A guest's newest backup always stays.
//
// A night in which a guest was stopped (freeze_delta.h) has two archives, the live one and right after it
// what changed until the guest stood still. They are one backup, and the second is what it is: the first
// counts for no rule, and stays as long as the second does.
//
// A protected backup stays whatever the rules say.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "backup/archive/archive_set.h"

namespace vs::backup {

// "1y6m", "90d", "36h": years, months of the calendar, weeks, days, hours.
struct Span {
  int years = 0, months = 0, days = 0, hours = 0;
};
// Throws Error(Exit::usage) for what is none.
Span parse_span(const std::string& text);

struct Retention {
  std::optional<Span> within;  // all that are not older than this, by the newest
  uint64_t last = 0, hourly = 0, daily = 0, weekly = 0, monthly = 0, yearly = 0;
  bool empty() const { return !within && last + hourly + daily + weekly + monthly + yearly == 0; }
};

struct Verdict {
  Archive archive;
  bool keep = false;
  std::string why;  // "last, daily", "needed by STAMP"; "" for what goes
};

// `history`: full and incremental archives of one guest, oldest first.
std::vector<Verdict> apply_retention(const std::vector<Archive>& history, const Retention& rules);

// The calendar periods a stamp is in ("2026-11-24T03", "2026-11-24", "2026-W48", "2026-11", "2026").
std::string period_of(const std::string& stamp, char unit);

}  // namespace vs::backup
