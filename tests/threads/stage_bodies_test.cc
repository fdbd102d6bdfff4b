// The stage bodies of scan, verify and apply, run by plain threads over shared data as the passes run them.
// Under the preset tsan a data race fails the test; without it, these show that the outcome is whole.
// (fixture.h runs no TBB code.)
#include <fcntl.h>
#include <fmt/format.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>

#include <mutex>

#include "tests/threads/workers.h"
#include "tests/unify/fixture.h"

namespace vs::unify {
namespace {

using testing::IsEmpty;
using unit::for_each_job;
using unit::kWorkers;

class StageBodiesTest : public unit::HostTest {
 protected:
  std::vector<std::string> names() const override { return {"a", "b", "c"}; }
  // Groups of three equal files, some with a hard link, some with two contents; in several directories.
  void fill(size_t groups) {
    for (size_t i = 0; i < groups; ++i) {
      const std::string name = "d" + std::to_string(i % 8) + "/f" + std::to_string(i);
      host().everywhere(name, std::string(i + 1, 'x'));
      if (i % 5 == 0) host().link("a", name, name + ".link");
      if (i % 7 == 0) host().file("c", name, std::string(i + 1, 'y'));
    }
  }
};

// --- Scan --------------------------------------------------------------------------------------------------

// One visitor for all threads, a directory's own state in between: as UnifyVisitor hands its sums over.
class SummingVisitor final : public ScanVisitor {
 public:
  std::unique_ptr<DirectoryVisitor> enter(GuestNumber, std::string_view, const FileStat&) override {
    return std::make_unique<Directory>(*this);
  }
  uint64_t files = 0, bytes = 0;

 private:
  class Directory final : public DirectoryVisitor {
   public:
    explicit Directory(SummingVisitor& sums) : sums_(sums) {}
    ~Directory() override {
      const std::lock_guard guard(sums_.mutex_);
      sums_.files += files_;
      sums_.bytes += bytes_;
    }
    std::optional<uint32_t> wants(const DirEntry&) override { return ++files_, 1; }
    bool keep(const DirEntry&, const FileStat& stat) override { return bytes_ += stat.size, true; }

   private:
    SummingVisitor& sums_;
    uint64_t files_ = 0, bytes_ = 0;
  };
  std::mutex mutex_;
};

TEST_F(StageBodiesTest, DirectoriesAreListedWithOneVisitor) {
  fill(160);
  std::vector<std::pair<GuestNumber, std::string>> directories;
  for (GuestNumber guest; guest < host().guests.next_number(); ++guest)
    for (int d = 0; d < 8; ++d) directories.emplace_back(guest, "d" + std::to_string(d));
  SummingVisitor visitor;
  std::mutex mutex;
  FileTable table;
  for_each_job(directories.size(), [&](size_t i) {
    DirReader reader;
    const auto& [guest, path] = directories[i];
    const DirListing listing = list_directory(host().guests[guest], guest, path, visitor, reader);
    EXPECT_THAT(listing.problems, IsEmpty());
    const std::lock_guard guard(mutex);
    const DirNumber dir = table.add_dir(guest, path);
    for (const auto& [row, name] : listing.rows) table.add_row(row, dir, name);
  });
  table.sort();
  EXPECT_EQ(visitor.files, 3 * 160u + 32u);
  EXPECT_EQ(table.rows().size(), visitor.files);
}

// Threads go into one guest at the same time, through one descriptor.
TEST_F(StageBodiesTest, OneRootServesAllThreads) {
  fill(40);
  std::atomic<uint64_t> bytes{0};
  unit::in_threads([&](unsigned) {
    for (size_t i = 0; i < 40; ++i) {
      FileStat stat;
      const auto fd = host().guests.front().root.open_regular(
          "d" + std::to_string(i % 8) + "/f" + std::to_string(i), &stat);
      if (fd) bytes += stat.size;
    }
  });
  EXPECT_EQ(bytes, kWorkers * (40u * 41u / 2));
}

// --- Verify ------------------------------------------------------------------------------------------------

TEST_F(StageBodiesTest, GroupsAreVerifiedByAVerifierAThread) {
  fill(120);
  host().scan();
  host().find_candidates();
  const auto& groups = host().candidates.groups;
  const VerifyInput input = host().verify_input();
  std::vector<GroupVerdict> verdicts(groups.size());
  std::atomic<size_t> next{0};
  unit::in_threads([&](unsigned) {
    GroupVerifier verifier(input);
    for (size_t g = next++; g < groups.size(); g = next++) verdicts[g] = verifier.verify(groups[g]);
  });
  const auto alone = host().verify();
  ASSERT_EQ(verdicts.size(), alone.size());
  for (size_t g = 0; g < verdicts.size(); ++g) {
    ASSERT_EQ(verdicts[g].contents.size(), alone[g].contents.size());
    for (size_t i = 0; i < alone[g].contents.size(); ++i)
      EXPECT_EQ(verdicts[g].contents[i].duplicates, alone[g].contents[i].duplicates);
  }
}

// --- Apply -------------------------------------------------------------------------------------------------

// Each step for all works of a batch before the next, as Applier::run_batch does it.
TEST_F(StageBodiesTest, WorksArePreparedLinkedAndSettledByAnyThread) {
  fill(120);
  host().plan();
  Linker linker = host().linker();
  TypedVector<GroupNumber, GroupWork> works(host().link_plan.groups.size());
  uint32_t staged = 0;
  for (GroupNumber g; g < works.next_number(); ++g) {
    const PlanGroup& group = host().link_plan.groups[g];
    works[g].group = g;
    works[g].begin = group.begin;
    works[g].end = group.end;
    works[g].first_staged = staged;
    for (DuplicateNumber v = group.begin; v < group.end; ++v)
      staged += host().link_plan.duplicates[v].end - host().link_plan.duplicates[v].begin;
  }
  for_each_job(works.size(), [&](size_t i) { linker.prepare(works[GroupNumber(i)]); });
  for (auto& work : works) work.master_index = host().masters.add(work.master.record);
  for_each_job(works.size(), [&](size_t i) { linker.link(works[GroupNumber(i)]); });
  for_each_job(works.size(), [&](size_t i) { linker.settle(works[GroupNumber(i)]); });
  EXPECT_EQ(host().counts.files_linked, host().link_plan.file_count());
  EXPECT_THAT(host().staging(), IsEmpty());
  for (const auto& stored : host().store->list_masters())
    EXPECT_TRUE(unit::is_sealed(host().master_path(stored.name)));
}

// Guests change what they like meanwhile; the counters and lists of refused duplicates are shared or merged.
TEST_F(StageBodiesTest, RefusedDuplicatesAndGivenBackOnesAreCountedOnce) {
  fill(120);
  host().plan();
  for (size_t i = 0; i < 120; i += 3)
    host().file("b", "d" + std::to_string(i % 8) + "/f" + std::to_string(i), std::string(i + 1, 'z'));
  Linker linker = host().linker();
  std::vector<GroupWork> works;
  for (GroupNumber g; g < host().link_plan.groups.next_number(); ++g) works.push_back(host().work(g, linker));
  for_each_job(works.size(), [&](size_t i) { linker.link(works[i]); });
  for_each_job(works.size(), [&](size_t i) { linker.settle(works[i]); });
  size_t refused = 0;
  for (const auto& work : works) refused += work.refused.size();
  EXPECT_GE(refused, 30u);
  EXPECT_GT(host().counts.files_linked, 0u);
  EXPECT_THAT(host().staging(), IsEmpty());
}

// In each guest a name of each master had been renamed, while that was unsealed, over a file in exchange: all
// are given back at once, some by windows on one master.
TEST_F(StageBodiesTest, StrayMastersAreGivenBackByAnyThread) {
  constexpr size_t kGroups = 30;
  for (size_t i = 0; i < kGroups; ++i) host().everywhere("f" + std::to_string(i), std::string(i + 1, 'x'));
  host().unify();
  struct Job {
    std::string guest, name, staged;
    uint64_t put = 0, master = 0;
  };
  std::vector<Job> jobs;
  for (size_t i = 0; i < kGroups; ++i)
    for (const std::string guest : {"a", "b"}) {
      Job job{guest, "over" + std::to_string(i), fmt::format("{:08x}", jobs.size())};
      const std::string of_master = host().path(guest, "f" + std::to_string(i));
      job.master = unit::ino_of(of_master);
      unit::write_file(host().path(guest, job.name), "ours");
      job.put = host().ino(guest, job.name);
      unit::unseal(of_master);
      ASSERT_EQ(::rename(of_master.c_str(), (host().store_path() + "/staging/" + job.staged).c_str()), 0);
      unit::seal(host().path("c", "f" + std::to_string(i)));
      jobs.push_back(job);
    }
  Exchanger exchanger = host().exchanger();
  for_each_job(jobs.size(), [&](size_t i) {
    const Job& job = jobs[i];
    const UniqueFd dir(::open(host().path(job.guest).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC));
    EXPECT_EQ(exchanger.put_back(job.staged, {dir.get(), job.name, job.name}, job.put), Exchange::put_back);
  });
  for (const Job& job : jobs) {
    EXPECT_EQ(host().ino(job.guest, job.name), job.master);
    EXPECT_EQ(unit::ino_of(host().store_path() + "/staging/" + job.staged), job.put);
  }
  EXPECT_THAT(exchanger.strays().changed(), IsEmpty());
  for (const auto& stored : host().store->list_masters())
    EXPECT_TRUE(unit::is_sealed(host().master_path(stored.name)));
}

// --- Masters and index: looked up by all threads, changed between passes by one ----------------------------

TEST_F(StageBodiesTest, MastersAndIndexAreReadByAllThreads) {
  fill(60);
  host().scan();
  const auto& rows = host().files.table.rows();
  std::vector<Index::Learned> learned;
  for (const auto& row : rows) {
    learned.push_back({host().files.devices.front(), row, {{row.ino, 1}, 0, true, {}, 0}});
    MasterRecord record;
    record.name = std::to_string(row.ino);
    record.ino = row.ino;
    record.answers = {{row.ino, 2}};
    host().masters.add(record);
  }
  host().index->learn(learned);
  std::atomic<size_t> known{0}, masters{0};
  unit::in_threads([&](unsigned) {
    for (const auto& row : rows) {
      const auto content = host().index->known(host().files.devices.front(), row);
      known += content && content->content.low == row.ino;
      const auto master = host().masters.find(row.ino);
      masters +=
          master && !host().masters.answering({row.ino, 2}).empty() && host().masters[*master].ino == row.ino;
    }
  });
  EXPECT_EQ(known, kWorkers * rows.size());
  EXPECT_EQ(masters, kWorkers * rows.size());
}

// A reader sees the old or the new while one thread writes (recovery and reports read beside nobody, but
// readers of LMDB may).
TEST_F(StageBodiesTest, TheIndexIsReadWhileOneThreadWrites) {
  fill(60);
  host().scan();
  const auto& rows = host().files.table.rows();
  std::atomic<bool> wrong{false};
  unit::in_threads([&](unsigned worker) {
    for (int round = 0; round < 5; ++round) {
      std::vector<Index::Learned> learned;
      for (const auto& row : rows) {
        if (worker == 0)
          learned.push_back({1, row, {{row.ino, row.ino}, 0, true, {}, 0}});
        else if (const auto content = host().index->known(1, row);
                 content && content->content != Key128{row.ino, row.ino})
          wrong = true;
      }
      host().index->learn(learned);
    }
  });
  EXPECT_FALSE(wrong);
}

}  // namespace
}  // namespace vs::unify
