// The table of attempts, made by root inside of guests of each kind, and once outside.
#include <fmt/format.h>
#include <gtest/gtest.h>

#include <filesystem>
#include <fstream>
#include <map>
#include <sstream>

#include "tests/isolation/root/attempts.h"
#include "tests/isolation/root/isolation_host.h"
#include "tests/support/skip.h"

namespace vs::test {
namespace {

// All that SECURITY.md says undoes its promises, when it is given to a guest's root that is root outside.
constexpr const char* kWithUserNamespace =
    "IPROOT=10.99.0.5\nIPROOTDEV=lo\nUSERNS=yes\nS_CAPS=\"CAP_SYS_ADMIN CAP_SYS_PTRACE CAP_DAC_READ_SEARCH "
    "CAP_SYS_MODULE CAP_SYS_RAWIO CAP_NET_RAW CAP_NET_ADMIN CAP_LINUX_IMMUTABLE CAP_SYS_TIME CAP_MKNOD\"\n";

std::string configuration(Confined mode) {
  switch (mode) {
    case Confined::kPlain:
      return "IPROOT=10.99.0.5\nIPROOTDEV=lo\n";
    case Confined::kUserNamespace:
      return kWithUserNamespace;
    case Confined::kPrivateNetwork:
      return "NETWORK=private\nIPROOT=10.98.1.2\n";
  }
  return "";
}

// Nothing to be attacked: the file is neither inside nor outside.
bool absent(const Attempt& attempt, const Command& words, const std::string& answer) {
  for (const auto& other : attempt.others)
    if (other.absent && answer == other.answer)
      return words.size() == 2 && words[1].starts_with("/") && !std::filesystem::exists(words[1]);
  return false;
}

class AttemptInsideTest : public testing::TestWithParam<Confined> {
 protected:
  void SetUp() override {
    VS_NEEDS_ISOLATION();
    targets_ = std::make_unique<Targets>();
    host_ = std::make_unique<IsolationHost>();
    guest_ = host_->add("guest", configuration(GetParam()));
    const auto started = host_->vserver(guest_, {"start"});
    ASSERT_EQ(started.exit_code, 0) << shown(started);
  }
  void TearDown() override {
    targets_.reset();  // its addresses first: the host looks for what a guest left behind
    host_.reset();
  }
  void expect_all_denied(const std::string& group) {
    size_t made = 0;
    for (const auto& attempt : attempts()) {
      if (attempt.group != group) continue;
      ++made;
      const auto words = targets_->words_of(attempt);
      const auto result = host_->attack(guest_, words);
      if (absent(attempt, words, outcome(result))) continue;
      EXPECT_EQ(outcome(result), attempt.expected(GetParam()))
          << fmt::format("{}", fmt::join(words, " ")) << ": " << shown(result);
    }
    EXPECT_GT(made, 0u) << group;
  }
  std::unique_ptr<Targets> targets_;
  std::unique_ptr<IsolationHost> host_;
  std::string guest_;
};

TEST_P(AttemptInsideTest, MountsNamespacesAndDevices) {
  expect_all_denied("mounts");
}

TEST_P(AttemptInsideTest, KernelAndHardware) {
  expect_all_denied("kernel");
}

TEST_P(AttemptInsideTest, FilesOfTheKernel) {
  expect_all_denied("files");
}

TEST_P(AttemptInsideTest, WhatLiesOutsideOfItsTree) {
  expect_all_denied("outside");
}

TEST_P(AttemptInsideTest, ProcessesOfTheHost) {
  expect_all_denied("processes");
}

TEST_P(AttemptInsideTest, AddressesThatAreNotItsOwn) {
  expect_all_denied("addresses");
}

INSTANTIATE_TEST_SUITE_P(Guests, AttemptInsideTest,
                         testing::Values(Confined::kPlain, Confined::kUserNamespace,
                                         Confined::kPrivateNetwork),
                         [](const auto& mode) {
                           return mode.param == Confined::kPlain           ? "plain"
                                  : mode.param == Confined::kUserNamespace ? "userns"
                                                                           : "private";
                         });

class AttemptOutsideTest : public testing::TestWithParam<Attempt> {
 protected:
  // Made once for all rows: no attempt changes them, and in an emulated machine they take longer than the
  // attempt.
  static void SetUpTestSuite() {
    if (!IsolationHost::impossible()) targets_ = std::make_unique<Targets>();
  }
  static void TearDownTestSuite() { targets_.reset(); }
  static inline std::unique_ptr<Targets> targets_;
};

TEST_P(AttemptOutsideTest, TheSameAttemptGetsThroughOutside) {
  VS_NEEDS_ISOLATION();
  const auto result = targets_->attempt_outside(GetParam());
  if (outcome(result) == "WORKED") return;
  for (const auto& other : GetParam().others) {
    if (outcome(result) != other.answer) continue;
    if (other.absent) VS_SKIP(kKernel) << other.why;
    return;
  }
  FAIL() << "refused outside, too, so the denial inside says nothing: " << shown(result);
}

INSTANTIATE_TEST_SUITE_P(Table, AttemptOutsideTest, testing::ValuesIn(attempts()),
                         [](const auto& attempt) { return std::string(attempt.param.name); });

// Name of an attempt -> its three answers, from the rows of the table in isolation/README.md.
std::map<std::string, std::vector<std::string>> documented() {
  std::ifstream page(VS_SOURCE_DIR "/isolation/README.md");
  std::map<std::string, std::vector<std::string>> found;
  bool in_table = false;
  for (std::string line; std::getline(page, line);) {
    if (line.starts_with("| attempt |")) in_table = true;
    if (!in_table || line.starts_with("|--")) continue;
    if (!line.starts_with("|")) break;
    std::vector<std::string> cells;
    std::istringstream row(line.substr(1));
    for (std::string cell; std::getline(row, cell, '|');) {
      const auto first = cell.find_first_not_of(' '), last = cell.find_last_not_of(' ');
      cells.push_back(first == std::string::npos ? "" : cell.substr(first, last - first + 1));
    }
    cells.resize(4);
    std::istringstream names(cells[0]);
    std::string text, name;
    while (std::getline(names, text, '`') && std::getline(names, name, '`'))
      found[name] = {cells[1], cells[2].empty() ? cells[1] : cells[2],
                     cells[3].empty() ? cells[1] : cells[3]};
  }
  return found;
}

TEST(AttemptDocsTest, TheReadmeNamesEachAttemptAndItsAnswers) {
  auto rows = documented();
  for (const auto& attempt : attempts()) {
    const std::vector<std::string> answers = {attempt.expected(Confined::kPlain),
                                              attempt.expected(Confined::kUserNamespace),
                                              attempt.expected(Confined::kPrivateNetwork)};
    EXPECT_EQ(rows[attempt.name], answers) << attempt.name;
    rows.erase(attempt.name);
  }
  EXPECT_TRUE(rows.empty()) << rows.begin()->first << " is not attempted";
}

}  // namespace
}  // namespace vs::test
