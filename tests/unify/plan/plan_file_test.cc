#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <functional>
#include <nlohmann/json.hpp>
#include <random>

#include "unify/plan/guest_files.h"
#include "unify/plan/link_plan.h"

namespace vs::unify {
namespace {

using testing::HasSubstr;
using testing::MatchesRegex;
using testing::SizeIs;
using Json = nlohmann::json;

PlanHeader some_header() {
  PlanHeader header;
  header.host = "0123456789abcdef0123456789abcdef";
  header.pool = "/srv/new\nline";
  header.dev = 2049;
  header.store_id = "00112233445566778899aabbccddeeff";
  header.guard = "immutable";
  header.scope = "packages";
  header.ignore_mtime = true;
  header.trees = {{"web", "/vservers/web", 2049, 12}, {"mail", "/vservers/\xff", 2049, 13}};
  return header;
}

// Two groups; the first has a duplicate with two names, bytes that are no UTF-8, and the extremes of every
// number.
struct Sample {
  LinkPlan plan;
  FileTable table;
  Sample() {
    plan.packages = {{}, {"libc6", "2.36-9", "amd64", "glibc"}, {"\xff<pkg>", "\x1b", "", ""}};
    row(0, "usr/lib", "libc.so.6", -1);
    row(0, "usr/lib", "na\nme\xff\\", -1);
    row(1, "", "top", 1'700'000'000'123'456'789);
    row(1, std::string(5000, 'd'), "deep", 5);
    for (RowNumber r; r < table.rows().next_number(); ++r) plan.names.push_back(r);
    for (const auto& [begin, end] : {std::pair(0, 2), std::pair(2, 3), std::pair(3, 4)})
      plan.duplicates.push_back({NameNumber(begin), NameNumber(end)});
    PlanGroup first, second;
    first.keys = {{1, 2}, {~0ull, ~0ull}};
    first.content = {0xfedcba9876543210, 0x0123456789abcdef};
    first.size = ~0ull;
    first.xattrs = 0xdeadbeef;
    first.algorithm = DigestAlgorithm::md5;
    first.digest = std::string(16, '\xab');
    first.package = PlanPackageNumber(1);
    first.end = DuplicateNumber(2);
    second.keys = {{3, 4}};
    second.size = 1;
    second.master = "ab/cdef-0";
    second.shared_with = 9;
    second.package = PlanPackageNumber(2);
    second.begin = DuplicateNumber(2);
    second.end = DuplicateNumber(3);
    plan.groups = {first, second};
  }
  void row(size_t guest, std::string_view dir, std::string_view name, int64_t mtime) {
    FileRow row;
    row.ino = 18446744073709551615ull;
    row.size = ~0ull;
    row.mtime_ns = mtime;
    row.ctime_ns = 2;
    row.btime_ns = 0;
    row.uid = 4294967295u;
    row.gid = 5;
    row.mode = 0100755;
    table.add_row(row, table.add_dir(GuestNumber(guest), dir), name);
  }
};

std::string some_text() {
  const Sample sample;
  return plan_text(some_header(), sample.plan, sample.table);
}

std::vector<std::string> lines_of(const std::string& text) {
  std::vector<std::string> lines;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at);
    lines.push_back(text.substr(at, end - at));
    at = end + 1;
  }
  return lines;
}

std::string joined(const std::vector<std::string>& lines) {
  std::string text;
  for (const auto& line : lines) text += line + "\n";
  return text;
}

std::string refusal(const std::string& text) {
  try {
    parse_plan(text, "plan.json");
  } catch (const Error& error) {
    return error.what();
  }
  return "taken";
}

TEST(PlanFileTest, WritesOneLineForHeaderGroupsAndEnd) {
  const auto lines = lines_of(some_text());
  ASSERT_THAT(lines, SizeIs(4));
  for (const auto& line : lines) EXPECT_TRUE(Json::accept(line)) << line;
  EXPECT_THAT(lines[3], HasSubstr("\"groups\":2"));
}

TEST(PlanFileTest, ReadsBackWhatItWrote) {
  const ParsedPlan parsed = parse_plan(some_text(), "plan.json");
  EXPECT_EQ(parsed.header.pool, "/srv/new\nline");
  EXPECT_EQ(parsed.header.trees.at(1).path, "/vservers/\xff");
  EXPECT_TRUE(parsed.header.ignore_mtime);
  ASSERT_THAT(parsed.plan.groups, SizeIs(2));
  EXPECT_EQ(parsed.table.path(parsed.table.rows()[RowNumber(1)]), "usr/lib/na\nme\xff\\");
  EXPECT_EQ(parsed.table.rows()[RowNumber(1)].nlink, 2u);
  EXPECT_EQ(parsed.table.rows().front().mtime_ns, -1);
  EXPECT_EQ(parsed.plan.packages[parsed.plan.groups[GroupNumber(1)].package].name, "\xff<pkg>");
  EXPECT_EQ(plan_text(parsed.header, parsed.plan, parsed.table), some_text()) << "nothing is lost on the way";
}

// plan_file.md: "" there, so that old plans and tools go on.
TEST(PlanFileTest, AStoreAndAMasterThatAreNotYetThereAreEmptyTexts) {
  const Sample sample;
  PlanHeader header = some_header();
  header.store_id.reset();
  const std::string text = plan_text(header, sample.plan, sample.table);
  EXPECT_THAT(text, HasSubstr("\"store_id\":\"\""));
  EXPECT_THAT(text, HasSubstr("\"master\":\"\""));
  const ParsedPlan parsed = parse_plan(text, "plan.json");
  EXPECT_EQ(parsed.header.store_id, std::nullopt);
  EXPECT_EQ(parsed.plan.groups.front().master, std::nullopt);
  EXPECT_EQ(parsed.plan.groups.back().master, "ab/cdef-0");
}

TEST(PlanFileTest, APlanCutShortAnywhereIsRefused) {
  const std::string text = some_text();
  for (size_t cut = 0; cut + 1 < text.size(); cut += 3)
    EXPECT_THAT(refusal(text.substr(0, cut)), HasSubstr("plan.json")) << cut;
  EXPECT_THAT(refusal(text.substr(0, text.rfind("{\"groups\""))),
              HasSubstr("the end line is missing after line 3"));
  EXPECT_NE(parse_plan(text.substr(0, text.size() - 1), "plan.json").plan.groups.size(), 0u)
      << "but for the last line break";
}

TEST(PlanFileTest, NothingMayFollowTheEnd) {
  EXPECT_THAT(refusal(some_text() + "{}\n"), HasSubstr("plan.json:5"));
  EXPECT_THAT(refusal(some_text() + some_text()), HasSubstr("plan.json:5"));
}

// A person may take groups out, if the end line says so.
TEST(PlanFileTest, TheEndLineTellsTheNumberOfGroups) {
  auto lines = lines_of(some_text());
  lines.erase(lines.begin() + 1);
  EXPECT_THAT(refusal(joined(lines)), HasSubstr("plan.json:3: expected the end line with \"groups\":1"));
  lines.back() = R"({"type":"end","groups":1})";
  EXPECT_EQ(parse_plan(joined(lines), "plan.json").plan.groups.size(), 1u);
}

// --- Damage, field by field --------------------------------------------------------------------------------

struct Damage {
  size_t line;
  std::function<void(Json&)> change;
  const char* expected;
};

void expect_told(const std::vector<Damage>& damages) {
  for (const auto& damage : damages) {
    auto lines = lines_of(some_text());
    Json json = Json::parse(lines[damage.line]);
    damage.change(json);
    lines[damage.line] = json.dump();
    const std::string told = refusal(joined(lines));
    EXPECT_THAT(told, HasSubstr("plan.json:" + std::to_string(damage.line + 1) + ": expected "))
        << lines[damage.line].substr(0, 300);
    EXPECT_THAT(told, HasSubstr(damage.expected)) << lines[damage.line].substr(0, 300);
    EXPECT_THAT(told, HasSubstr("nothing was changed"));
  }
}

TEST(PlanFileTest, TellsLineAndExpectationForEveryDamagedHeader) {
  expect_told({
      {0, [](Json& j) { j["version"] = 2; }, "version 1"},
      {0, [](Json& j) { j["type"] = "group"; }, "type vunify-plan"},
      {0, [](Json& j) { j["dev"] = -1; }, "not negative in \"dev\""},
      {0, [](Json& j) { j["dev"] = 1.5; }, "\"dev\""},
      {0, [](Json& j) { j["ignore_mtime"] = 1; }, "true or false in \"ignore_mtime\""},
      {0, [](Json& j) { j["pool"] = "\\q"; }, "an escaped name in \"pool\""},
      {0, [](Json& j) { j["pool"] = "\\x00"; }, "an escaped name in \"pool\""},
      {0, [](Json& j) { j["trees"] = Json::object(); }, "a list in \"trees\""},
      {0, [](Json& j) { j["trees"][0] = "web"; }, "a JSON object"},
      {0, [](Json& j) { j["trees"][0].erase("ino"); }, "the field \"ino\""},
      {0, [](Json& j) { j["guard"] = nullptr; }, "text in \"guard\""},
  });
}

TEST(PlanFileTest, TellsLineAndExpectationForEveryDamagedPlan) {
  expect_told({
      {1, [](Json& j) { j["type"] = "step"; }, "the end line"},
      {1, [](Json& j) { j["keys"] = Json::array(); }, "at least one key"},
      {1, [](Json& j) { j["keys"][0] = "12"; }, "32 hex digits in \"keys\""},
      {1, [](Json& j) { j["keys"][0] = 12; }, "32 hex digits in \"keys\""},
      {1, [](Json& j) { j["content"] = std::string(32, 'G'); }, "hex digits in \"content\""},
      {1, [](Json& j) { j["size"] = "4"; }, "\"size\""},
      {1, [](Json& j) { j["size"] = 1e30; }, "\"size\""},
      {1, [](Json& j) { j["xattrs"] = "1"; }, "16 hex digits in \"xattrs\""},
      {1, [](Json& j) { j["digest_algorithm"] = "crc32"; }, "the name of a digest"},
      {1, [](Json& j) { j["digest"] = "ab"; }, "a digest of the right length"},
      {1, [](Json& j) { j["digest"] = ""; }, "a digest of the right length"},
      {1,
       [](Json& j) {
         j["package"] = {"a", "b", "c"};
       },
       "four texts in \"package\""},
      {1, [](Json& j) { j["package"][3] = 5; }, "an escaped name in \"package\""},
      {1, [](Json& j) { j["steps"] = Json::array(); }, "at least one step"},
      {1, [](Json& j) { j["steps"][0] = Json::array(); }, "a JSON object"},
      {1, [](Json& j) { j["steps"][0]["names"] = Json::array(); }, "at least one name"},
      {1, [](Json& j) { j["steps"][0]["names"][0] = "usr"; }, "[guest, path]"},
      {1,
       [](Json& j) {
         j["steps"][0]["names"][0] = {"web", "usr", "x"};
       },
       "[guest, path]"},
      {1, [](Json& j) { j["steps"][0]["names"][0][0] = "other"; }, "a guest that the header lists"},
      {1, [](Json& j) { j["steps"][0]["mode"] = "0999"; }, "octal digits in \"mode\""},
      {1, [](Json& j) { j["steps"][0]["mode"] = ""; }, "octal digits in \"mode\""},
      {1, [](Json& j) { j["steps"][0]["uid"] = 4294967296; }, "below 2^32 in \"uid\""},
      {1, [](Json& j) { j["steps"][0]["mtime_ns"] = "x"; }, "a whole number in \"mtime_ns\""},
      {3, [](Json& j) { j["groups"] = 3; }, "\"groups\":2"},
      {3, [](Json& j) { j["groups"] = -2; }, "\"groups\""},
  });
}

// Beneath a guest's root is the only place that a plan may speak of.
TEST(PlanFileTest, RefusesPathsThatLeadElsewhere) {
  for (const char* path :
       {"", "/", "/etc/passwd", "../x", "usr/../../x", "usr//x", "usr/./x", "usr/", ".", "..", "usr/x/.."})
    expect_told({{1, [&](Json& j) { j["steps"][0]["names"][0][1] = path; }, "a relative path"}});
}

// Every field of every line gone, and every field of another type.
TEST(PlanFileTest, EveryFieldIsNeededAndOfItsType) {
  const auto lines = lines_of(some_text());
  for (size_t line = 0; line < lines.size(); ++line) {
    const Json whole = Json::parse(lines[line]);
    for (const auto& [key, value] : whole.items()) {
      for (const Json& other : {Json(), Json(3.5), Json::object({{"a", 1}}),
                                Json(value.is_boolean() ? Json("true") : Json(true))}) {
        expect_told({{line, [&](Json& j) { j[key] = other; }, "expected"}});
      }
      expect_told({{line, [&](Json& j) { j.erase(key); }, ("the field \"" + key + "\"").c_str()}});
    }
  }
}

TEST(PlanFileTest, DeeplyNestedInputIsRefusedNotFollowed) {
  EXPECT_THAT(refusal(std::string(1'000'000, '[')), HasSubstr("plan.json:1"));
  EXPECT_THAT(refusal(std::string(200'000, '[') + std::string(200'000, ']')), HasSubstr("plan.json:1"));
}

// Any byte of the text changed: either told, or another plan that is whole; never an accident.
TEST(PlanFileTest, SurvivesAnyChangedByte) {
  const std::string text = some_text();
  std::mt19937 random(1);
  for (int i = 0; i < 3000; ++i) {
    std::string damaged = text;
    damaged[random() % damaged.size()] = static_cast<char>(random());
    const std::string told = refusal(damaged);
    EXPECT_TRUE(told == "taken" || told.starts_with("plan.json:")) << told;
  }
}

}  // namespace
}  // namespace vs::unify
