#include "backup/restore/archive_checker.h"

#include <algorithm>
#include <cerrno>
#include <thread>

#include "backup/archive/entry_bytes.h"

namespace vs::backup {

void ArchiveChecker::find(const std::string& kind, const std::string& object, const std::string& detail) {
  const std::lock_guard lock(mutex_);
  findings_.push_back({kind, object, detail});
}

template <class F>
void ArchiveChecker::each(size_t count, F&& body) {
  std::atomic<size_t> next{0};
  const auto work = [&] {
    for (size_t i = next++; i < count && !context_.cancel.stop(); i = next++) body(i);
  };
  std::vector<std::jthread> threads;
  for (unsigned i = 1; i < std::max(1u, context_.jobs); ++i) threads.emplace_back(work);
  work();
}

void ArchiveChecker::archive(const FramedFile& file, const std::shared_ptr<FramedFile>& shared,
                             const Contents& contents) {
  if (!file.damage().empty()) find("frame", file.path(), file.damage());
  // The parts of an archive between two files that begin in different frames; what no file was read from is
  // unpacked all the same.
  std::vector<std::vector<Contents::const_iterator>> runs;
  for (auto it = contents.begin(); it != contents.end(); ++it) {
    const size_t frame = file.frame_of(it->first);
    if (frame >= file.frames().size()) {
      find("missing", it->second.object, file.path() + ": the part that should hold it is lost");
      continue;
    }
    if (runs.empty() || file.frame_of(runs.back().front()->first) != frame) runs.emplace_back();
    runs.back().push_back(it);
  }
  std::vector<std::vector<size_t>> unpacked(runs.size());
  each(runs.size(), [&](size_t i) { unpacked[i] = run(shared, runs[i]); });
  std::vector<bool> covered(file.frames().size());
  for (const auto& frames : unpacked)
    for (const size_t frame : frames) covered[frame] = true;
  std::vector<size_t> rest;
  for (size_t f = 0; f < covered.size(); ++f)
    if (!covered[f]) rest.push_back(f);
  each(rest.size(), [&](size_t i) {
    const auto bytes = file.unpack(rest[i]);
    if (!bytes) find("frame", file.path(), bytes.error().message);
  });
}

std::vector<size_t> ArchiveChecker::run(const std::shared_ptr<FramedFile>& file,
                                        const std::vector<Contents::const_iterator>& wanted) {
  std::vector<size_t> unpacked;
  std::unique_ptr<EntryStream> stream;
  const auto close = [&] {
    if (!stream) return;
    const auto [first, end] = stream->frames_read();
    for (size_t frame = first; frame < end; ++frame) unpacked.push_back(frame);
    stream.reset();
  };
  for (const auto& it : wanted) {
    context_.progress.add();
    if (!stream) stream = std::make_unique<EntryStream>(file, it->first);
    auto problem = find_entry(*stream, file->path(), *it);
    if (problem) problem = compare(*stream, file->path(), it->second);
    if (context_.cancel.stop()) break;
    if (problem) continue;
    find("content", it->second.object, problem.error().message);
    close();
  }
  close();
  return unpacked;
}

Result ArchiveChecker::find_entry(EntryStream& stream, const std::string& path,
                                  const Contents::value_type& wanted) {
  for (;;) {
    if (context_.cancel.stop()) return Problem{ECANCELED, "interrupted"};
    const auto entry = stream.next();
    if (!entry) return entry.error();
    ++entries_;
    if (!*entry || (*entry)->offset > wanted.first)
      return Problem{0, path + ": no entry where the catalog says it is"};
    if ((*entry)->offset < wanted.first) continue;
    if ((*entry)->type != 'f' || (*entry)->size != wanted.second.size)
      return Problem{0, path + ": the entry is something else than the catalog says"};
    return Ok{};
  }
}

Result ArchiveChecker::compare(EntryStream& stream, const std::string& path, const Wanted& wanted) {
  const auto count = [&](const EntryStream::Data& data) -> Result {
    bytes_ += data.bytes.size();
    if (context_.cancel.stop()) return Problem{ECANCELED, "interrupted"};
    return Ok{};
  };
  const auto digest = read_bytes(stream, wanted.size, path, count);
  if (!digest) return digest.error();
  ++files_;
  if (*digest != wanted.content)
    return Problem{0, path + ": its bytes are not what they were (digest differs)"};
  return Ok{};
}

}  // namespace vs::backup
