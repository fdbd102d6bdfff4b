// The pass of a restore that makes files with their bytes, and what is neither file nor directory.
#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <mutex>
#include <thread>
#include <tuple>

#include "backup/archive/archive_reader.h"
#include "backup/archive/entry_bytes.h"
#include "backup/restore/restore_work.h"

namespace vs::backup {
namespace {

// Objects that one thread makes one after the other.
using Task = std::vector<PlannedObject*>;
// Of objects without bytes.
constexpr size_t kTaskSize = 2000;

// A new task where a frame begins: no frame is unpacked twice but for entries that begin in the same one.
void cut_at_frames(std::vector<PlannedObject*> files, std::vector<Task>& tasks) {
  std::sort(files.begin(), files.end(), [](const PlannedObject* a, const PlannedObject* b) {
    return std::tie(a->archive, a->entry.offset) < std::tie(b->archive, b->entry.offset);
  });
  const PlannedObject* last = nullptr;
  for (PlannedObject* object : files) {
    if (last == nullptr || last->archive != object->archive ||
        object->archive->frame_of(last->entry.offset) != object->archive->frame_of(object->entry.offset))
      tasks.emplace_back();
    tasks.back().push_back(object);
    last = object;
  }
}

std::vector<Task> tasks_of(RestorePlan& plan) {
  std::vector<PlannedObject*> files, others;
  for (auto& object : plan.objects) (object.entry.type == 'f' ? files : others).push_back(&object);
  std::erase_if(files, [](const PlannedObject* object) { return object->archive == nullptr; });
  std::vector<Task> tasks;
  cut_at_frames(std::move(files), tasks);
  for (size_t at = 0; at < others.size(); at += kTaskSize)
    tasks.emplace_back(others.begin() + static_cast<ptrdiff_t>(at),
                       others.begin() + static_cast<ptrdiff_t>(std::min(at + kTaskSize, others.size())));
  return tasks;
}

// The stream moves on to the entry of the object.
Result seek(const PlannedObject& object, std::unique_ptr<EntryStream>& stream) {
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

Result write_at(int fd, std::string_view bytes, uint64_t at, const std::string& path,
                const RestoreWork& work) {
  while (!bytes.empty()) {
    const ssize_t wrote = ::pwrite(fd, bytes.data(), bytes.size(), static_cast<off_t>(at));
    if (wrote < 0 && errno == EINTR) continue;
    // A full disk will not get better with the next file.
    if (wrote < 0 && (errno == ENOSPC || errno == EDQUOT))
      throw work.incomplete(problem_from_errno("write", path).message);
    if (wrote < 0) return problem_from_errno("write", path);
    at += static_cast<uint64_t>(wrote);
    bytes.remove_prefix(static_cast<size_t>(wrote));
  }
  return Ok{};
}

Result write_bytes(const PlannedObject& object, EntryStream& stream, int fd, const RestoreWork& work) {
  const Entry& entry = object.entry;
  const std::string path = work.shown(object.names.front());
  uint64_t end = 0;
  const auto write = [&](const EntryStream::Data& data) {
    end = data.offset + data.bytes.size();
    auto written = write_at(fd, data.bytes, data.offset, path, work);
    if (written && work.context.cancel.stop()) throw work.incomplete("interrupted", Exit::interrupted);
    return written;
  };
  const auto digest = read_bytes(stream, entry.size, object.archive->path(), write);
  if (!digest) return digest.error();
  if (end < entry.size && ::ftruncate(fd, static_cast<off_t>(entry.size)) != 0)
    return problem_from_errno("set the size of", path);
  if (*digest != entry.content)
    return Problem{0, "its bytes in " + object.archive->path() + " are not what they were (digest differs)"};
  return Ok{};
}

Result make_file(PlannedObject& object, std::unique_ptr<EntryStream>& stream, ParentDirs& parents,
                 const RestoreWork& work) {
  const std::string& path = object.names.front();
  if (object.archive->frame_of(object.entry.offset) >= object.archive->frames().size())
    return Problem{0, object.archive->path() + ": the part that holds it is lost"};
  if (auto found = seek(object, stream); !found) return found;
  const auto parent = parents.of(path);
  if (!parent) return parent.error();
  const std::string name(split_path(path).second);
  UniqueFd fd(::openat(*parent, name.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_NOFOLLOW | O_CLOEXEC, 0600));
  if (!fd) return problem_from_errno("create", work.shown(path));
  work.check(work.shown(path), give_project_and_flags(fd.get(), object.entry, work.shown(path)));
  auto written = write_bytes(object, *stream, fd.get(), work);
  if (!written) {
    ::unlinkat(*parent, name.c_str(), 0);
    return written;
  }
  object.made = true;
  give_attributes(work, fd.get(), object.entry, path);
  return Ok{};
}

int make_node(const Entry& entry, int parent, const std::string& name) {
  switch (entry.type) {
    case 'l':
      return ::symlinkat(entry.target.c_str(), parent, name.c_str());
    case 'p':
      return ::mknodat(parent, name.c_str(), S_IFIFO | 0600, 0);
    case 's':
      return ::mknodat(parent, name.c_str(), S_IFSOCK | 0600, 0);
    default:
      return ::mknodat(parent, name.c_str(), (entry.type == 'c' ? S_IFCHR : S_IFBLK) | 0600, entry.rdev);
  }
}

void make_special(PlannedObject& object, ParentDirs& parents, const RestoreWork& work) {
  const Entry& entry = object.entry;
  const std::string& path = object.names.front();
  const auto parent = parents.of(path);
  if (!parent) return work.fail(work.shown(path), parent.error());
  const std::string name(split_path(path).second);
  if (!work.options.devices && (entry.type == 'c' || entry.type == 'b')) return;
  const int made = make_node(entry, *parent, name);
  if (made != 0) return work.fail(work.shown(path), problem_from_errno("create", work.shown(path)));
  object.made = true;
  UniqueFd fd(::openat(*parent, name.c_str(), O_PATH | O_NOFOLLOW | O_CLOEXEC));
  if (!fd) return work.fail(work.shown(path), problem_from_errno("open", work.shown(path)));
  give_attributes(work, fd.get(), entry, path);
}

// Returns how many files could not be made; each is named.
uint64_t make_task(const Task& task, ParentDirs& parents, const RestoreWork& work) {
  std::unique_ptr<EntryStream> stream;
  uint64_t damaged = 0;
  for (PlannedObject* object : task) {
    work.context.progress.add();
    if (object->entry.type != 'f') {
      make_special(*object, parents, work);
      continue;
    }
    const auto made = make_file(*object, stream, parents, work);
    if (made) continue;
    work.fail(work.shown(object->names.front()), made.error());
    stream.reset();
    ++damaged;
  }
  return damaged;
}

}  // namespace

void make_objects(RestorePlan& plan, const RestoreWork& work) {
  const std::vector<Task> tasks = tasks_of(plan);
  std::atomic<size_t> next{0};
  std::atomic<uint64_t> damaged{0};
  std::mutex mutex;
  std::exception_ptr error;
  const auto make = [&] {
    try {
      ParentDirs parents(work.root);
      for (size_t i = next++; i < tasks.size() && !work.context.cancel.stop(); i = next++)
        damaged += make_task(tasks[i], parents, work);
    } catch (...) {
      const std::lock_guard lock(mutex);
      error = std::current_exception();
      next = tasks.size();
    }
  };
  std::vector<std::jthread> threads;
  for (unsigned i = 1; i < std::max(1u, work.context.jobs); ++i) threads.emplace_back(make);
  make();
  threads.clear();
  plan.counts.damaged += damaged;
  if (error) std::rethrow_exception(error);
}

}  // namespace vs::backup
