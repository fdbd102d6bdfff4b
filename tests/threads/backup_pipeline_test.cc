// The writing passes of a backup with many workers, as `vbackup create` runs them: under the preset tsan a
// data race between planner, workers and sink fails the test; without it, the archives must be the same for
// any number of threads. The pipeline's threads are std::jthread; the scan, which runs in TBB, is done here
// by one thread.
#include <fcntl.h>
#include <gmock/gmock.h>
#include <gtest/gtest.h>
#include <sys/stat.h>

#include <algorithm>
#include <filesystem>
#include <map>

#include "backup/archive/set_target.h"
#include "backup/archive/single_target.h"
#include "backup/write_passes.h"
#include "tests/backup/quiet_run.h"
#include "tests/core/scratch.h"

namespace vs::backup {
namespace {

namespace fs = std::filesystem;

class BackupPipelineTest : public testing::Test, protected test::QuietRun {
 protected:
  // Two guests: small files, some of them shared, links within one guest, symlinks, and a file that is read
  // in parts.
  BackupPipelineTest() {
    for (const char* guest : {"a", "b"})
      for (int i = 0; i < 240; ++i)
        unit::write_file(path(guest, i),
                         std::string(static_cast<size_t>(1 + i * 977 % 60'000), char('a' + i % 26)));
    for (int i = 0; i < 240; i += 6) fs::create_hard_link(path("a", i), path("b", i) + ".of-a");
    for (int i = 1; i < 240; i += 6) fs::create_hard_link(path("a", i), path("a", i) + ".again");
    for (int i = 0; i < 20; ++i) unit::make_symlink("target", path("b", i) + ".symlink");
    unit::write_file(scratch_ / "trees/a/large", std::string(11'000'000, 'x'));
    fs::create_hard_link(scratch_ / "trees/a/large", scratch_ / "trees/a/large-again");
  }
  std::string path(const std::string& guest, int i) const {
    return scratch_ / ("trees/" + guest + "/d" + std::to_string(i % 7) + "/f" + std::to_string(i));
  }

  ScannedHost scan() const {
    ScannedHost host;
    std::map<uint64_t, InodeNumber> rows;  // by inode number
    for (const char* name : {"a", "b"}) {
      host.guests.push_back({name, "--tree", RootDir(scratch_ / (std::string("trees/") + name))});
      host.trees.push_back({kNoDir, host.texts.get()});
    }
    host.filesystems.push_back(1);
    host.devices.push_back(host.guests[GuestNumber()].root.stat().dev);
    for (GuestNumber guest; guest < host.guests.next_number(); ++guest) {
      const InodeNumber root = add_row(host, guest, host.guests[guest].root.stat());
      host.trees[guest].root = add_dir(host, root, kNoDir, {});
      scan_dir(host, rows, guest, host.trees[guest].root, host.guests[guest].root.path());
    }
    return host;
  }
  static InodeNumber add_row(ScannedHost& host, GuestNumber guest, const FileStat& stat) {
    Inode row;
    take_stat(row, stat);
    row.guest = guest;
    const InodeNumber number = host.inodes.next_number();
    host.inodes.push_back(row);
    return number;
  }
  static DirNumber add_dir(ScannedHost& host, InodeNumber row, DirNumber parent, NameNumber name) {
    host.inodes[row].names = 1;
    host.inodes[row].dir = host.dirs.next_number();
    host.dirs.push_back({parent, name, row, true, {}});
    return host.inodes[row].dir;
  }
  static void scan_dir(ScannedHost& host, std::map<uint64_t, InodeNumber>& rows, GuestNumber guest,
                       DirNumber dir, const std::string& at) {
    std::vector<std::string> names;
    for (const auto& entry : fs::directory_iterator(at)) names.push_back(entry.path().filename());
    std::sort(names.begin(), names.end());
    for (const auto& text : names) {
      const FileStat stat = value_or_throw(stat_at(AT_FDCWD, (at + "/" + text).c_str(), text));
      const NameNumber name = host.texts->add(text);
      const auto [known, fresh] = rows.emplace(stat.ino, InodeNumber());
      if (fresh) {
        known->second = add_row(host, guest, stat);
        if (S_ISDIR(stat.mode)) {
          add_dir(host, known->second, dir, name);
          host.dirs[dir].children.push_back({name, known->second});
          scan_dir(host, rows, guest, host.inodes[known->second].dir, at + "/" + text);
          continue;
        }
        host.inodes[known->second].dir = dir;
        host.inodes[known->second].name = name;
      }
      Inode& row = host.inodes[known->second];
      ++row.names;
      if (row.guest != guest) row.shared = true;
      host.dirs[dir].children.push_back({name, known->second});
    }
  }

  struct Outcome {
    std::string archive;  // the bytes of the single archive
    PipelineCounts counts;
    std::vector<InodeIndex::Learned> learned;
  };
  // One run into a set and a single archive. What `known` has is not read again but for the sample.
  Outcome run(unsigned jobs, ScannedHost& host, const DetailsTable& known, const std::string& name,
              const std::string& removed = "") {
    RunContext context{log_, progress_, timer_, cancel_, jobs};
    const std::string stamp = "20260102T030405Z", consistency = "live";
    ReadInodes read(host, known);
    TypedBits<InodeNumber> gone(host.inodes.size());
    const HostFiles host_files;
    const RunView view{host, known, read, gone, stamp, consistency, host_files, log_};
    SetTarget set(scratch_ / (name + ".set"), ArchiveOptions{.init = true});
    SingleTarget single(scratch_ / name, 1);
    const std::vector<Target*> targets{&set, &single};
    for (Target* target : targets) target->begin(view);
    if (!removed.empty()) fs::remove(removed);
    std::unordered_set<InodeNumber> sample;
    for (InodeNumber i; i < host.inodes.next_number(); ++i)
      if (known.known(i) && is_file(host.inodes[i])) sample.insert(i);
    Outcome outcome;
    {
      const BeforeFinish nothing;
      Pipeline pipeline(
          view, read, targets,
          [&](std::vector<InodeIndex::Learned>&& some) {
            outcome.learned.insert(outcome.learned.end(), some.begin(), some.end());
          },
          context);
      WritePasses passes(view, host, gone, sample, targets, pipeline, nothing, context);
      passes.write_shared();
      for (GuestNumber guest; guest < host.guests.next_number(); ++guest) passes.write_guest(guest);
      pipeline.drain();
      outcome.counts = pipeline.counts();
    }
    for (Target* target : targets) target->finish();
    outcome.archive = unit::read_file(scratch_ / name);
    return outcome;
  }

  unit::ScratchDir scratch_;
};

TEST_F(BackupPipelineTest, OneThreadAndManyWriteTheSameBytes) {
  ScannedHost host = scan();
  const DetailsTable nothing(host.inodes.size());
  const Outcome one = run(1, host, nothing, "one"), many = run(8, host, nothing, "many");
  EXPECT_EQ(one.counts.files_read, 481u);
  EXPECT_EQ(many.counts.files_read, one.counts.files_read);
  EXPECT_EQ(many.counts.bytes_read, one.counts.bytes_read);
  EXPECT_GT(one.archive.size(), 10'000u);
  EXPECT_TRUE(one.archive == many.archive)
      << "archives of " << one.archive.size() << " and " << many.archive.size() << " bytes differ";
}

TEST_F(BackupPipelineTest, PlannerAndWorkersShareWhatWasKnownWhileTheSinkMergesWhatIsRead) {
  ScannedHost host = scan();
  const DetailsTable nothing(host.inodes.size());
  const Outcome first = run(8, host, nothing, "first");
  // Every other inode is known the next time: these are compared as the sample, and stored again by the new
  // targets.
  std::map<uint64_t, InodeDetails> by_number;
  for (const auto& learned : first.learned) by_number[learned.inode.ino] = learned.details;
  DetailsTable known(host.inodes.size());
  for (InodeNumber i; i < host.inodes.next_number(); i = i + 2)
    if (by_number.contains(host.inodes[i].ino)) known.put(i, by_number[host.inodes[i].ino]);
  const Outcome second = run(8, host, known, "second");
  EXPECT_TRUE(second.archive == first.archive) << "what is known stands in the archive as what is read";
  EXPECT_EQ(second.counts.alarms, 0u);
}

TEST_F(BackupPipelineTest, WhatVanishesBeforeItIsReadIsInNoCatalogAndEndsNothing) {
  ScannedHost host = scan();
  const DetailsTable nothing(host.inodes.size());
  const Outcome outcome = run(8, host, nothing, "vanished", path("b", 2));
  EXPECT_EQ(outcome.counts.gone, 1u);
  EXPECT_EQ(outcome.counts.failed, 0u);
  EXPECT_EQ(outcome.counts.files_read, 480u);
}

}  // namespace
}  // namespace vs::backup
