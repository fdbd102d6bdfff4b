// vdu: du for trees that share files by hard links.
#include <fmt/format.h>

#include <CLI/CLI.hpp>
#include <algorithm>
#include <cstdio>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/error.h"
#include "core/escape.h"
#include "core/size_text.h"
#include "unify/report/disk_usage.h"
#include "unify/report/report_text.h"
#include "unify/report/text_table.h"

namespace vs::unify {
namespace {

constexpr const char* kAbout =
    "Disk usage of directory trees whose files are shared by hard links.\n"
    "\n"
    "One line for each DIR, and their total if there are several. Each inode counts once in each DIR and "
    "once in\n"
    "the total, whatever the order of the DIRs. Columns:\n"
    "  APPARENT   content of regular files and symlinks\n"
    "  ON DISK    blocks, as du says for this DIR alone; shared + exclusive\n"
    "  SHARED     of inodes with names elsewhere: in another DIR, or outside of all\n"
    "  EXCLUSIVE  of inodes all of whose names are in DIR: freed if DIR alone is deleted\n"
    "In the total, shared and exclusive are of all DIRs taken together.\n"
    "\n"
    "The name that the store of vunify keeps (.unify/masters) is no holder: an inode with the immutable "
    "attribute is\n"
    "taken to have one name there, and `vunify gc` frees it once its last guest is gone. Other mounts below "
    "DIR are\n"
    "left out, symlinks are not followed, extents shared by reflinks are not seen. DIRs must not lie inside "
    "each other.\n";

constexpr const char* kEnd =
    "Exit codes:\n"
    "  0  done\n"
    "  1  failed\n"
    "  2  usage: bad option, a DIR that cannot be opened or is a symlink, DIRs that overlap\n"
    "  3  done, but something could not be read (named on stderr) and is not counted\n"
    "\n"
    "Example: what would deleting web3 free, and what do all take together?\n"
    "  vdu --exclusive /vservers/web3\n"
    "  vdu /vservers/*";

struct Options {
  std::vector<std::string> dirs;
  std::string block_size;
  uint64_t unit = 0;  // 0: sizes for people
  bool exclusive = false, inodes = false, json = false;
  bool summarize = false;  // changes nothing
};

std::string amount(const Options& options, uint64_t bytes) {
  return options.unit == 0 ? size_text(bytes) : std::to_string(in_units(bytes, options.unit));
}

std::string count_of(const Options& options, uint64_t count) {
  return options.unit == 0 ? count_text(count) : std::to_string(count);
}

std::vector<std::string> cells(const Options& options, const Usage& usage, const std::string& name) {
  if (options.inodes)
    return {count_of(options, usage.names), count_of(options, usage.inodes),
            count_of(options, usage.inodes_shared), count_of(options, usage.inodes_exclusive), name};
  return {amount(options, usage.apparent), amount(options, usage.on_disk), amount(options, usage.shared),
          amount(options, usage.exclusive), name};
}

std::string table_text(const Options& options, const DiskUsage& result) {
  const bool inodes = options.inodes;
  TextTable table({{inodes ? "NAMES" : "APPARENT"},
                   {inodes ? "INODES" : "ON DISK"},
                   {"SHARED"},
                   {"EXCLUSIVE"},
                   {"TREE", Align::left}});
  for (const TreeUsage& tree : result.trees) table.add(cells(options, tree.usage, escaped(tree.path)));
  if (result.trees.size() > 1) table.add(cells(options, result.total, "total"));
  return table.text();
}

// Number, tab, name: what scripts made for du expect.
std::string exclusive_text(const Options& options, const DiskUsage& result) {
  std::string out;
  const auto line = [&](const Usage& usage, const std::string& name) {
    out += (options.inodes ? count_of(options, usage.inodes_exclusive) : amount(options, usage.exclusive)) +
           "\t" + name + "\n";
  };
  for (const TreeUsage& tree : result.trees) line(tree.usage, escaped(tree.path));
  if (result.trees.size() > 1) line(result.total, "total");
  return out;
}

void add_usage(nlohmann::ordered_json& json, const Usage& usage) {
  json["apparent"] = usage.apparent;
  json["on_disk"] = usage.on_disk;
  json["shared"] = usage.shared;
  json["exclusive"] = usage.exclusive;
  json["names"] = usage.names;
  json["inodes"] = usage.inodes;
  json["inodes_shared"] = usage.inodes_shared;
  json["inodes_exclusive"] = usage.inodes_exclusive;
}

std::string json_text(const DiskUsage& result) {
  std::string out;
  for (const TreeUsage& tree : result.trees) {
    nlohmann::ordered_json json = {{"type", "tree"}, {"path", escaped(tree.path)}};
    add_usage(json, tree.usage);
    json["problems"] = tree.problems;
    out += json.dump() + "\n";
  }
  nlohmann::ordered_json json = {{"type", "summary"}, {"verb", "vdu"}, {"trees", result.trees.size()}};
  add_usage(json, result.total);
  json["problems"] = result.problems;
  return out + json.dump() + "\n";
}

void print(const std::string& text) {
  if (std::fwrite(text.data(), 1, text.size(), stdout) != text.size() || std::fflush(stdout) != 0)
    throw Error(problem_from_errno("write to", "standard output").message);
}

Exit run(const Options& options) {
  const auto report = [](const Problem& problem) { fmt::print(stderr, "vdu: {}\n", problem.message); };
  const DiskUsage result = disk_usage(options.dirs, report);
  print(options.json        ? json_text(result)
        : options.exclusive ? exclusive_text(options, result)
                            : table_text(options, result));
  return result.problems == 0 ? Exit::done : Exit::skipped;
}

void define(CLI::App& app, Options& options) {
  app.add_option("DIR", options.dirs, "Directories to count")->required()->type_name("");
  app.add_flag("--exclusive", options.exclusive, "Only what deleting DIR frees: number, tab, name");
  app.add_flag("--inodes", options.inodes, "Count names and inodes instead of bytes");
  app.add_option("-B,--block-size", options.block_size,
                 "Print plain numbers in units of SIZE: 1, 512, K (1024), kB (1000), MiB, G ...")
      ->type_name("SIZE");
  app.add_flag("--json", options.json,
               "JSON lines: one {\"type\":\"tree\"} a DIR, {\"type\":\"summary\"} last; bytes");
  app.add_flag("-s,--summarize", options.summarize,
               "One line for each DIR: the default, accepted as du has it");
  app.set_version_flag("--version", "vdu " VS_VERSION);
  app.footer(kEnd);
}

// CLI11 takes "[a,b]" for a list, but it may be the name of a directory: "./[a,b]" is the same one.
std::vector<std::string> arguments(int argc, char** argv) {
  std::vector<std::string> reversed;  // as App::parse(vector) wants them
  for (int i = argc - 1; i > 0; --i) {
    const std::string argument = argv[i];
    const bool list = argument.starts_with('[') && argument.ends_with(']');
    reversed.push_back((list ? "./" : "") + argument);
  }
  return reversed;
}

// The exit code if the program ends here: bad usage, or help was all that was asked for.
std::optional<Exit> parse(int argc, char** argv, Options& options) {
  CLI::App app(kAbout, "vdu");
  try {
    define(app, options);
    app.parse(arguments(argc, argv));
  } catch (const CLI::ParseError& error) {
    return app.exit(error) == 0 ? Exit::done : Exit::usage;  // CLI11 has codes of its own from 100 on
  }
  if (!options.block_size.empty() && !parse_block_size(options.block_size, options.unit))
    throw Error(
        "bad block size " + escaped(options.block_size) + ": expected something like 1, 4096, K, MiB or 10MB",
        Exit::usage);
  return std::nullopt;
}

Exit guarded(int argc, char** argv) {
  try {
    Options options;
    if (const auto ended = parse(argc, argv, options)) return *ended;
    return run(options);
  } catch (const Error& error) {
    fmt::print(stderr, "vdu: {}\n", error.what());
    return error.code();
  } catch (const std::exception& error) {
    fmt::print(stderr, "vdu: {}\n", error.what());
    return Exit::failed;
  }
}

}  // namespace
}  // namespace vs::unify

int main(int argc, char** argv) {
  return static_cast<int>(vs::unify::guarded(argc, argv));
}
