#include "backup/restore/restore.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>

#include "backup/archive/archive_reader.h"
#include "backup/restore/live_masters.h"
#include "backup/restore/restore_place.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

// One inode to be: what it is, and its names beneath the target.
struct Object {
  Entry entry;
  std::shared_ptr<FramedFile> archive;  // of a file with bytes to read
  std::vector<std::string> names;
  bool shared = false;
  bool made = false;  // under names[0]
};

struct Directory {
  std::string path;
  Entry entry;
};

timespec to_timespec(int64_t ns) {
  int64_t seconds = ns / 1'000'000'000, rest = ns % 1'000'000'000;
  if (rest < 0) rest += 1'000'000'000, --seconds;
  return {static_cast<time_t>(seconds), static_cast<long>(rest)};
}

// A directory opened last is mostly the one wanted next. One a thread.
class Parents {
 public:
  explicit Parents(const RootDir& root) : root_(root) {}
  Expected<int> of(std::string_view path) {
    const auto parent = split_path(path).first;
    if (fd_ && parent == path_) return fd_.get();
    auto fd = root_.open(parent, O_RDONLY | O_DIRECTORY);
    if (!fd) return fd.error();
    fd_ = std::move(*fd);
    path_ = parent;
    return fd_.get();
  }

 private:
  const RootDir& root_;
  UniqueFd fd_;
  std::string path_;
};

class Restorer {
 public:
  Restorer(StoredBackups& backups, const RestoreOptions& options, RunContext& context)
      : backups_(backups), options_(options), context_(context) {}

  RestoreCounts run(const std::vector<Selection>& selections) {
    {
      const auto timed = context_.timer.time("plan");
      for (const auto& selection : selections) collect(selection);
      count();
    }
    if (options_.dry_run) return counts_;
    open_place(selections);
    context_.progress.start("restoring", "objects", objects_.size());
    if (!place_->was_complete()) {
      phase("directories", [&] { make_directories(); });
      phase("link_live", [&] { link_to_masters(); });
      phase("objects", [&] { make_objects(); });
      phase("links", [&] { make_links(); });
      phase("attributes", [&] { finish_directories(); });
      phase("sync", [&] { place_->complete(); });
    }
    phase("flags", [&] { set_flags(); });
    phase("place", [&] { put_in_place(selections); });
    context_.progress.finish();
    return counts_;
  }

 private:
  template <class F>
  void phase(const char* name, F&& body) {
    if (context_.cancel.stop()) throw incomplete("interrupted", Exit::interrupted);
    const auto timed = context_.timer.time(name);
    body();
  }

  Error incomplete(const std::string& why, Exit code = Exit::failed) const {
    return Error(
        fmt::format(
            "{}; what is restored so far is in {}/{}, and made whole or removed by the next restore into {}",
            why, escaped(options_.target), kRestoreDir, escaped(options_.target)),
        code);
  }
  void fail(const std::string& path, const Problem& problem) {
    context_.log.object_failed(fmt::format("{}: {}", escaped(path), problem.message));
  }
  void check(const std::string& path, const Result& result) {
    if (!result) fail(path, result.error());
  }
  std::string shown(const std::string& path) const { return options_.target + "/" + path; }

  // --- what is to be made ----------------------------------------------------------------------------------

  void collect(const Selection& selection) {
    auto loaded = backups_.state(selection.guest, selection.time);
    if (!loaded) throw Error(loaded.error().message, Exit::usage);
    const GuestState state = std::move(*loaded);
    identity_ += fmt::format("{}@{}:{}\n", selection.guest, state.stamp, escaped(selection.path));
    if (!find_entry(state, backups_.pool(), selection.path))
      throw Error(
          fmt::format("{}@{}: no '{}' in it", escaped(selection.guest), state.stamp, escaped(selection.path)),
          Exit::usage);
    ++counts_.guests;
    const bool whole_dir = state.dirs.contains(selection.path);
    std::vector<Entry> entries;
    std::unordered_map<uint64_t, size_t> groups;  // of this guest
    for (const auto& [path, bytes] : state.dirs) {
      const bool inside =
          selection.path.empty() || path == selection.path || path.starts_with(selection.path + "/");
      // Directories on the way to it are made with their own attributes.
      const bool above = path.empty() || selection.path.starts_with(path + "/");
      const bool holds = !whole_dir && path == split_path(selection.path).first;
      if (!inside && !above && !holds) continue;
      if (!decode_dir(bytes, entries)) {
        fail(join_path(selection.guest, path), {0, "its record in the catalog makes no sense"});
        continue;
      }
      directories_.push_back({join_path(selection.guest, path), std::move(entries.front())});
      for (size_t i = 1; i < entries.size(); ++i) {
        if (entries[i].type == 'd' ||
            (!inside && !(holds && entries[i].name == split_path(selection.path).second)))
          continue;
        const std::string full = join_path(join_path(selection.guest, path), entries[i].name);
        add(state, full, std::move(entries[i]), groups);
      }
    }
  }

  void add(const GuestState& state, const std::string& path, Entry entry,
           std::unordered_map<uint64_t, size_t>& groups) {
    if (entry.pool != 0) {
      const auto member = backups_.pool().find(entry.pool);
      if (member == backups_.pool().end())
        return fail(path, {0, fmt::format("pool member {} is in no pool archive", entry.pool)});
      const auto [it, fresh] = members_.emplace(entry.pool, objects_.size());
      if (fresh) {
        objects_.push_back({member->second, nullptr, {}, true, false});
        place(objects_.back(), path, backups_.pool_archive(member->second));
      }
      return objects_[it->second].names.push_back(path);
    }
    if (entry.linked) {
      const auto [it, fresh] = groups.emplace(entry.group, objects_.size());
      if (!fresh) return objects_[it->second].names.push_back(path);
    }
    const bool file = entry.type == 'f';
    Object object{std::move(entry), nullptr, {path}, false, false};
    if (file) place(object, path, backups_.archive_of(state, object.entry));
    objects_.push_back(std::move(object));
  }

  void place(Object& object, const std::string& path, Expected<std::shared_ptr<FramedFile>> archive) {
    if (object.entry.type != 'f') return;
    if (!archive)
      fail(path, archive.error());
    else
      object.archive = *archive;
  }

  void count() {
    counts_.directories = directories_.size();
    for (const auto& object : objects_) {
      ++(object.entry.type == 'f' ? counts_.files : counts_.specials);
      counts_.links += object.names.size() - 1;
      if (object.entry.type == 'f') counts_.bytes += object.entry.size;
    }
  }

  // --- the target ------------------------------------------------------------------------------------------

  void open_place(const std::vector<Selection>& selections) {
    std::vector<std::string> guests;
    for (const auto& selection : selections) guests.push_back(selection.guest);
    const std::string identity =
        fmt::format("{}devices: {}, masters: {}\n", identity_, options_.devices ? "yes" : "no",
                    options_.link_store.empty() ? "none" : options_.link_store);
    place_ = std::make_unique<RestorePlace>(options_.target, guests, identity, !options_.link_store.empty());
    root_ = &place_->dir();
  }

  void make_directories() {
    // Sorted by path, so a parent stands before what is in it; the same guest twice (two paths of it) makes
    // some twice.
    std::stable_sort(directories_.begin(), directories_.end(),
                     [](const Directory& a, const Directory& b) { return a.path < b.path; });
    directories_.erase(std::unique(directories_.begin(), directories_.end(),
                                   [](const Directory& a, const Directory& b) { return a.path == b.path; }),
                       directories_.end());
    Parents parents(*root_);
    for (const auto& [path, entry] : directories_) {
      const auto parent = parents.of(path);
      if (!parent) {
        fail(shown(path), parent.error());
        continue;
      }
      const std::string name(split_path(path).second);
      // What a killed run of this very command could not remove is taken over: it holds names of live
      // masters.
      if (::mkdirat(*parent, name.c_str(), 0700) != 0 && !(errno == EEXIST && !options_.link_store.empty()))
        fail(shown(path), problem_from_errno("create directory", shown(path)));
    }
  }

  // --- objects ---------------------------------------------------------------------------------------------

  void link_to_masters() {
    if (options_.link_store.empty()) return;
    LiveMasters masters(options_.link_store);
    for (auto& object : objects_) {
      if (!object.shared || object.entry.type != 'f' || object.names.empty()) continue;
      size_t made = 0;
      const auto link = [&](int fd) {
        Parents parents(*root_);
        const std::string from = "/proc/self/fd/" + std::to_string(fd);
        for (; made < object.names.size(); ++made) {
          const auto parent = parents.of(object.names[made]);
          const std::string name(split_path(object.names[made]).second);
          if (!parent || (::linkat(AT_FDCWD, from.c_str(), *parent, name.c_str(), AT_SYMLINK_FOLLOW) != 0 &&
                          !(errno == EEXIST && is_name_of(fd, *parent, name))))
            break;
        }
        return made;
      };
      const auto unlink = [&] {
        for (size_t i = 0; i < made; ++i) {
          Parents parents(*root_);
          if (const auto parent = parents.of(object.names[i]); parent)
            ::unlinkat(*parent, std::string(split_path(object.names[i]).second).c_str(), 0);
        }
      };
      masters.link_to(object.entry, link, unlink);
      if (made == 0) continue;
      counts_.linked_live += made;
      // What found no room any more (too many links) becomes a file of its own.
      object.names.erase(object.names.begin(), object.names.begin() + static_cast<ptrdiff_t>(made));
    }
    std::erase_if(objects_, [](const Object& object) { return object.names.empty(); });
  }

  // A killed run of this command made it.
  static bool is_name_of(int fd, int dir, const std::string& name) {
    const auto one = stat_fd(fd, name), other = stat_at(dir, name.c_str(), name);
    return one && other && one->ino == other->ino && one->dev == other->dev;
  }

  // Objects with bytes in the order of the archives, cut into runs that several threads take.
  void make_objects() {
    std::vector<std::vector<Object*>> tasks;
    std::vector<Object*> files;
    std::vector<Object*> others;
    for (auto& object : objects_) (object.entry.type == 'f' ? files : others).push_back(&object);
    std::erase_if(files, [](const Object* object) { return object->archive == nullptr; });
    std::sort(files.begin(), files.end(), [](const Object* a, const Object* b) {
      return std::tie(a->archive, a->entry.offset) < std::tie(b->archive, b->entry.offset);
    });
    for (Object* object : files) {
      const Object* last = tasks.empty() ? nullptr : tasks.back().back();
      // A new run where a frame begins: no frame is unpacked twice but for entries that begin in the same
      // one.
      if (last == nullptr || last->archive != object->archive ||
          object->archive->frame_of(last->entry.offset) != object->archive->frame_of(object->entry.offset))
        tasks.emplace_back();
      tasks.back().push_back(object);
    }
    constexpr size_t kOthers = 2000;
    for (size_t at = 0; at < others.size(); at += kOthers)
      tasks.emplace_back(others.begin() + static_cast<ptrdiff_t>(at),
                         others.begin() + static_cast<ptrdiff_t>(std::min(at + kOthers, others.size())));
    std::atomic<size_t> next{0};
    std::mutex mutex;
    std::exception_ptr error;
    const auto work = [&] {
      try {
        Parents parents(*root_);
        for (size_t i = next++; i < tasks.size() && !context_.cancel.stop(); i = next++)
          run_task(tasks[i], parents);
      } catch (...) {
        const std::lock_guard lock(mutex);
        error = std::current_exception();
        next = tasks.size();
      }
    };
    std::vector<std::jthread> threads;
    for (unsigned i = 1; i < std::max(1u, context_.jobs); ++i) threads.emplace_back(work);
    work();
    threads.clear();
    if (error) std::rethrow_exception(error);
  }

  void run_task(const std::vector<Object*>& task, Parents& parents) {
    std::unique_ptr<EntryStream> stream;
    for (Object* object : task) {
      context_.progress.add();
      const std::string& path = object->names.front();
      if (object->entry.type != 'f') {
        make_special(*object, parents);
        continue;
      }
      const auto made = make_file(*object, stream, parents);
      if (made) continue;
      fail(shown(path), made.error());
      stream.reset();
      const std::lock_guard lock(mutex_);
      ++counts_.damaged;
    }
  }

  // The stream moves on to the entry of the object.
  Result seek(const Object& object, std::unique_ptr<EntryStream>& stream) {
    for (bool again = true;; again = false) {
      if (!stream) stream = std::make_unique<EntryStream>(object.archive, object.entry.offset);
      for (;;) {
        const auto entry = stream->next();
        if (!entry) return entry.error();
        const bool passed = !*entry || (*entry)->offset > object.entry.offset;
        if (!passed && (*entry)->offset < object.entry.offset) continue;
        if (passed) break;
        if ((*entry)->type != 'f' || (*entry)->size != object.entry.size)
          return Problem{0, object.archive->path() + ": holds something else where the catalog says it is"};
        return Ok{};
      }
      stream.reset();
      if (!again) return Problem{0, object.archive->path() + ": ends before it"};
    }
  }

  Result make_file(Object& object, std::unique_ptr<EntryStream>& stream, Parents& parents) {
    const std::string& path = object.names.front();
    if (object.archive->frame_of(object.entry.offset) >= object.archive->frames().size())
      return Problem{0, object.archive->path() + ": the part that holds it is lost"};
    if (auto found = seek(object, stream); !found) return found;
    const auto parent = parents.of(path);
    if (!parent) return parent.error();
    const std::string name(split_path(path).second);
    UniqueFd fd(::openat(*parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
    if (!fd) return problem_from_errno("create", shown(path));
    auto written = write_bytes(object, *stream, fd.get());
    if (!written) {
      ::unlinkat(*parent, name.c_str(), 0);
      return written;
    }
    object.made = true;
    give_attributes(fd.get(), object.entry, path);
    return Ok{};
  }

  Result write_bytes(const Object& object, EntryStream& stream, int fd) {
    const Entry& entry = object.entry;
    const std::string path = shown(object.names.front());
    StreamDigest digest(entry.size);
    uint64_t end = 0;
    for (;;) {
      const auto data = stream.data();
      if (!data) return data.error();
      if (!*data) break;
      const uint64_t at = (*data)->offset;
      std::string_view bytes = (*data)->bytes;
      if (at < end || at > entry.size || bytes.size() > entry.size - at)
        return Problem{0, object.archive->path() + ": more bytes than the file has"};
      digest.add(at, bytes);
      end = at + bytes.size();
      for (uint64_t to = at; !bytes.empty();) {
        const ssize_t wrote = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(to));
        if (wrote < 0 && errno == EINTR) continue;
        if (wrote < 0) {
          // A full disk will not get better with the next file.
          if (errno == ENOSPC || errno == EDQUOT) throw incomplete(problem_from_errno("write", path).message);
          return problem_from_errno("write", path);
        }
        to += static_cast<uint64_t>(wrote);
        bytes.remove_prefix(static_cast<size_t>(wrote));
      }
      if (context_.cancel.stop()) throw incomplete("interrupted", Exit::interrupted);
    }
    if (end < entry.size && ::ftruncate(fd, static_cast<off_t>(entry.size)) != 0)
      return problem_from_errno("set the size of", path);
    if (digest.finish() != entry.content)
      return Problem{0,
                     "its bytes in " + object.archive->path() + " are not what they were (digest differs)"};
    return Ok{};
  }

  void make_special(Object& object, Parents& parents) {
    const Entry& entry = object.entry;
    const std::string& path = object.names.front();
    const auto parent = parents.of(path);
    if (!parent) return fail(shown(path), parent.error());
    const std::string name(split_path(path).second);
    int made = -1;
    switch (entry.type) {
      case 'l':
        made = ::symlinkat(entry.target.c_str(), *parent, name.c_str());
        break;
      case 'p':
        made = ::mknodat(*parent, name.c_str(), S_IFIFO | 0600, 0);
        break;
      case 's':
        made = ::mknodat(*parent, name.c_str(), S_IFSOCK | 0600, 0);
        break;
      default:
        if (!options_.devices) return;
        made = ::mknodat(*parent, name.c_str(), (entry.type == 'c' ? S_IFCHR : S_IFBLK) | 0600, entry.rdev);
    }
    if (made != 0) return fail(shown(path), problem_from_errno("create", shown(path)));
    object.made = true;
    UniqueFd fd(::openat(*parent, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
    if (!fd) return fail(shown(path), problem_from_errno("open", shown(path)));
    give_attributes(fd.get(), entry, path);
  }

  // Owner before mode (chown clears set-id bits) before attributes (chown clears capabilities) before times.
  void give_attributes(int fd, const Entry& entry, const std::string& path) {
    const std::string proc = "/proc/self/fd/" + std::to_string(fd);
    if (::fchownat(fd, "", entry.uid, entry.gid, AT_EMPTY_PATH) != 0)
      fail(shown(path), problem_from_errno("set the owner of", shown(path)));
    if (entry.type != 'l' && ::chmod(proc.c_str(), entry.mode) != 0)
      fail(shown(path), problem_from_errno("set the mode of", shown(path)));
    if (!entry.xattrs.empty()) check(shown(path), write_xattrs(fd, entry.xattrs, shown(path)));
    if ((entry.type == 'f' || entry.type == 'd') && entry.project != 0)
      check(shown(path), write_project(fd, entry.project, shown(path)));
    const timespec times[2] = {{0, UTIME_OMIT}, to_timespec(entry.mtime_ns)};
    // Both kinds of descriptor, symlinks too: an empty path.
    if (::utimensat(fd, "", times, AT_EMPTY_PATH) != 0)
      fail(shown(path), problem_from_errno("set the times of", shown(path)));
  }

  // --- links, directories, flags ---------------------------------------------------------------------------

  void make_links() {
    Parents from(*root_), to(*root_);
    for (auto& object : objects_) {
      if (!object.made) continue;
      size_t source = 0;
      for (size_t i = 1; i < object.names.size(); ++i) {
        const auto a = from.of(object.names[source]);
        const auto b = to.of(object.names[i]);
        const std::string first(split_path(object.names[source]).second),
            name(split_path(object.names[i]).second);
        if (a && b && ::linkat(*a, first.c_str(), *b, name.c_str(), 0) == 0) continue;
        fail(shown(object.names[i]),
             !a   ? a.error()
             : !b ? b.error()
                  : problem_from_errno("link to " + escaped(object.names[source]), shown(object.names[i])));
      }
    }
  }

  // All but the vservers' own, which get theirs in their place: a directory that is immutable, or of another
  // project than the target, could not be renamed.
  void finish_directories() {
    for (auto it = directories_.rbegin(); it != directories_.rend(); ++it)
      if (!is_top(*it)) finish_directory(*root_, *it);
  }
  static bool is_top(const Directory& directory) { return directory.path.find('/') == std::string::npos; }
  void finish_directory(const RootDir& root, const Directory& directory) {
    const auto fd = root.open(directory.path, O_RDONLY | O_DIRECTORY);
    if (!fd)
      fail(shown(directory.path), fd.error());
    else
      give_attributes(fd->get(), directory.entry, directory.path);
  }

  // May be the second time, of a killed run: what is immutable already has all its flags, and may be a live
  // master.
  void set_flags() {
    std::map<std::string, const RootDir*> places;
    for (const auto& directory : directories_)
      if (is_top(directory)) places[directory.path] = &place_->place_of(directory.path);
    const auto root_of = [&](const std::string& path) {
      const auto it = places.find(path.substr(0, path.find('/')));
      return it == places.end() ? root_ : it->second;
    };
    for (const auto& object : objects_) {
      if (object.entry.flags == 0 || object.entry.type != 'f' || (!object.made && !place_->was_complete()))
        continue;
      const std::string& path = object.names.front();
      FileStat stat;
      const auto fd = root_of(path)->open_regular(path, &stat);
      if (place_->was_complete() && (!fd || (stat.attributes & STATX_ATTR_IMMUTABLE) != 0)) continue;
      check(shown(path), fd ? write_flags(fd->get(), object.entry.flags, shown(path)) : Result(fd.error()));
    }
    for (auto it = directories_.rbegin(); it != directories_.rend(); ++it)
      if (it->entry.flags != 0 && !is_top(*it)) flag_directory(*root_of(it->path), *it);
  }
  void flag_directory(const RootDir& root, const Directory& directory) {
    const auto fd = root.open(directory.path, O_RDONLY | O_DIRECTORY);
    check(shown(directory.path),
          fd ? write_flags(fd->get(), directory.entry.flags, shown(directory.path)) : Result(fd.error()));
  }

  void put_in_place(const std::vector<Selection>& selections) {
    for (const auto& selection : selections) ok_or_throw(place_->put(selection.guest));
    for (const auto& directory : directories_) {
      if (!is_top(directory)) continue;
      const auto stat = stat_at(place_->target().fd(), directory.path.c_str(), shown(directory.path));
      // A killed run of this command came as far as this.
      if (place_->was_complete() && stat &&
          (stat->attributes & (STATX_ATTR_IMMUTABLE | STATX_ATTR_APPEND)) != 0)
        continue;
      finish_directory(place_->target(), directory);
      if (directory.entry.flags != 0) flag_directory(place_->target(), directory);
    }
    place_->finish();
  }

  StoredBackups& backups_;
  const RestoreOptions& options_;
  RunContext& context_;
  RestoreCounts counts_;
  std::mutex mutex_;
  std::vector<Directory> directories_;
  std::vector<Object> objects_;
  std::unordered_map<uint64_t, size_t> members_;  // pool number -> object
  std::string identity_;                          // what is restored, as of when
  std::unique_ptr<RestorePlace> place_;
  const RootDir* root_ = nullptr;  // where it is made
};

}  // namespace

RestoreCounts restore(StoredBackups& backups, const std::vector<Selection>& selections,
                      const RestoreOptions& options, RunContext& context) {
  return Restorer(backups, options, context).run(selections);
}

}  // namespace vs::backup
