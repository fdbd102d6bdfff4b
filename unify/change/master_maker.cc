#include "unify/change/master_maker.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/full_io.h"
#include "core/store/guard.h"
#include "core/store/project.h"
#include "unify/plan/candidate_key.h"

namespace vs::unify {
namespace {

constexpr size_t kBlock = 256 * 1024;

const FileRow& first_row(const PlannedFiles& files, DuplicateNumber duplicate) {
  return files.table.rows()[files.plan.names[files.plan.duplicates[duplicate].begin]];
}

bool all_zero(std::string_view block) {
  return block.find_first_not_of('\0') == std::string_view::npos;
}

int64_t oldest_mtime(const PlannedFiles& files, DuplicateNumber begin, DuplicateNumber end) {
  int64_t oldest = first_row(files, begin).mtime_ns;
  for (DuplicateNumber v = begin; v < end; ++v) oldest = std::min(oldest, first_row(files, v).mtime_ns);
  return oldest;
}

struct Source {
  UniqueFd fd;
  FileStat stat;
  std::vector<Xattr> xattrs;
};

Expected<Source> open_source(const PlannedFiles& files, const PlanGroup& group, DuplicateNumber duplicate,
                             const std::string& shown) {
  const FileRow& row = first_row(files, duplicate);
  Source source;
  auto fd = files.guests[files.table.guest(row)].root.open_regular(files.table.path(row), &source.stat);
  if (!fd) return fd.error();
  if (!same_identity(row, source.stat))
    return Problem{ESTALE, escaped(shown) + " changed since it was scanned"};
  auto xattrs = read_xattrs(fd->get(), shown);
  if (!xattrs) return xattrs.error();
  if (xattr_hash(*xattrs) != group.xattrs)
    return Problem{ESTALE, escaped(shown) + " changed its attributes since it was scanned"};
  source.fd = std::move(*fd);
  source.xattrs = std::move(*xattrs);
  return source;
}

// A fresh inode with the source's content and class, not yet named.
Expected<OpenMaster> copy_to_master(const Store& store, const Source& source, const PlanGroup& group,
                                    int64_t mtime_ns, bool ignore_mtime, const std::string& shown,
                                    const Cancel* cancel) {
  const auto scratch = open_scratch_file(store.staging_fd());
  if (!scratch)
    return problem_from(scratch.error().code, "create a nameless file in", store.path() + "/staging");
  UniqueFd writer(*scratch);
  auto digests = copy_contents(source.fd.get(), writer.get(), group.algorithm, shown, cancel);
  if (!digests) return digests.error();
  if (digests->content != group.content ||
      (group.algorithm != DigestAlgorithm::none && digests->recorded != group.digest))
    return Problem{ESTALE, escaped(shown) + " changed its content since it was verified"};
  OpenMaster master;
  master.fresh = true;
  master.record.size = source.stat.size;
  master.record.file_class = class_of(source.stat, group.xattrs);
  master.record.file_class.mtime_ns = mtime_ns;
  master.record.sha256 = digests->sha256;
  master.record.content = digests->content;
  // Whatever kind of digest a guest's database records, it will find this master.
  master.record.answers = group.keys;
  if (group.algorithm != DigestAlgorithm::none)
    for (const auto& [algorithm, digest] : {std::pair(DigestAlgorithm::md5, &digests->md5),
                                            std::pair(DigestAlgorithm::sha256, &digests->sha256)})
      master.record.answers.push_back(
          digest_key(master.record.size, master.record.file_class, algorithm, *digest, ignore_mtime));
  if (auto given = give_class(writer.get(), master.record.file_class, source.xattrs, shown); !given)
    return given.error();
  auto reader = reopen_for_reading(writer.get(), shown);
  if (!reader) return reader.error();
  writer.reset();  // from here on nobody has it open for writing
  master.fd = std::move(*reader);
  master.record.xattrs = source.xattrs;
  return master;
}

}  // namespace

std::string of_package(const MasterRecord& record) {
  if (record.package.empty()) return "";
  return " (package " + escaped(record.package) + " " + escaped(record.version) + ")";
}

Reason reason_of_errno(int code) {
  switch (code) {
    case ECANCELED:
      return Reason::out_of_time;
    case ENOSPC:
    case EDQUOT:
      return Reason::no_space;
    case EMLINK:
      return Reason::too_many_links;
    case EXDEV:
      return Reason::other_project;
    case EAGAIN:
    case ETXTBSY:
    case EBUSY:
      return Reason::busy;
    case ESTALE:
    case ENOENT:
    case ENOTDIR:
    case ELOOP:
      return Reason::changed_meanwhile;
    default:
      return Reason::io_error;
  }
}

Expected<CopyDigests> copy_contents(int from, int to, DigestAlgorithm recorded, const std::string& object,
                                    const Cancel* cancel) {
  FastHasher fast;
  Digester sha256(DigestAlgorithm::sha256);
  Digester md5(DigestAlgorithm::md5);
  const bool usual = recorded == DigestAlgorithm::sha256 || recorded == DigestAlgorithm::md5;
  Digester other(usual ? DigestAlgorithm::none : recorded);
  struct ::stat raw;
  if (::fstat(from, &raw) != 0) return problem_from_errno("stat", object);
  const bool sparse = static_cast<uint64_t>(raw.st_blocks) * 512 < static_cast<uint64_t>(raw.st_size);
  std::string block(std::min<size_t>(kBlock, static_cast<size_t>(raw.st_size) + 1), '\0');
  off_t offset = 0;
  for (;;) {
    if (cancel != nullptr && cancel->stop()) return Problem{ECANCELED, ""};
    const ssize_t got = pread_full(from, block.data(), block.size(), static_cast<uint64_t>(offset));
    if (got < 0) return problem_from_errno("read", object);
    if (got == 0) break;
    const std::string_view part(block.data(), static_cast<size_t>(got));
    fast.update(part);
    sha256.update(part);
    md5.update(part);
    other.update(part);
    if (sparse && all_zero(part)) {
      if (::lseek(to, got, SEEK_CUR) < 0) return problem_from_errno("seek in the copy of", object);
    } else if (auto written = write_all(to, part, "the copy of " + object); !written) {
      return written.error();
    }
    offset += got;
  }
  if (sparse && ::ftruncate(to, offset) != 0)
    return problem_from_errno("set the size of the copy of", object);
  CopyDigests digests;
  digests.content = fast.finish();
  digests.sha256 = sha256.finish();
  digests.md5 = md5.finish();
  digests.recorded = recorded == DigestAlgorithm::sha256 ? digests.sha256
                     : recorded == DigestAlgorithm::md5  ? digests.md5
                                                         : other.finish();
  return digests;
}

Expected<OpenMaster> make_master(const Store& store, const PlannedFiles& files, const PlanGroup& group,
                                 DuplicateNumber begin, DuplicateNumber end, bool ignore_mtime,
                                 std::vector<std::pair<DuplicateNumber, Reason>>& refused, Log& log) {
  Problem last{ESTALE, "no duplicate left"};
  for (DuplicateNumber v = begin; v < end; ++v) {
    const FileRow& row = first_row(files, v);
    const std::string shown = files.guests[files.table.guest(row)].root.host_path(files.table.path(row));
    const auto source = open_source(files, group, v, shown);
    auto master = source ? copy_to_master(store, *source, group,
                                          ignore_mtime ? oldest_mtime(files, begin, end) : row.mtime_ns,
                                          ignore_mtime, shown, files.cancel)
                         : Expected<OpenMaster>(source.error());
    if (master) {
      auto name = store.name_master(master->fd.get(), master->record.sha256, master->record.file_class);
      const auto stat = stat_fd(master->fd.get(), shown);
      if (!name) return name.error();
      if (!stat) return stat.error();
      const PlanPackage& package = files.plan.packages[group.package];
      master->record.name = *name;
      master->shown = store.shown_master(*name);
      master->record.ino = stat->ino;
      master->record.package = package.name;
      master->record.version = package.version;
      master->record.arch = package.arch;
      master->record.source = package.source;
      return master;
    }
    last = master.error();
    const Reason reason = reason_of_errno(last.code);
    if (reason != Reason::changed_meanwhile && source)
      return last;  // no space and the like: another duplicate will not help
    refused.emplace_back(v, reason == Reason::io_error ? Reason::unreadable : reason);
    log.remember_first(reason_name(refused.back().second), last.message);
  }
  return last;
}

Expected<UniqueFd> private_copy(const Store& store, const OpenMaster& master, Copied which,
                                const Cancel* cancel) {
  const auto scratch = open_scratch_file(store.staging_fd());
  if (!scratch)
    return problem_from(scratch.error().code, "create a nameless file in", store.path() + "/staging");
  UniqueFd fd(*scratch);
  const std::string& shown = master.shown;
  const auto digests = copy_contents(master.fd.get(), fd.get(), DigestAlgorithm::none, shown, cancel);
  if (!digests) return digests.error();
  if (which == Copied::if_as_recorded && digests->sha256 != master.record.sha256)
    return Problem{EUCLEAN,
                   "master " + shown + " does not have the content it was made with; see vunify check"};
  if (auto given = give_class(fd.get(), master.record.file_class, master.record.xattrs, shown); !given)
    return given.error();
  return fd;
}

Expected<OpenMaster> open_recorded(const Store& store, const MasterRecord& record) {
  auto fd = store.open_master(record.name);
  if (!fd) return fd.error();
  OpenMaster master;
  master.record = record;
  master.shown = store.shown_master(record.name);
  master.fd = std::move(*fd);
  return master;
}

SharedFile shared_file(const OpenMaster& master) {
  const auto same_content = [&master] {
    const auto digests = digest_file(master.fd.get(), DigestAlgorithm::none, master.shown);
    return digests && digests->sha256 == master.record.sha256;
  };
  return {master.fd.get(), master.shown, master.record.file_class, master.record.xattrs, same_content};
}

InodeMarks marks_as_made(const Store& store, int fd) {
  const int staging = store.staging_fd();
  return {marks_of(fd).flags & marks_of(staging).flags, inherited_project(staging)};
}

Expected<OpenMaster> open_master(const Store& store, const Guard& guard, const MasterRecord& record) {
  auto master = open_recorded(store, record);
  if (!master) return master;
  const std::string& shown = master->shown;
  const auto stat = stat_fd(master->fd.get(), shown);
  if (!stat) return stat.error();
  if (stat->ino != record.ino || stat->size != record.size)
    return Problem{ESTALE, "master " + shown + " is not the file the index knows"};
  const auto right = has_class(master->fd.get(), *stat, record.file_class, record.xattrs, shown);
  if (!right) return right.error();
  if (!record.retired && !*right)
    return Problem{
        ESTALE, "master " + shown +
                    " has another owner, mode, time or attributes than when it was made; see vunify check"};
  const auto sealed = guard.is_sealed(master->fd.get(), shown);
  if (!sealed) return sealed.error();
  if (!*sealed) return Problem{ESTALE, "master " + shown + " is not sealed; see vunify check"};
  return master;
}

}  // namespace vs::unify
