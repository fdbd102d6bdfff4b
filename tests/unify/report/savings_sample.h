// A report with names as a hostile guest makes them, for the tests of every rendering.
#pragma once

#include <string>
#include <vector>

#include "unify/report/savings.h"

namespace vs::unify {

inline std::vector<std::string> hostile_names() {
  return {"new\nline",
          "<script>alert(1)</script>",
          "\x1b[31mred\x1b[0m",
          std::string(255, 'x'),
          "\xd7\xa9\xd7\xa8\xd7\xaa",  // Hebrew, written from right to left
          "\xe2\x80\xae"
          "evil",  // right-to-left override
          "\xff\xfe not UTF-8",
          "\"quoted\" 'and' &amp; back\\slash",
          "]]>--></style></title><img src=x onerror=alert(1)>",
          "{} {0} %s %n"};
}

inline GuestSavings sample_guest(const std::string& name, uint64_t exclusive, uint64_t shared,
                                 uint64_t fair_share) {
  GuestSavings guest;
  guest.name = name;
  guest.packages = "dpkg";
  guest.files = 15000;
  guest.files_unified = 12000;
  guest.on_disk = exclusive + shared;
  guest.apparent = guest.on_disk - 4096;
  guest.exclusive = exclusive;
  guest.shared = shared;
  guest.fair_share = fair_share;
  return guest;
}

inline PackageSavings sample_package(const std::string& name, const std::string& source, uint64_t once,
                                     uint64_t saved) {
  PackageSavings package;
  package.name = name;
  package.source = source;
  package.masters = 10;
  package.names = 30;
  package.guests = 3;
  package.bytes_once = once;
  package.bytes_saved = saved;
  return package;
}

inline HistoryEntry sample_night(const std::string& run, int64_t time, uint64_t linked, uint64_t total) {
  HistoryEntry night;
  night.run = run;
  night.time = time;
  night.verb = "run";
  night.guests = 3;
  night.files_seen = 45000;
  night.files_linked = linked;
  night.masters = 12000;
  night.bytes_saved = linked * 4096;
  night.bytes_saved_total = total;
  night.seconds = 1.5;
  night.problems = 1;
  return night;
}

// Guests share 300 MB; each has 40 MB of its own.
inline Savings sample_savings(const std::vector<std::string>& names) {
  Savings savings;
  savings.pool = "/vservers";
  savings.guard = "immutable";
  savings.scope = "packages";
  savings.host = "host1";
  savings.time = 1795499507;  // 2026-11-24 05:51:47 UTC
  for (const std::string& name : names) {
    savings.guests.push_back(
        sample_guest(name, 40'000'000, 300'000'000, 40'000'000 + 300'000'000 / names.size()));
    savings.disk_used += savings.guests.back().fair_share;
  }
  savings.saved = 340'000'000 * names.size() - savings.disk_used;
  savings.packages = {sample_package("libc6", "glibc", 13'000'000, 26'000'000),
                      sample_package("perl-base", "perl", 8'000'000, 16'000'000),
                      sample_package("libc-bin", "glibc", 2'000'000, 4'000'000)};
  savings.nights = {sample_night("r1", 1795413107, 9000, 500'000'000),
                    sample_night("r2", 1795499507, 12, 500'100'000)};
  savings.masters = 12000;
  savings.master_bytes = 300'000'000;
  savings.names_of_masters = 12000 * names.size();
  savings.memory_saved = 600'000'000;
  return savings;
}

// The same with hostile strings wherever a guest can put one.
inline Savings hostile_savings() {
  Savings savings = sample_savings(hostile_names());
  savings.packages.clear();
  for (const std::string& name : hostile_names())
    savings.packages.push_back(sample_package(name, name, 1'000'000, 2'000'000));
  return savings;
}

}  // namespace vs::unify
