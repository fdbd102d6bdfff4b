#include "backup/archive/host_entries.h"

#include <algorithm>
#include <map>

#include "backup/archive/host_tree.h"
#include "backup/archive/pax_writer.h"

namespace vs::backup {
namespace {

// By directory, in the order of an archive: a directory, its files, then those below.
using FilesByDir = std::map<std::string, std::vector<const HostFile*>>;

FilesByDir by_directory(const std::vector<HostFile>& files) {
  FilesByDir dirs;
  for (const auto& file : files) {
    std::string dir(split_path(file.path).first);
    dirs[dir].push_back(&file);
    while (!dir.empty()) {
      dir = std::string(split_path(dir).first);
      dirs[dir];
    }
  }
  return dirs;
}

// The time of the directories, so that the same files make the same archive.
int64_t newest_of(const std::vector<HostFile>& files) {
  int64_t newest = 0;
  for (const auto& file : files) newest = std::max(newest, file.mtime_ns);
  return newest;
}

// For root alone, whatever they are on the host: what is in them may be secret.
Entry directory_entry(const std::string& name, int64_t mtime_ns) {
  Entry entry;
  entry.name = name;
  entry.type = 'd';
  entry.mode = 0700;
  entry.mtime_ns = mtime_ns;
  return entry;
}

Entry file_entry(const HostFile& file, uint32_t number, uint64_t offset) {
  Entry entry;
  entry.name = std::string(split_path(file.path).second);
  entry.mode = file.mode;
  entry.uid = file.uid;
  entry.gid = file.gid;
  entry.mtime_ns = file.mtime_ns;
  entry.size = file.content.size();
  entry.archive = number;
  entry.offset = offset;
  entry.content = sha256(file.content);
  return entry;
}

TarEntry tar_entry(const Entry& entry, const std::string& path) {
  TarEntry tar;
  tar.path = path;
  tar.type = entry.type;
  tar.mode = entry.mode;
  tar.uid = entry.uid;
  tar.gid = entry.gid;
  tar.size = entry.size;
  tar.mtime_ns = entry.mtime_ns;
  return tar;
}

}  // namespace

void store_host_files(const RunView& run, GuestNumber guest, uint32_t number, int level,
                      ArchiveWriter& writer, Catalog& catalog) {
  const auto found = run.host_files.find(run.host.guests[guest].name);
  if (found == run.host_files.end()) return;
  const std::string top = host_tree_of(found->first);
  const FilesByDir dirs = by_directory(found->second);
  const int64_t newest = newest_of(found->second);
  std::map<std::string, std::map<std::string, Entry>> children;  // by directory, then by name
  std::string out;
  for (const auto& [dir, inside] : dirs) {
    append_header(out, tar_entry(directory_entry("", newest), join_path(top, dir)));
    if (const auto [above, name] = split_path(dir); !dir.empty())
      children[std::string(above)].emplace(name, directory_entry(std::string(name), newest));
    for (const HostFile* file : inside) {
      const Entry entry = file_entry(*file, number, writer.size() + out.size());
      append_header(out, tar_entry(entry, join_path(top, file->path)));
      out += file->content;
      append_padding(out, file->content.size());
      children[dir].emplace(entry.name, entry);
    }
  }
  writer.add(Compressor(level).frame(out), out.size());
  auto& records = catalog.dirs[top];
  for (const auto& [dir, inside] : dirs) {
    append_entry(records[dir], directory_entry("", newest));
    for (const auto& [name, entry] : children[dir]) append_entry(records[dir], entry);
  }
}

}  // namespace vs::backup
