// The report as one page: what was saved, guest by guest, package by package, night by night.
//
// Everything is in the page (style, one small script, SVG), it asks the network for nothing, and its
// Content-Security-Policy says so to the browser. Names are guest-made and go through html_name or
// html_escaped.
#include <fmt/format.h>

#include <algorithm>
#include <span>
#include <string_view>

#include "core/escape.h"
#include "core/size_text.h"
#include "unify/report/html_parts.h"
#include "unify/report/report_text.h"
#include "unify/report/savings.h"
#include "unify/report/savings_plots.h"
#include "unify/report/savings_style.h"
#include "unify/report/svg_plot.h"

namespace vs::unify {
namespace {

using svg::add;

// Beyond this many, one line a guest is no longer a picture: a strip shows all, a table the largest.
constexpr size_t kMostBars = 30;
constexpr size_t kPackageBars = 20;
// Guests make up package names; what is beyond these is in --json.
constexpr size_t kMostPackageRows = 1000;
constexpr size_t kMostHistoryEntrys = 60;

uint64_t unshared(const Savings& savings) {
  return savings.disk_used + savings.saved;
}

// ---- head ----

void add_head(std::string& out, const Savings& savings) {
  add(out,
      "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
      "<meta http-equiv=\"Content-Security-Policy\" content=\"default-src 'none'; style-src 'sha256-{}'; "
      "script-src 'sha256-{}'; base-uri 'none'; form-action 'none'\">\n"
      "<meta name=\"referrer\" content=\"no-referrer\">\n<meta name=\"viewport\" "
      "content=\"width=device-width, initial-scale=1\">\n"
      "<meta name=\"color-scheme\" content=\"light dark\">\n<title>Shared disk on {}: {}</title>\n<style>",
      kPageStyleHash, kPageScriptHash, html_escaped(savings.host), html_escaped(savings.pool));
  out += kPageStyle;
  out += "</style>\n</head>\n<body>\n<main>\n";
}

void add_title(std::string& out, const Savings& savings) {
  add(out, "<h1>Disk shared by {} guest{}</h1>\n", count_text(guest_count(savings)),
      guest_count(savings) == 1 ? "" : "s");
  out += "<p class=\"meta\">";
  const auto fact = [&](const char* what, const std::string& value) {
    add(out, "<span>{} <b>{}</b></span>", what, html_escaped(value));
  };
  fact("Host", savings.host);
  fact("Pool", savings.pool);
  fact("Guard", savings.guard);
  fact("Scope", savings.scope);
  fact("As of", utc_text(savings.time));
  out += "</p>\n";
  if (savings.scope == "all")
    out +=
        "<p class=\"note\">Scope <b>all</b> also shares files of no package. It is meant for trees of one "
        "owner only.</p>\n";
}

uint64_t median_exclusive(const std::vector<GuestSavings>& guests) {
  std::vector<uint64_t> sizes;
  for (const GuestSavings& guest : guests) sizes.push_back(guest.exclusive);
  if (sizes.empty()) return 0;
  const auto middle = sizes.begin() + static_cast<std::ptrdiff_t>(sizes.size() / 2);
  std::ranges::nth_element(sizes, middle);
  return *middle;
}

void add_tiles(std::string& out, const Savings& savings) {
  const auto tile = [&](const char* kind, const char* what, const std::string& value,
                        const std::string& more) {
    add(out,
        "<div class=\"tile{}\"><div class=\"what\">{}</div><div class=\"value\">{}</div><div "
        "class=\"more\">{}</div></div>\n",
        kind, what, value, more);
  };
  out += "<div class=\"tiles\">\n";
  tile("", "Disk used", size_text(savings.disk_used),
       fmt::format("{} if nothing were shared", size_text(unshared(savings))));
  tile(" good", "Saved", size_text(savings.saved), "disk not needed twice");
  tile(" good", "Saved share", percent_text(savings.saved, unshared(savings)),
       "of what it would take unshared");
  tile("", "Guests", count_text(guest_count(savings)),
       savings.guests.empty()
           ? ""
           : fmt::format("median {} exclusive", size_text(median_exclusive(savings.guests))));
  tile("", "Masters", count_text(savings.masters),
       fmt::format("{}, {} names", size_text(savings.master_bytes), count_text(savings.names_of_masters)));
  tile("", "Memory saved", size_text(savings.memory_saved), "page cache, at most");
  out += "</div>\n";
}

// ---- guests ----

std::vector<const GuestSavings*> largest_first(const std::vector<GuestSavings>& guests) {
  std::vector<const GuestSavings*> sorted;
  for (const GuestSavings& guest : guests) sorted.push_back(&guest);
  std::ranges::stable_sort(sorted, std::ranges::greater{}, &GuestSavings::fair_share);
  return sorted;
}

PlotBar guest_bar(const GuestSavings& guest) {
  const uint64_t part = guest.fair_share - std::min(guest.fair_share, guest.exclusive);
  return {guest.name, static_cast<double>(guest.exclusive), static_cast<double>(part),
          fmt::format("exclusive: {}\nfair part of shared: {}\nshared in all: {}\non disk, counted alone: {}",
                      size_text(guest.exclusive), size_text(part), size_text(guest.shared),
                      size_text(guest.on_disk))};
}

void add_guest_table(std::string& out, std::span<const GuestSavings* const> guests) {
  open_table(out, {"<Guest", "<Packages", "Files", "Unified", "Apparent", "On disk", "Exclusive", "Shared",
                   "Fair share"});
  for (const GuestSavings* guest : guests) {
    add(out, "<tr>{}<td class=\"name\">{}</td>{}{}{}{}{}{}{}</tr>\n", name_cell(guest->name),
        html_escaped(guest->packages), count_cell(guest->files), count_cell(guest->files_unified),
        size_cell(guest->apparent), size_cell(guest->on_disk), size_cell(guest->exclusive),
        size_cell(guest->shared), size_cell(guest->fair_share));
  }
  close_table(out);
}

void add_guest_views(std::string& out, const std::vector<const GuestSavings*>& guests) {
  const bool many = guests.size() > kMostBars;
  std::vector<PlotBar> bars;
  for (const GuestSavings* guest : guests) bars.push_back(guest_bar(*guest));
  const BarKinds kinds{"own", "shared", "disk", "Disk of each guest, largest first"};
  add_legend(out, {{"own", "exclusive: freed if the guest is deleted"},
                   {"shared", "its fair part of shared files"}});
  out += many ? strip_plot(bars, kinds) : bar_plot(bars, kinds);
  if (many) {
    add(out, "<h3>The {} largest</h3>\n", kMostBars);
    add_guest_table(out, std::span(guests).first(kMostBars));
  }
  open_details(out, fmt::format("All guests as a table ({})", count_text(guests.size())), !many);
  add_guest_table(out, guests);
  close_details(out);
}

void add_guests(std::string& out, const Savings& savings) {
  out += "<section>\n<h2>Guests</h2>\n";
  if (savings.guests.empty()) {
    out += "<p class=\"soft\">No guest was found on this pool.</p>\n";
  } else {
    out += "<p class=\"soft\">What each guest takes on disk. The bars together are the disk used.</p>\n";
    add_guest_views(out, largest_first(savings.guests));
  }
  out += "</section>\n";
}

// ---- packages ----

PlotBar package_bar(const PackageSavings& package) {
  return {package.name, static_cast<double>(package.bytes_saved), 0,
          fmt::format("saved: {}\nstored once: {}\nin up to {} guests, {} files shared",
                      size_text(package.bytes_saved), size_text(package.bytes_once),
                      count_text(package.guests), count_text(package.masters))};
}

void add_package_table(std::string& out, std::span<const PackageSavings> packages) {
  open_table(out, {"<Package", "<Source", "Saved", "Stored once", "Masters", "Names", "Guests"});
  for (const PackageSavings& package : packages) {
    add(out, "<tr>{}{}{}{}{}{}{}</tr>\n", name_cell(package.name), name_cell(package.source),
        size_cell(package.bytes_saved), size_cell(package.bytes_once), count_cell(package.masters),
        count_cell(package.names), count_cell(package.guests));
  }
  close_table(out);
}

void add_package_views(std::string& out, std::span<const PackageSavings> packages) {
  const size_t bars_shown = std::min(packages.size(), kPackageBars),
               rows = std::min(packages.size(), kMostPackageRows);
  std::vector<PlotBar> bars;
  for (const PackageSavings& package : packages.first(bars_shown)) bars.push_back(package_bar(package));
  add_legend(out, {{"saved", "disk saved by storing the package's files once"}});
  out += bar_plot(bars, {"saved", "saved", "saved disk", "Packages that save most"});
  const std::string which = rows < packages.size()
                                ? fmt::format("The first {} of {} packages as a table", count_text(rows),
                                              count_text(packages.size()))
                                : fmt::format("All packages as a table ({})", count_text(rows));
  open_details(out, which, false);
  add_package_table(out, packages.first(rows));
  close_details(out);
}

void add_packages(std::string& out, const Savings& savings) {
  out += "<section>\n<h2>Packages</h2>\n";
  if (savings.packages.empty()) {
    out += "<p class=\"soft\">No package has shared files yet.</p>\n";
  } else {
    add(out, "<p class=\"soft\">Packages whose files save most by being stored once{}.</p>\n",
        savings.packages.size() > kPackageBars
            ? fmt::format("; the first {} of {}", kPackageBars, count_text(savings.packages.size()))
            : "");
    add_package_views(out, savings.packages);
  }
  out += "</section>\n";
}

// ---- nights ----

void add_night_table(std::string& out, const std::vector<HistoryEntry>& nights) {
  open_table(out, {"<Started (UTC)", "<Verb", "Guests", "Files seen", "New links", "Masters", "Saved by it",
                   "Saved in all", "Seconds", "Problems", "<Run"});
  for (size_t i = nights.size(); i-- > nights.size() - std::min(nights.size(), kMostHistoryEntrys);) {
    const HistoryEntry& night = nights[i];
    add(out,
        "<tr><td class=\"name\">{}</td><td class=\"name\">{}</td>{}{}{}{}{}{}<td "
        "data-v=\"{:.3f}\">{:.1f}</td>{}{}</tr>\n",
        utc_text(night.time), html_escaped(night.verb), count_cell(night.guests),
        count_cell(night.files_seen), count_cell(night.files_linked), count_cell(night.masters),
        size_cell(night.bytes_saved), size_cell(night.bytes_saved_total), night.seconds, night.seconds,
        count_cell(night.problems), name_cell(night.run));
  }
  close_table(out);
}

void add_nights(std::string& out, const Savings& savings) {
  out += "<section>\n<h2>By night</h2>\n";
  if (savings.nights.empty()) {
    out += "<p class=\"soft\">No run has been recorded yet.</p>\n";
  } else {
    const size_t all = savings.nights.size();
    add(out, "<p class=\"soft\">{}</p>\n",
        all > kTrendRuns ? fmt::format("The last {} of {} runs.", kTrendRuns, count_text(all))
                         : "What sharing saved after each run, and how many files the run linked.");
    add_legend(out, {{"saved", "disk saved by all sharing"}, {"own", "files newly linked"}});
    out += trend_plot(savings.nights);
    open_details(out,
                 all > kMostHistoryEntrys
                     ? fmt::format("The last {} of {} runs as a table", kMostHistoryEntrys, count_text(all))
                     : fmt::format("All runs as a table ({})", all),
                 false);
    add_night_table(out, savings.nights);
    close_details(out);
  }
  out += "</section>\n";
}

constexpr std::string_view kWords = R"html(<section>
<h2>How to read it</h2>
<dl>
<dt>Apparent</dt><dd>sizes of all files by their names, as du --apparent-size -l says</dd>
<dt>On disk</dt><dd>blocks of the guest's distinct files, as du says for this guest alone</dd>
<dt>Exclusive</dt><dd>blocks of files no other guest holds: what deleting the guest frees, and what it cost to add it last</dd>
<dt>Shared</dt><dd>on disk less exclusive</dd>
<dt>Fair share</dt><dd>every file's blocks divided by the number of guests that hold it; sums to the disk used</dd>
<dt>Saved</dt><dd>the sum of on disk over all guests, less the disk really used</dd>
<dt>Master</dt><dd>a file stored once on the host and named in several guests, which no guest can change</dd>
<dt>Memory saved</dt><dd>page cache that private copies would need if every guest used all of them: an upper bound</dd>
</dl>
<p class="soft after">Sizes are decimal: 1 MB is 1,000,000 bytes. Hover over a bar for its numbers; click a column title to sort.</p>
</section>
)html";

}  // namespace

std::string savings_html(const Savings& savings) {
  std::string out;
  add_head(out, savings);
  add_title(out, savings);
  add_tiles(out, savings);
  add_guests(out, savings);
  add_packages(out, savings);
  add_nights(out, savings);
  out += kWords;
  add(out, "</main>\n<script>{}</script>\n</body>\n</html>\n", kPageScript);
  return out;
}

}  // namespace vs::unify
