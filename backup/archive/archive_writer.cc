#include "backup/archive/archive_writer.h"

#include <fcntl.h>
#include <unistd.h>

#include <cstdio>

#include "backup/archive/pax_writer.h"
#include "core/durable/durable_file.h"

namespace vs::backup {

ArchiveWriter::ArchiveWriter(int dir, const std::string& shown_dir, const std::string& name,
                             const std::string& run, bool sidecar)
    : dir_(dir),
      shown_(shown_dir + "/" + name),
      name_(name),
      part_(".vbackup-" + run + "-" + name + ".part"),
      catalog_part_(".vbackup-" + run + "-" + name + ".catalog.part"),
      sidecar_(sidecar) {
  fd_.reset(::openat(dir, part_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd_) throw Error(problem_from_errno("create", shown_dir + "/" + part_).message);
}

ArchiveWriter::~ArchiveWriter() {
  if (finished_) return;
  ::unlinkat(dir_, part_.c_str(), 0);
  ::unlinkat(dir_, catalog_part_.c_str(), 0);
}

void ArchiveWriter::write(const std::string& bytes) {
  ok_or_throw(write_all(fd_.get(), bytes, shown_));
  // Written out as we go: the sync at the end would otherwise find gigabytes to wait for.
  constexpr uint64_t kStep = 32u << 20;
  if (stored_ / kStep != (stored_ + bytes.size()) / kStep)
    ::sync_file_range(fd_.get(), 0, 0, SYNC_FILE_RANGE_WRITE);
  stored_ += bytes.size();
}

void ArchiveWriter::add(const std::string& frame, uint64_t size) {
  if (frame.size() > UINT32_MAX || size > kMaxFrame)
    throw Error(shown_ + ": one entry is too large for a frame");
  write(frame);
  frames_.push_back({static_cast<uint32_t>(frame.size()), static_cast<uint32_t>(size), 0, 0});
  size_ += size;
}

Result ArchiveWriter::finish(const Catalog& catalog) {
  const auto records = catalog_bytes(catalog);
  if (!records) return records.error();
  const std::string& bytes = *records;
  std::string end;
  append_end(end);
  add(compressed(end, 1), end.size());
  const std::string payload = skippable_frame(bytes);
  write(payload);
  frames_.push_back({static_cast<uint32_t>(payload.size()), 0, 0, 0});
  write(seek_table(frames_));
  if (::fsync(fd_.get()) != 0) throw Error(problem_from_errno("fsync", shown_).message);
  if (sidecar_) {
    UniqueFd beside(
        ::openat(dir_, catalog_part_.c_str(), O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!beside) throw Error(problem_from_errno("create", shown_ + ".catalog").message);
    ok_or_throw(write_all(beside.get(), bytes, shown_ + ".catalog"));
    if (::fsync(beside.get()) != 0) throw Error(problem_from_errno("fsync", shown_ + ".catalog").message);
    const std::string catalog_name =
        name_.substr(0, name_.size() - std::string(".tar.zst").size()) + ".catalog";
    if (::renameat(dir_, catalog_part_.c_str(), dir_, catalog_name.c_str()) != 0)
      throw Error(problem_from_errno("rename to", catalog_name).message);
  }
  if (::renameat(dir_, part_.c_str(), dir_, name_.c_str()) != 0)
    throw Error(problem_from_errno("rename to", shown_).message);
  finished_ = true;
  UniqueFd dir(::openat(dir_, ".", O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!dir || ::fsync(dir.get()) != 0)
    throw Error(problem_from_errno("fsync the directory of", shown_).message);
  return Ok{};
}

}  // namespace vs::backup
