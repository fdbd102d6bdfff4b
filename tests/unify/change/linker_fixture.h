// Three guests with equal files, and the three steps of the linker one by one.
#pragma once

#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <filesystem>
#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "tests/unify/fixture.h"
#include "unify/change/linker.h"

namespace vs::unify {

// "same" in usr/x of a, b and c, planned.
class LinkerTest : public unit::HostTest {
 protected:
  std::vector<std::string> names() const override { return {"a", "b", "c"}; }
  void SetUp() override {
    HostTest::SetUp();
    if (IsSkipped()) return;
    host().everywhere("usr/x", "same");
  }
  // A guest holds a descriptor that another process would: leases know of open files, not of processes.
  static UniqueFd open_for_writing(const std::string& path, int more = 0) {
    return UniqueFd(::open(path.c_str(), O_RDWR | O_CLOEXEC | more));
  }

  void plan() {
    host().plan();
    ASSERT_THAT(host().link_plan.groups, testing::SizeIs(1));
    linker_.reset(new Linker(host().linker()));
  }
  GroupWork prepared() { return host().work(GroupNumber(0), *linker_); }
  void link(GroupWork& work) { linker_->link(work); }
  void settle(GroupWork& work) { linker_->settle(work); }
  // All three steps.
  GroupWork run() {
    plan();
    GroupWork work = prepared();
    link(work);
    settle(work);
    return work;
  }
  // "b changed_meanwhile", for each refused duplicate.
  std::vector<std::string> refused(const GroupWork& work) {
    std::vector<std::string> all;
    for (const auto& [duplicate, reason] : work.refused) {
      const FileRow& row =
          host().files.table.rows()[host().link_plan.names[host().link_plan.duplicates[duplicate].begin]];
      all.push_back(host().guests[host().files.table.guest(row)].name + " " +
                    std::string(reason_name(reason)));
    }
    return all;
  }
  std::string x(const std::string& guest) { return host().path(guest, "usr/x"); }
  // Other content in usr/x of all guests; masters of before stay, sealed.
  void start_over(const std::string& content) {
    for (const char* guest : {"a", "b", "c"}) {
      if (!unit::exists(x(guest))) continue;
      if (S_ISREG(unit::lstat_of(x(guest)).st_mode)) unit::unseal(x(guest));
      std::filesystem::remove_all(x(guest));
    }
    for (const auto& stored : host().store->list_masters()) unit::seal(host().master_path(stored.name));
    host().everywhere("usr/x", content);
  }
  // More files of guest b that are what its usr/x is.
  void copy_in_b(int count) {
    const timespec mtime = unit::lstat_of(x("b")).st_mtim;
    for (int i = 0; i < count; ++i) {
      const std::string copy = host().path("b", "usr/copy" + std::to_string(i));
      std::filesystem::copy_file(x("b"), copy);
      unit::set_mtime(copy, mtime.tv_sec * 1'000'000'000LL + mtime.tv_nsec);
    }
  }
  // A plan that says a, b and c were equal to `content`.
  void plan_untruly(const std::string& content) {
    host().scan();
    host().find_candidates();
    GroupVerdict lie;
    lie.contents.push_back(
        {{CandidateNumber(0), CandidateNumber(1), CandidateNumber(2)}, {}, xxh128(content), 0, std::nullopt});
    std::vector<GroupVerdict> verdicts;
    verdicts.push_back(std::move(lie));
    host().link_plan = make_plan(host().verify_input(), std::move(verdicts), false, nullptr).plan;
    linker_.reset(new Linker(host().linker()));
  }
  uint64_t master_ino() { return host().masters.empty() ? 0 : host().masters.records().back().ino; }
  bool linked(const std::string& guest) {
    return unit::ino_of(x(guest)) == master_ino() && unit::is_sealed(x(guest));
  }
  // Nothing on its way, nothing lost, every master sealed.
  void expect_tidy() {
    EXPECT_THAT(host().staging(), testing::IsEmpty());
    EXPECT_THAT(host().lost(), testing::IsEmpty());
    for (const auto& stored : host().store->list_masters())
      EXPECT_TRUE(unit::is_sealed(host().master_path(stored.name))) << stored.name;
  }
  std::unique_ptr<Linker> linker_;
};

}  // namespace vs::unify
