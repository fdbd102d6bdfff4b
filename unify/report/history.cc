// The history of runs: one JSON object a line, appended and never rewritten.
//
// A line without its line break is what a crash left. It still counts if it is a whole object (no shorter
// piece of an object is one, so that cannot be mistaken); if not, readers leave it out and the next append
// cuts it off.
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <cmath>
#include <nlohmann/json.hpp>
#include <optional>

#include "core/durable/durable_file.h"
#include "core/error.h"
#include "core/full_io.h"
#include "core/unique_fd.h"
#include "unify/report/savings.h"

namespace vs::unify {
namespace {

using Json = nlohmann::ordered_json;

[[noreturn]] void fail(const char* tried, const std::string& file) {
  throw Error(problem_from_errno(tried, file).message);
}

std::string line_of(const HistoryEntry& row) {
  const Json json = {{"run", row.run},
                     {"pool", row.pool},
                     {"time", row.time},
                     {"verb", row.verb},
                     {"guests", row.guests},
                     {"files_seen", row.files_seen},
                     {"files_linked", row.files_linked},
                     {"masters", row.masters},
                     {"bytes_saved", row.bytes_saved},
                     {"bytes_saved_total", row.bytes_saved_total},
                     {"seconds", std::isfinite(row.seconds) ? row.seconds : 0.0},
                     {"problems", row.problems}};
  return json.dump(-1, ' ', false, Json::error_handler_t::replace) + "\n";
}

// A key that is missing stays 0: older versions wrote fewer. A key of another type makes the row malformed.
bool read_count(const Json& json, const char* key, uint64_t& value) {
  const auto found = json.find(key);
  if (found == json.end()) return true;
  if (!found->is_number_unsigned()) return false;
  value = found->get<uint64_t>();
  return true;
}

bool read_counts(const Json& json, HistoryEntry& row) {
  return read_count(json, "guests", row.guests) && read_count(json, "files_seen", row.files_seen) &&
         read_count(json, "files_linked", row.files_linked) && read_count(json, "masters", row.masters) &&
         read_count(json, "bytes_saved", row.bytes_saved) &&
         read_count(json, "bytes_saved_total", row.bytes_saved_total) &&
         read_count(json, "problems", row.problems);
}

std::optional<HistoryEntry> row_of(std::string_view line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object()) return std::nullopt;
  const auto run = json.find("run"), time = json.find("time");
  if (run == json.end() || !run->is_string() || time == json.end() || !time->is_number_integer())
    return std::nullopt;
  HistoryEntry row;
  row.run = run->get<std::string>();
  row.time = time->get<int64_t>();
  if (const auto verb = json.find("verb"); verb != json.end() && verb->is_string())
    row.verb = verb->get<std::string>();
  if (const auto pool = json.find("pool"); pool != json.end() && pool->is_string())
    row.pool = pool->get<std::string>();
  if (const auto seconds = json.find("seconds"); seconds != json.end() && seconds->is_number())
    row.seconds = seconds->get<double>();
  if (!read_counts(json, row)) return std::nullopt;
  return row;
}

// The end of the file from the last line break on.
struct Tail {
  off_t start = 0;
  std::string text;
};

std::string read_range(int fd, off_t from, off_t to, const std::string& file) {
  std::string bytes(static_cast<size_t>(to - from), '\0');
  const ssize_t got = pread_full(fd, bytes.data(), bytes.size(), static_cast<uint64_t>(from));
  if (got < 0) fail("read", file);
  bytes.resize(static_cast<size_t>(got));
  return bytes;
}

off_t size_of(int fd, const std::string& file) {
  struct stat found {};
  if (::fstat(fd, &found) != 0) fail("stat", file);
  return found.st_size;
}

// Backwards in blocks: a history of years is not read to append a line.
Tail tail_of(int fd, const std::string& file) {
  constexpr off_t kBlock = 4096;
  Tail tail{size_of(fd, file), ""};
  while (tail.start > 0) {
    const off_t from = std::max<off_t>(0, tail.start - kBlock);
    const std::string block = read_range(fd, from, tail.start, file);
    const size_t newline = block.rfind('\n');
    if (newline == std::string::npos) {
      tail = {from, block + tail.text};
      continue;
    }
    tail.text.insert(0, block.substr(newline + 1));
    tail.start = from + static_cast<off_t>(newline) + 1;
    break;
  }
  return tail;
}

// The name of a file just made is durable only when its directory is.
void sync_directory_of(const std::string& file) {
  const size_t slash = file.rfind('/');
  const std::string dir = slash == std::string::npos ? "." : file.substr(0, slash + 1);
  const UniqueFd fd(::open(dir.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC));
  if (!fd || ::fsync(fd.get()) != 0) fail("sync directory", dir);
}

// Runs on two pools of one host may end at the same moment.
void lock(int fd, const std::string& file) {
  while (::flock(fd, LOCK_EX) != 0)
    if (errno != EINTR) fail("lock", file);
}

}  // namespace

void append_history(const std::string& file, const HistoryEntry& row) {
  const UniqueFd fd(::open(file.c_str(), O_RDWR | O_CREAT | O_CLOEXEC, 0600));
  if (!fd) fail("open for appending", file);
  lock(fd.get(), file);
  const Tail tail = tail_of(fd.get(), file);
  std::string line = line_of(row);
  off_t at = tail.start;
  if (row_of(tail.text)) {
    at += static_cast<off_t>(tail.text.size());
    line.insert(0, "\n");
  } else if (!tail.text.empty() && ::ftruncate(fd.get(), at) != 0) {
    fail("cut the torn end of", file);
  }
  if (::lseek(fd.get(), at, SEEK_SET) != at) fail("seek in", file);
  ok_or_throw(write_all(fd.get(), line, file));
  if (::fsync(fd.get()) != 0) fail("sync", file);
  if (at == 0) sync_directory_of(file);
}

std::vector<HistoryEntry> read_history(const std::string& file) {
  const UniqueFd fd(::open(file.c_str(), O_RDONLY | O_CLOEXEC));
  if (!fd && errno == ENOENT) return {};  // no run yet
  if (!fd) fail("open for reading", file);
  const std::string text = read_range(fd.get(), 0, size_of(fd.get(), file), file);
  std::vector<HistoryEntry> rows;
  for (size_t at = 0; at < text.size();) {
    const size_t end = std::min(text.find('\n', at), text.size());
    if (auto row = row_of(std::string_view(text).substr(at, end - at))) rows.push_back(std::move(*row));
    at = end + 1;
  }
  return rows;
}

std::vector<HistoryEntry> runs_on_pool(std::vector<HistoryEntry> nights, const std::string& pool) {
  std::erase_if(nights, [&](const HistoryEntry& row) { return !row.pool.empty() && row.pool != pool; });
  return nights;
}

}  // namespace vs::unify
