#include "backup/restore/check.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>

#include <algorithm>
#include <atomic>
#include <map>
#include <mutex>
#include <set>
#include <thread>

#include "backup/archive/archive_reader.h"
#include "backup/restore/remove_below.h"
#include "backup/restore/restore.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

// What an archive must hold: files by the offset of their entry.
struct Wanted {
  std::string object;
  uint64_t size;
  Sha256 content;
};
using Contents = std::map<uint64_t, Wanted>;

class Checker {
 public:
  Checker(std::vector<Finding>& findings, RunContext& context) : findings_(findings), context_(context) {}

  void find(const std::string& kind, const std::string& object, const std::string& detail) {
    const std::lock_guard lock(mutex_);
    findings_.push_back({kind, object, detail});
  }

  // Frames are read by several threads, each from the first entry that begins in its frame.
  void archive(const FramedFile& file, std::shared_ptr<FramedFile> shared, const Contents& contents) {
    if (!file.damage().empty()) find("frame", file.path(), file.damage());
    // The parts of an archive between two files that begin in different frames; what holds no file is
    // unpacked all the same.
    std::vector<std::vector<Contents::const_iterator>> runs;
    std::set<size_t> covered;
    for (auto it = contents.begin(); it != contents.end(); ++it) {
      const size_t frame = file.frame_of(it->first);
      if (frame >= file.frames().size()) {
        find("missing", it->second.object, file.path() + ": the part that should hold it is lost");
        continue;
      }
      if (runs.empty() || file.frame_of(runs.back().front()->first) != frame) runs.emplace_back();
      runs.back().push_back(it);
      for (size_t f = frame;
           f < file.frames().size() && file.frames()[f].offset < it->first + it->second.size + 4096; ++f)
        covered.insert(f);
    }
    each(runs.size(), [&](size_t i) { run(shared, runs[i]); });
    std::vector<size_t> rest;
    for (size_t f = 0; f < file.frames().size(); ++f)
      if (!covered.contains(f)) rest.push_back(f);
    each(rest.size(), [&](size_t i) {
      const auto bytes = file.unpack(rest[i]);
      if (!bytes) find("frame", file.path(), bytes.error().message);
    });
  }

  CheckCounts counts() const { return {0, entries_, files_, bytes_, 0}; }

 private:
  template <class F>
  void each(size_t count, F&& body) {
    std::atomic<size_t> next{0};
    const auto work = [&] {
      for (size_t i = next++; i < count && !context_.cancel.stop(); i = next++) body(i);
    };
    std::vector<std::jthread> threads;
    for (unsigned i = 1; i < std::max(1u, context_.jobs); ++i) threads.emplace_back(work);
    work();
  }

  void run(const std::shared_ptr<FramedFile>& file, const std::vector<Contents::const_iterator>& wanted) {
    std::unique_ptr<EntryStream> stream;
    for (const auto& it : wanted) {
      context_.progress.add();
      if (const auto problem = one(file, stream, *it); !problem) {
        find("content", it->second.object, problem.error().message);
        stream.reset();
      }
    }
  }

  Result one(const std::shared_ptr<FramedFile>& file, std::unique_ptr<EntryStream>& stream,
             const Contents::value_type& wanted) {
    if (!stream) stream = std::make_unique<EntryStream>(file, wanted.first);
    for (;;) {
      const auto entry = stream->next();
      if (!entry) return entry.error();
      ++entries_;
      if (!*entry || (*entry)->offset > wanted.first)
        return Problem{0, file->path() + ": no entry where the catalog says it is"};
      if ((*entry)->offset < wanted.first) continue;
      if ((*entry)->type != 'f' || (*entry)->size != wanted.second.size)
        return Problem{0, file->path() + ": the entry is something else than the catalog says"};
      break;
    }
    StreamDigest digest(wanted.second.size);
    uint64_t end = 0;
    for (;;) {
      const auto data = stream->data();
      if (!data) return data.error();
      if (!*data) break;
      const uint64_t at = (*data)->offset;
      if (at < end || at > wanted.second.size || (*data)->bytes.size() > wanted.second.size - at)
        return Problem{0, file->path() + ": more bytes than the file has"};
      digest.add(at, (*data)->bytes);
      end = at + (*data)->bytes.size();
      bytes_ += (*data)->bytes.size();
    }
    ++files_;
    if (digest.finish() != wanted.second.content)
      return Problem{0, file->path() + ": its bytes are not what they were (digest differs)"};
    return Ok{};
  }

  std::vector<Finding>& findings_;
  RunContext& context_;
  std::mutex mutex_;
  std::atomic<uint64_t> entries_{0}, files_{0}, bytes_{0};
};

}  // namespace

CheckCounts check_set(ArchiveSet& set, const std::vector<std::string>& guests, std::vector<Finding>& findings,
                      RunContext& context) {
  Checker checker(findings, context);
  CheckCounts counts;
  for (const auto& problem : set.problems()) checker.find("catalog", set.path(), problem);
  const auto wanted = [&](const Archive& archive) {
    return archive.header.kind == "pool" || guests.empty() ||
           std::find(guests.begin(), guests.end(), archive.header.guest) != guests.end();
  };
  std::set<uint64_t> members;
  context.progress.start("checking", "files", 0);
  // The pool first: it says which references lead somewhere.
  std::vector<Archive> order = set.archives();
  std::stable_partition(order.begin(), order.end(),
                        [](const Archive& archive) { return archive.header.kind == "pool"; });
  for (const auto& archive : order) {
    if (!wanted(archive) || context.cancel.stop()) continue;
    ++counts.archives;
    const auto catalog = set.catalog(archive);
    if (!catalog) {
      checker.find("catalog", archive.name, catalog.error().message);
      continue;
    }
    const auto file = set.open(archive.name);
    if (!file) {
      checker.find("missing", archive.name, file.error().message);
      continue;
    }
    const auto payload = (*file)->payload();
    if (!payload || payload->empty())
      checker.find("catalog", archive.name, (*file)->path() + ": the catalog within is lost");
    else if (const auto within = parse_catalog(*payload, (*file)->path() + " (catalog within)"); !within)
      checker.find("catalog", archive.name, within.error().message);
    const auto beside = set.catalog_beside(archive);
    if (!beside)
      checker.find("catalog", archive.name, beside.error().message);
    else if (payload && *beside != *payload)
      checker.find(
          "catalog", archive.name,
          set.path() + "/" + archive.name + ".catalog: is not the catalog that its archive has within");
    Contents contents;
    for (const auto& [number, entry] : catalog->pool) {
      members.insert(number);
      if (entry.type == 'f') contents[entry.offset] = {pool_path(number), entry.size, entry.content};
    }
    std::vector<Entry> entries;
    for (const auto& [guest, dirs] : catalog->dirs)
      for (const auto& [path, bytes] : dirs) {
        if (!decode_dir(bytes, entries)) {
          checker.find("catalog", escaped(guest) + ":" + escaped(path), "its record makes no sense");
          continue;
        }
        for (size_t i = 1; i < entries.size(); ++i) {
          const Entry& entry = entries[i];
          const std::string object = escaped(guest) + ":" + escaped(join_path(path, entry.name));
          if (entry.pool != 0) {
            ++counts.references;
            if (!members.contains(entry.pool) && archive.header.kind != "single")
              checker.find("reference", object,
                           fmt::format("is pool member {}, which no pool archive has", entry.pool));
          } else if (entry.type == 'f' && entry.archive == archive.header.number) {
            contents[entry.offset] = {object, entry.size, entry.content};
          } else if (entry.type == 'f' && set.chain(guest, archive.header.stamp).size() <= entry.archive) {
            checker.find("reference", object,
                         fmt::format("is in archive {} of the chain of {}, which is gone", entry.archive,
                                     archive.header.chain));
          }
        }
      }
    if ((archive.header.kind == "inc" || archive.header.kind == "full") &&
        set.chain(archive.header.guest, archive.header.stamp).size() != archive.header.number + 1)
      checker.find("reference", archive.name,
                   "an archive of its chain is gone; this state cannot be restored");
    checker.archive(**file, *file, contents);
  }
  context.progress.finish();
  const CheckCounts read = checker.counts();
  counts.entries = read.entries;
  counts.files = read.files;
  counts.bytes = read.bytes;
  return counts;
}

namespace {

struct Scratch {
  std::string path;
  explicit Scratch(std::string at) : path(std::move(at)) {
    if (::mkdir(path.c_str(), 0700) != 0)
      throw Error(problem_from_errno("create directory", path).message, Exit::usage);
  }
  ~Scratch() {
    UniqueFd fd(::open(path.c_str(), O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC));
    if (fd) remove_below(fd.get(), true);
    ::rmdir(path.c_str());
  }
};

}  // namespace

CheckCounts rehearse(StoredBackups& backups, const std::vector<std::string>& guests,
                     const std::string& scratch_path, std::vector<Finding>& findings, RunContext& context) {
  const Scratch scratch(scratch_path);
  std::vector<Selection> selections;
  for (const auto& guest : guests) selections.push_back({guest, "", ""});
  RestoreOptions options;
  options.target = scratch_path;
  const RestoreCounts restored = restore(backups, selections, options, context);
  CheckCounts counts;
  counts.files = restored.files;
  counts.bytes = restored.bytes;
  const RootDir root(scratch_path);
  std::map<std::string, uint64_t> inode_of_group;
  for (const auto& guest : guests) {
    const auto state = value_or_throw(backups.state(guest, ""));
    std::vector<Entry> entries;
    for (const auto& [path, bytes] : state.dirs) {
      if (!decode_dir(bytes, entries)) continue;
      for (size_t i = 0; i < entries.size(); ++i) {
        if (i > 0 && entries[i].type == 'd') continue;
        Entry entry = entries[i];
        std::string group = entry.linked ? guest + "/" + std::to_string(entry.group) : "";
        if (entry.pool != 0) {
          const auto member = backups.pool().find(entry.pool);
          if (member == backups.pool().end()) continue;  // restore said so
          group = "pool/" + std::to_string(entry.pool);
          entry = member->second;
        }
        const std::string full = join_path(path, entries[i].name);
        const std::string object = escaped(guest) + ":" + escaped(full);
        ++counts.entries;
        const bool readable = entry.type == 'f' || entry.type == 'd';
        const auto fd = root.open(join_path(guest, full), readable ? O_RDONLY | O_NOATIME : O_PATH);
        if (!fd) {
          findings.push_back({"missing", object, fd.error().message});
          continue;
        }
        const auto stat = stat_fd(fd->get(), object);
        std::string wrong;
        const auto expect = [&](bool same, const char* what) {
          if (!same) wrong += std::string(wrong.empty() ? "" : ", ") + what;
        };
        if (!stat) continue;
        expect(type_letter(stat->mode) == entry.type, "type");
        expect(entry.type == 'l' || (stat->mode & 07777) == entry.mode, "mode");
        expect(stat->uid == entry.uid && stat->gid == entry.gid, "owner");
        expect(stat->mtime_ns == entry.mtime_ns, "mtime");
        expect(entry.type != 'f' || stat->size == entry.size, "size");
        expect((entry.type != 'c' && entry.type != 'b') || stat->rdev == entry.rdev, "device number");
        const auto xattrs = read_xattrs(fd->get(), object);
        expect(xattrs && *xattrs == entry.xattrs, "attributes");
        if (entry.type == 'l') {
          const auto target = read_target(fd->get(), object);
          expect(target && *target == entry.target, "target");
        }
        if (readable) {
          uint32_t flags = 0, project = 0;
          read_flags(fd->get(), flags, project);
          expect((entry.flags & (kImmutable | kAppendOnly)) == (flags & (kImmutable | kAppendOnly)),
                 "inode flags");
          expect(project == entry.project, "project id");
        }
        if (!group.empty())
          expect(inode_of_group.emplace(group, stat->ino).first->second == stat->ino, "links");
        if (!wrong.empty()) findings.push_back({"rehearsal", object, "restored with another " + wrong});
      }
    }
  }
  return counts;
}

}  // namespace vs::backup
