#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <nlohmann/json.hpp>
#include <system_error>

#include "backup/archive/archive_reader.h"
#include "backup/archive/entry_bytes.h"
#include "backup/cli/command.h"
#include "backup/restore/stored_backups.h"
#include "core/durable/durable_file.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

struct DumpFlags : Options {};

// Standard output as a sink: what a file has in holes are zeros.
class StandardOutput {
 public:
  Result write(const EntryStream::Data& data) {
    if (auto filled = zeros_until(data.offset); !filled) return filled;
    at_ += data.bytes.size();
    return put(data.bytes);
  }
  Result zeros_until(uint64_t end) {
    static const std::string zeros(1 << 16, '\0');
    while (at_ < end) {
      const uint64_t size = std::min<uint64_t>(zeros.size(), end - at_);
      if (auto done = put(std::string_view(zeros).substr(0, size)); !done) return done;
      at_ += size;
    }
    return Ok{};
  }

 private:
  static Result put(std::string_view bytes) {
    auto done = write_all(STDOUT_FILENO, bytes, "standard output");
    if (!done && done.error().code == EPIPE) throw std::system_error(EPIPE, std::generic_category());
    return done;
  }
  uint64_t at_ = 0;
};

Entry file_at(const GuestState& state, StoredBackups& backups, const Selection& selection) {
  const Entry entry = value_or_throw(find_entry(state, backups.pool(), selection.path), Exit::usage);
  const std::string shown = escaped(selection.guest) + "@" + state.stamp + ":" + escaped(selection.path);
  if (entry.type == 'l') throw Error(shown + " is a symbolic link to " + escaped(entry.target), Exit::usage);
  if (entry.type != 'f') throw Error(shown + " is no file; vbackup show lists what is in it", Exit::usage);
  return entry;
}

Exit dump(DumpFlags& options) {
  Command command(options);
  StoredBackups backups(source_of(options));
  if (options.guests.size() != 1) throw Error("dump takes one NAME[@TIME]:PATH", Exit::usage);
  const Selection selection = backups.parse(options.guests.front());
  const auto state = value_or_throw(backups.state(selection.guest, selection.limit()), Exit::usage);
  const Entry entry = file_at(state, backups, selection);
  const auto archive =
      value_or_throw(entry.pool != 0 ? backups.pool_archive(entry) : backups.archive_of(state, entry));
  EntryStream stream(archive, entry.offset);
  if (!value_or_throw(stream.next())) throw Error(archive->path() + ": the part that holds it is lost");
  StandardOutput out;
  const auto write = [&](const EntryStream::Data& data) { return out.write(data); };
  const Sha256 digest = value_or_throw(read_bytes(stream, entry.size, archive->path(), write));
  ok_or_throw(out.zeros_until(entry.size));
  if (digest != entry.content)
    throw Error(archive->path() + ": what was written is not what was stored (digest differs)");
  return command.exit_code();
}

}  // namespace

void add_dump(CommandLine& line) {
  static DumpFlags options;
  Verb verb = line.verb("dump", "write the bytes of one stored file to standard output");
  add_set_option(verb, options);
  add_from_option(verb, options);
  add_frame_options(verb, options);
  verb.arguments("NAME[@TIME]:PATH", options.guests, "the file", true);
  verb.footer(exit_codes("0 done, 1 failed (what was written so far is worth nothing), 2 usage",
                         "vbackup dump --to archive:/backup/vservers web1@2026-11-23:etc/fstab"));
  verb.action([] { return dump(options); });
}

}  // namespace vs::backup
