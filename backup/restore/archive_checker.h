// Reads one archive as a whole and compares each file with the digest that the catalog has of it.
#pragma once

#include <atomic>
#include <map>
#include <memory>
#include <mutex>
#include <string>
#include <vector>

#include "backup/archive/archive_reader.h"
#include "backup/restore/finding.h"
#include "backup/source/digest.h"
#include "core/run_context.h"

namespace vs::backup {

// What an archive must hold: files by the offset of their entry.
struct Wanted {
  std::string object;
  uint64_t size;
  Sha256 content;
};
using Contents = std::map<uint64_t, Wanted>;

class ArchiveChecker {
 public:
  ArchiveChecker(std::vector<Finding>& findings, RunContext& context)
      : findings_(findings), context_(context) {}

  void find(const std::string& kind, const std::string& object, const std::string& detail);
  // Frames are read by several threads, each from the first entry that begins in its frame.
  void archive(const FramedFile& file, const std::shared_ptr<FramedFile>& shared, const Contents& contents);
  // Of all archives so far: entries, files and bytes.
  CheckCounts counts() const { return {0, 0, entries_, files_, bytes_, 0}; }

 private:
  template <class F>
  void each(size_t count, F&& body);
  // Returns the frames that it unpacked.
  std::vector<size_t> run(const std::shared_ptr<FramedFile>& file,
                          const std::vector<Contents::const_iterator>& wanted);
  Result find_entry(EntryStream& stream, const std::string& path, const Contents::value_type& wanted);
  Result compare(EntryStream& stream, const std::string& path, const Wanted& wanted);

  std::vector<Finding>& findings_;
  RunContext& context_;
  std::mutex mutex_;
  std::atomic<uint64_t> entries_{0}, files_{0}, bytes_{0};
};

}  // namespace vs::backup
