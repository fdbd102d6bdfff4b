// The report for a terminal, and the sums over packages that every rendering starts from.
#include <fmt/format.h>

#include <algorithm>
#include <map>

#include "core/escape.h"
#include "core/size_text.h"
#include "core/typed_package.h"
#include "unify/report/report_text.h"
#include "unify/report/savings.h"
#include "unify/report/text_table.h"

namespace vs::unify {
namespace {

// The last runs shown below the guests; the whole history is in --json and the page.
constexpr size_t kNightsShown = 7;

void add_up(PackageSavings& sum, const PackageSavings& part) {
  sum.masters += part.masters;
  sum.names += part.names;
  sum.guests = std::max(sum.guests, part.guests);
  sum.bytes_once += part.bytes_once;
  sum.bytes_saved += part.bytes_saved;
}

const std::string& source_of(const PackageSavings& package) {
  return package.source.empty() ? package.name : package.source;
}

// Rows of one key become one, by bytes saved. `key_of` gives the name and the source of the sum.
template <class KeyOf>
std::vector<PackageSavings> summed(const std::vector<PackageSavings>& packages, KeyOf key_of) {
  std::map<std::string, PackageSavings> sums;
  for (const PackageSavings& package : packages) {
    const auto [name, source] = key_of(package);
    PackageSavings& sum = sums[name];
    sum.name = name;
    sum.source = source;
    add_up(sum, package);
  }
  std::vector<PackageSavings> rows;
  for (auto& [name, sum] : sums) rows.push_back(std::move(sum));
  // The map gave them by name; equal savings stay in that order.
  std::ranges::stable_sort(rows, std::ranges::greater{}, &PackageSavings::bytes_saved);
  return rows;
}

std::string summary_text(const Savings& savings) {
  std::string out =
      fmt::format("Pool {} on {}, {}; guard {}, scope {}\n", escaped(savings.pool), escaped(savings.host),
                  utc_text(savings.time), escaped(savings.guard), escaped(savings.scope));
  const uint64_t unshared = savings.disk_used + savings.saved;
  const auto line = [&](const char* what, const std::string& value) {
    out += fmt::format("  {:<14}{}\n", what, value);
  };
  line("disk used",
       fmt::format("{} ({} if nothing were shared)", size_text(savings.disk_used), size_text(unshared)));
  line("saved", fmt::format("{} ({})", size_text(savings.saved), percent_text(savings.saved, unshared)));
  line("guests", count_text(guest_count(savings)));
  line("masters", fmt::format("{} ({}, {} names in guests)", count_text(savings.masters),
                              size_text(savings.master_bytes), count_text(savings.names_of_masters)));
  line("memory saved",
       fmt::format("up to {} of page cache, if all of it is in use", size_text(savings.memory_saved)));
  if (savings.unsealed_shared != 0)
    line("unsealed",
         fmt::format("{} files are one inode of several guests without a seal (cp -al makes such): each "
                     "guest may change what the others have",
                     count_text(savings.unsealed_shared)));
  if (savings.scope == "all")
    line("note", "scope all also shares files of no package: for trees of one owner only");
  return out;
}

void add_guest(TextTable& table, const GuestSavings& guest, const std::string& name) {
  table.add({count_text(guest.files), count_text(guest.files_unified), size_text(guest.apparent),
             size_text(guest.on_disk), size_text(guest.exclusive), size_text(guest.shared),
             size_text(guest.fair_share), escaped(guest.packages), name});
}

GuestSavings sum_of(const std::vector<GuestSavings>& guests) {
  GuestSavings sum;
  for (const GuestSavings& guest : guests) {
    sum.files += guest.files;
    sum.files_unified += guest.files_unified;
    sum.apparent += guest.apparent;
    sum.on_disk += guest.on_disk;
    sum.exclusive += guest.exclusive;
    sum.shared += guest.shared;
    sum.fair_share += guest.fair_share;
  }
  return sum;
}

std::string guests_text(const std::vector<GuestSavings>& guests) {
  if (guests.empty()) return "No guests.\n";
  TextTable table({{"FILES"},
                   {"UNIFIED"},
                   {"APPARENT"},
                   {"ON DISK"},
                   {"EXCLUSIVE"},
                   {"SHARED"},
                   {"FAIR SHARE"},
                   {"PACKAGES", Align::left},
                   {"GUEST", Align::left}});
  for (const GuestSavings& guest : guests) add_guest(table, guest, escaped(guest.name));
  if (guests.size() > 1)
    add_guest(table, sum_of(guests), fmt::format("= {} guests", count_text(guests.size())));
  return table.text() +
         "exclusive: freed if that guest is deleted, and what it cost to add it last. fair share: shared "
         "files divided\n"
         "by the number of guests that hold them; it sums to the disk in use.\n";
}

std::string packages_text(const std::vector<PackageSavings>& packages, const char* title, bool with_source) {
  if (packages.empty()) return "No package has shared files.\n";
  std::vector<TextColumn> columns = {{"SAVED"}, {"STORED ONCE"}, {"MASTERS"}, {"NAMES"}, {"GUESTS"}};
  if (with_source) columns.push_back({"SOURCE", Align::left});
  columns.push_back({title, Align::left});
  TextTable table(std::move(columns));
  for (const PackageSavings& package : packages) {
    std::vector<std::string> row = {size_text(package.bytes_saved), size_text(package.bytes_once),
                                    count_text(package.masters), count_text(package.names),
                                    count_text(package.guests)};
    if (with_source) row.push_back(escaped(cut_name(source_of(package), 40)));
    row.push_back(escaped(package.name));
    table.add(std::move(row));
  }
  return table.text();
}

std::string nights_text(const std::vector<HistoryEntry>& nights) {
  if (nights.empty()) return "";
  TextTable table({{"RUN AT", Align::left},
                   {"NEW LINKS"},
                   {"SAVED"},
                   {"SAVED IN ALL"},
                   {"SECONDS"},
                   {"PROBLEMS"},
                   {"VERB", Align::left},
                   {"RUN", Align::left}});
  for (size_t i = nights.size() - std::min(nights.size(), kNightsShown); i < nights.size(); ++i) {
    const HistoryEntry& night = nights[i];
    table.add({utc_text(night.time), count_text(night.files_linked), size_text(night.bytes_saved),
               size_text(night.bytes_saved_total), fmt::format("{:.1f}", night.seconds),
               count_text(night.problems), escaped(night.verb), escaped(night.run)});
  }
  return "\n" + table.text();
}

}  // namespace

void show_only(Savings& savings, const std::vector<std::string>& names) {
  if (names.empty()) return;
  savings.guests_not_shown += std::erase_if(savings.guests, [&](const GuestSavings& guest) {
    return std::ranges::find(names, guest.name) == names.end();
  });
}

uint64_t guest_count(const Savings& savings) {
  return savings.guests.size() + savings.guests_not_shown;
}

std::vector<PackageSavings> by_name(const std::vector<PackageSavings>& packages) {
  return summed(packages,
                [](const PackageSavings& package) { return std::pair(package.name, package.source); });
}

std::vector<PackageSavings> by_source(const std::vector<PackageSavings>& packages) {
  return summed(packages, [](const PackageSavings& package) {
    return std::pair(source_of(package), source_of(package));
  });
}

// A name stands for every package that fits it, each once: "glibc" is the rpm glibc and the Debian packages
// libc6, libc-bin, ... made from the source glibc.
std::vector<PackageSavings> only(const std::vector<PackageSavings>& packages,
                                 const std::vector<std::string>& names) {
  std::vector<PackageSavings> rows;
  for (const std::string& name : names) {
    const TypedPackage typed(name);
    PackageSavings row;
    row.name = row.source = name;
    size_t parts = 0;
    for (const PackageSavings& package : packages) {
      if (!typed.fits(package.name, package.source, package.arch)) continue;
      row.source = parts++ == 0 || row.source == source_of(package) ? source_of(package) : name;
      add_up(row, package);
    }
    rows.push_back(std::move(row));
  }
  return rows;
}

std::string savings_text(const Savings& savings, ReportBy by) {
  const std::string summary = summary_text(savings) + "\n";
  switch (by) {
    case ReportBy::package:
      return summary + packages_text(savings.packages, "PACKAGE", true);
    case ReportBy::source:
      return summary + packages_text(by_source(savings.packages), "SOURCE", false);
    case ReportBy::guest:
      break;
  }
  return summary + guests_text(savings.guests) + nights_text(savings.nights);
}

}  // namespace vs::unify
