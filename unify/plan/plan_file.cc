// The plan as JSON lines: format in plan_file.md. Paths are bytes, JSON is UTF-8: they go through escaped()
// and come back through unescape().
#include <fmt/format.h>

#include <algorithm>
#include <iterator>
#include <nlohmann/json.hpp>

#include "core/escape.h"
#include "core/hex.h"
#include "unify/plan/link_plan.h"

namespace vs::unify {
namespace {

using Json = nlohmann::json;

constexpr int kVersion = 1;

std::string key_text(const Key128& key) {
  return fmt::format("{:016x}{:016x}", key.high, key.low);
}

// Millions of steps are written as text at once: a tree of JSON values first, as for the header, took a third
// of the time of `vunify plan`. The fields of an object are in the order of the alphabet.
void put_quoted(std::string& out, std::string_view text) {
  const bool plain = std::all_of(text.begin(), text.end(),
                                 [](char c) { return c >= 0x20 && c < 0x7f && c != '"' && c != '\\'; });
  if (!plain) {
    out += Json(text).dump();
    return;
  }
  out += '"';
  out += text;
  out += '"';
}

void put_step(std::string& out, const LinkPlan& plan, const FileTable& table, const PlanHeader& header,
              const Duplicate& duplicate) {
  const FileRow& row = table.rows()[plan.names[duplicate.begin]];
  fmt::format_to(std::back_inserter(out),
                 R"({{"btime_ns":{},"ctime_ns":{},"gid":{},"ino":{},"mode":"{:o}","mtime_ns":{},"names":[)",
                 row.btime_ns, row.ctime_ns, row.gid, row.ino, row.mode, row.mtime_ns);
  for (NameNumber n = duplicate.begin; n < duplicate.end; ++n) {
    const FileRow& name = table.rows()[plan.names[n]];
    out += n == duplicate.begin ? "[" : ",[";
    put_quoted(out, header.trees[table.guest(name).value].name);
    out += ',';
    put_quoted(out, escaped(table.path(name)));
    out += ']';
  }
  fmt::format_to(std::back_inserter(out), R"(],"uid":{}}})", row.uid);
}

void put_group(std::string& out, const PlanGroup& group, const LinkPlan& plan, const FileTable& table,
               const PlanHeader& header) {
  const PlanPackage& package = plan.packages[group.package];
  fmt::format_to(std::back_inserter(out),
                 R"({{"content":"{}","digest":"{}","digest_algorithm":"{}","keys":[)",
                 key_text(group.content), hex(group.digest), digest_name(group.algorithm));
  for (size_t i = 0; i < group.keys.size(); ++i)
    fmt::format_to(std::back_inserter(out), R"({}"{}")", i == 0 ? "" : ",", key_text(group.keys[i]));
  out += R"(],"master":)";
  put_quoted(out, group.master.value_or(""));
  out += R"(,"package":[)";
  for (const auto* text : {&package.name, &package.version, &package.arch, &package.source}) {
    if (text != &package.name) out += ',';
    put_quoted(out, escaped(*text));
  }
  fmt::format_to(std::back_inserter(out), R"(],"shared_with":"{:016x}","size":{},"steps":[)",
                 group.shared_with, group.size);
  for (DuplicateNumber v = group.begin; v < group.end; ++v) {
    if (v != group.begin) out += ',';
    put_step(out, plan, table, header, plan.duplicates[v]);
  }
  fmt::format_to(std::back_inserter(out), R"(],"type":"group","xattrs":"{:016x}"}})", group.xattrs);
}

Json header_json(const PlanHeader& header) {
  Json trees = Json::array();
  for (const auto& tree : header.trees)
    trees.push_back(
        {{"name", tree.name}, {"path", escaped(tree.path)}, {"dev", tree.dev}, {"ino", tree.ino}});
  return {{"type", "vunify-plan"},
          {"version", kVersion},
          {"host", header.host},
          {"pool", escaped(header.pool)},
          {"dev", header.dev},
          {"store_id", header.store_id.value_or("")},
          {"guard", header.guard},
          {"scope", header.scope},
          {"ignore_mtime", header.ignore_mtime},
          {"trees", trees}};
}

// One line being taken apart; every failure names file, line and what was expected.
class Line {
 public:
  Line(std::string_view text, const std::string& file, size_t number)
      : where_(fmt::format("{}:{}", escaped(file), number)) {
    json_ = Json::parse(text, nullptr, false);
    if (!json_.is_object()) fail("a JSON object");
  }
  Line(Json json, std::string where) : json_(std::move(json)), where_(std::move(where)) {
    if (!json_.is_object()) fail("a JSON object");
  }

  [[noreturn]] void fail(const std::string& expected) const {
    throw Error(fmt::format("{}: expected {}; this is not a whole plan of vunify, nothing was changed",
                            where_, expected));
  }
  const Json& at(const char* key) const {
    const auto it = json_.find(key);
    if (it == json_.end()) fail(fmt::format("the field \"{}\"", key));
    return *it;
  }
  std::string text(const char* key) const {
    if (!at(key).is_string()) fail(fmt::format("text in \"{}\"", key));
    return at(key).get<std::string>();
  }
  // In the file "" says that there is none.
  std::optional<std::string> text_or_none(const char* key) const {
    std::string found = text(key);
    return found.empty() ? std::nullopt : std::optional(std::move(found));
  }
  std::string bytes(const Json& json, const char* what) const {
    std::string raw;
    if (!json.is_string() || !unescape(json.get<std::string>(), raw) || raw.find('\0') != std::string::npos)
      fail(fmt::format("an escaped name in \"{}\"", what));
    return raw;
  }
  std::string bytes(const char* key) const { return bytes(at(key), key); }
  uint64_t number(const char* key) const {
    if (!at(key).is_number_unsigned()) fail(fmt::format("a number that is not negative in \"{}\"", key));
    return at(key).get<uint64_t>();
  }
  uint32_t number32(const char* key) const {
    const uint64_t value = number(key);
    if (value > 0xffffffffu) fail(fmt::format("a number below 2^32 in \"{}\"", key));
    return static_cast<uint32_t>(value);
  }
  int64_t whole_number(const char* key) const {
    if (!at(key).is_number_integer()) fail(fmt::format("a whole number in \"{}\"", key));
    return at(key).get<int64_t>();
  }
  bool truth(const char* key) const {
    if (!at(key).is_boolean()) fail(fmt::format("true or false in \"{}\"", key));
    return at(key).get<bool>();
  }
  uint64_t hex64(const char* key) const { return hex_of(text(key), key, 16); }
  Key128 key128(const char* key) const { return key128(at(key), key); }
  Key128 key128(const Json& json, const char* key) const {
    const std::string digits = json.is_string() ? json.get<std::string>() : "";
    if (digits.size() != 32) fail(fmt::format("32 hex digits in \"{}\"", key));
    return {hex_of(digits.substr(16), key, 16), hex_of(digits.substr(0, 16), key, 16)};
  }
  uint32_t octal(const char* key) const {
    uint32_t value = 0;
    const std::string digits = text(key);
    if (digits.empty() || digits.size() > 7 || digits.find_first_not_of("01234567") != std::string::npos)
      fail(fmt::format("octal digits in \"{}\"", key));
    for (const char c : digits) value = value * 8 + static_cast<uint32_t>(c - '0');
    return value;
  }
  const Json& array(const char* key) const {
    if (!at(key).is_array()) fail(fmt::format("a list in \"{}\"", key));
    return at(key);
  }
  const std::string& where() const { return where_; }

 private:
  uint64_t hex_of(const std::string& digits, const char* key, size_t size) const {
    std::string raw;
    if (digits.size() != size || !from_hex(digits, raw))
      fail(fmt::format("{} hex digits in \"{}\"", size, key));
    uint64_t value = 0;
    for (const char c : raw) value = value << 8 | static_cast<uint8_t>(c);
    return value;
  }
  Json json_;
  std::string where_;
};

PlanHeader parse_header(const Line& line) {
  if (line.text("type") != "vunify-plan" || line.number("version") != kVersion)
    line.fail("a header of type vunify-plan, version 1");
  PlanHeader header;
  header.host = line.text("host");
  header.pool = line.bytes("pool");
  header.dev = line.number("dev");
  header.store_id = line.text_or_none("store_id");
  header.guard = line.text("guard");
  header.scope = line.text("scope");
  header.ignore_mtime = line.truth("ignore_mtime");
  for (const auto& json : line.array("trees")) {
    const Line tree(json, line.where());
    header.trees.push_back({tree.text("name"), tree.bytes("path"), tree.number("dev"), tree.number("ino")});
  }
  return header;
}

DigestAlgorithm algorithm_of(const Line& line) {
  const std::string name = line.text("digest_algorithm");
  for (const auto algorithm :
       {DigestAlgorithm::none, DigestAlgorithm::md5, DigestAlgorithm::sha1, DigestAlgorithm::sha224,
        DigestAlgorithm::sha256, DigestAlgorithm::sha384, DigestAlgorithm::sha512})
    if (digest_name(algorithm) == name) return algorithm;
  line.fail("the name of a digest in \"digest_algorithm\"");
}

// A path that a plan may name: relative, no empty, "." or ".." component. (Apply resolves beneath the tree's
// root anyway.)
void check_path(const Line& line, const std::string& path) {
  for (size_t at = 0; at <= path.size();) {
    const size_t end = std::min(path.find('/', at), path.size());
    const std::string part = path.substr(at, end - at);
    if (part.empty() || part == "." || part == "..")
      line.fail("a relative path without empty, '.' or '..' parts in \"names\"");
    at = end + 1;
  }
}

class PlanReader {
 public:
  explicit PlanReader(ParsedPlan& parsed) : parsed_(parsed) { parsed_.plan.packages.emplace_back(); }

  void group(const Line& line) {
    PlanGroup group;
    for (const auto& key : line.array("keys")) group.keys.push_back(line.key128(key, "keys"));
    if (group.keys.empty()) line.fail("at least one key in \"keys\"");
    group.content = line.key128("content");
    group.size = line.number("size");
    group.xattrs = line.hex64("xattrs");
    group.algorithm = algorithm_of(line);
    if (!from_hex(line.text("digest"), group.digest) || group.digest.size() != digest_size(group.algorithm))
      line.fail("a digest of the right length in hex in \"digest\"");
    group.master = line.text_or_none("master");
    group.shared_with = line.hex64("shared_with");
    const Json& package = line.array("package");
    if (package.size() != 4) line.fail("four texts in \"package\"");
    group.package = parsed_.plan.packages.next_number();
    parsed_.plan.packages.push_back({line.bytes(package[0], "package"), line.bytes(package[1], "package"),
                                     line.bytes(package[2], "package"), line.bytes(package[3], "package")});
    group.begin = parsed_.plan.duplicates.next_number();
    for (const auto& json : line.array("steps")) step(Line(json, line.where()), group.size);
    group.end = parsed_.plan.duplicates.next_number();
    if (group.begin == group.end) line.fail("at least one step in \"steps\"");
    parsed_.plan.groups.push_back(std::move(group));
  }

 private:
  void step(const Line& line, uint64_t size) {
    const Json& names = line.array("names");
    FileRow row;
    row.ino = line.number("ino");
    row.size = size;
    row.mtime_ns = line.whole_number("mtime_ns");
    row.ctime_ns = line.whole_number("ctime_ns");
    row.btime_ns = line.whole_number("btime_ns");
    row.uid = line.number32("uid");
    row.gid = line.number32("gid");
    row.mode = line.octal("mode");
    row.nlink = static_cast<uint32_t>(names.size());
    row.tag = kNoPackage;
    if (names.empty()) line.fail("at least one name in \"names\"");
    const NameNumber begin = parsed_.plan.names.next_number();
    for (const auto& name : names) add_name(line, name, row);
    parsed_.plan.duplicates.push_back({begin, parsed_.plan.names.next_number()});
  }

  void add_name(const Line& line, const Json& name, const FileRow& row) {
    if (!name.is_array() || name.size() != 2 || !name[0].is_string()) line.fail("[guest, path] in \"names\"");
    const auto& trees = parsed_.header.trees;
    const auto guest = std::find_if(trees.begin(), trees.end(), [&](const auto& tree) {
      return tree.name == name[0].get<std::string>();
    });
    if (guest == trees.end()) line.fail("a guest that the header lists in \"names\"");
    const std::string path = line.bytes(name[1], "names");
    check_path(line, path);
    const auto [dir, base] = split_path(path);
    const DirNumber number =
        parsed_.table.add_dir(GuestNumber(static_cast<size_t>(guest - trees.begin())), dir);
    parsed_.plan.names.push_back(parsed_.table.rows().next_number());
    parsed_.table.add_row(row, number, base);
  }

  ParsedPlan& parsed_;
};

}  // namespace

std::string plan_text(const PlanHeader& header, const LinkPlan& plan, const FileTable& table) {
  std::string text = header_json(header).dump() + "\n";
  for (const auto& group : plan.groups) {
    put_group(text, group, plan, table, header);
    text += '\n';
  }
  return text + Json({{"type", "end"}, {"groups", plan.groups.size()}}).dump() + "\n";
}

ParsedPlan parse_plan(std::string_view text, const std::string& file) {
  ParsedPlan parsed;
  PlanReader reader(parsed);
  bool ended = false;
  size_t number = 0;
  while (!text.empty() && !ended) {
    const size_t end = text.find('\n');
    const Line line(text.substr(0, end), file, ++number);
    text.remove_prefix(end == std::string_view::npos ? text.size() : end + 1);
    if (number == 1) {
      parsed.header = parse_header(line);
    } else if (line.text("type") == "group") {
      reader.group(line);
    } else {
      if (line.text("type") != "end" || line.number("groups") != parsed.plan.groups.size())
        line.fail(
            fmt::format("the end line with \"groups\":{} (correct the number when you remove or add groups)",
                        parsed.plan.groups.size()));
      ended = true;
    }
  }
  if (!ended)
    throw Error(
        fmt::format("{}: the end line is missing after line {}: expected a whole plan, nothing was changed",
                    escaped(file), number));
  if (!text.empty())
    throw Error(fmt::format("{}:{}: expected nothing after the end line, nothing was changed", escaped(file),
                            number + 1));
  return parsed;
}

}  // namespace vs::unify
