// What sharing saves, in numbers that add up. Sizes are bytes; "on disk" is st_blocks * 512.
//
// For a set G of guests and every inode i with n_i names below them, of which g of its names are in guest A:
//   apparent(A)   sum of sizes over A's names (what du --apparent-size -l would say)
//   on_disk(A)    blocks of A's distinct inodes (what du says for A alone)
//   exclusive(A)  blocks of inodes all of whose names (but the store's) are in A: what deleting A frees
//   shared(A)     on_disk(A) - exclusive(A)
//   fair_share(A) each inode's blocks divided by the number of guests that hold it; sums to the disk in use
//   saved         over all guests: (sum of on_disk) - (disk really in use)
// exclusive(A) is also the marginal size of A: what A cost when it was added as the last one.
//
// The text for Prometheus (savings_prometheus.cc) is written by hand: the format is one line per number, and
// client libraries bring a web server with them. promtool checks it in a test.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace vs::unify {

struct GuestSavings {
  std::string name;
  std::string packages;        // "dpkg", "rpm (sqlite)", ...: where its package knowledge came from
  uint64_t files = 0;          // regular files (names)
  uint64_t files_unified = 0;  // of them names of masters
  uint64_t apparent = 0, on_disk = 0, exclusive = 0, shared = 0, fair_share = 0;
};

// One package (by binary name) or source package over all guests.
struct PackageSavings {
  std::string name;
  std::string source;
  std::string arch;          // empty in a sum over several
  uint64_t masters = 0;      // shared inodes of it
  uint64_t names = 0;        // their names in guests
  uint64_t guests = 0;       // largest number of guests that hold one of them
  uint64_t bytes_once = 0;   // blocks of the masters
  uint64_t bytes_saved = 0;  // blocks a copy for each guest would take, less bytes_once
  // Inode numbers of masters are no business of a report; nothing of a guest but names is in here.
};

struct HistoryEntry {  // one run out of the history
  std::string run;     // run id
  std::string pool;    // mount point, escaped; "" in lines of versions before this column
  int64_t time = 0;    // seconds since the epoch, start of the run
  std::string verb;
  uint64_t guests = 0, files_seen = 0, files_linked = 0, masters = 0;
  uint64_t bytes_saved = 0;        // by this run
  uint64_t bytes_saved_total = 0;  // by all sharing, as of the end of this run
  double seconds = 0;
  uint64_t problems = 0;
};

struct Savings {
  std::string pool;   // mount point
  std::string guard;  // "immutable", "reflink", ...
  std::string scope;
  std::string host;
  int64_t time = 0;
  std::vector<GuestSavings> guests;      // by name
  uint64_t guests_not_shown = 0;         // of the pool and in all its figures, without a row in `guests`
  std::vector<PackageSavings> packages;  // by bytes_saved, largest first
  std::vector<HistoryEntry> nights;      // oldest first
  uint64_t masters = 0;
  uint64_t master_bytes = 0;      // blocks of the masters: this much page cache serves all guests
  uint64_t names_of_masters = 0;  // in guests
  uint64_t disk_used = 0;         // blocks of all distinct inodes of all guests
  uint64_t saved = 0;             // sum of on_disk - disk_used
  // Inodes of several guests that are no masters: nobody sealed them, so each guest may change what the
  // others have. (cp -al makes such.)
  uint64_t unsealed_shared = 0;
  uint64_t memory_saved = 0;  // page cache that masters would need once per guest, less once: an upper bound,
                              // if all of it is in use
};

// Leaves the rows of these guests only. All figures stay what they are: a file that one of them shares with
// a guest not shown is shared.
void show_only(Savings& savings, const std::vector<std::string>& names);
uint64_t guest_count(const Savings& savings);  // of the pool

// Sums `packages` of several architectures.
std::vector<PackageSavings> by_name(const std::vector<PackageSavings>& packages);
// Sums `packages` by source package; for --by source.
std::vector<PackageSavings> by_source(const std::vector<PackageSavings>& packages);

// Only the named ones (core/typed_package.h), in that order; a name nothing is shared of gives a row of
// zeros.
std::vector<PackageSavings> only(const std::vector<PackageSavings>& packages,
                                 const std::vector<std::string>& names);

enum class ReportBy { guest, package, source };

// Rendering. Guest-made strings are escaped in each (core/escape.h). Text is aligned columns, sizes as "38.2
// MB" (10^6).
std::string savings_text(const Savings& savings, ReportBy by);
// JSON lines: {"type":"guest",...}, {"type":"package",...}, {"type":"night",...}, {"type":"pool",...}.
std::string savings_json(const Savings& savings);
// One self-contained page: no script from elsewhere, no network; inline SVG plots; readable with 5 and with
// 500 guests.
std::string savings_html(const Savings& savings);
// Prometheus text exposition format, metrics vunify_*; for node_exporter's textfile collector.
std::string savings_prometheus(const Savings& savings);

// History: one JSON line a run in <state>/history.jsonl. A torn last line (crash) is ignored and overwritten
// by the next.
void append_history(const std::string& file, const HistoryEntry& row);
std::vector<HistoryEntry> read_history(const std::string& file);
// The runs of one pool, for numbers of several would make no line. Those that do not tell theirs are taken
// for its own.
std::vector<HistoryEntry> runs_on_pool(std::vector<HistoryEntry> nights, const std::string& pool);

}  // namespace vs::unify
