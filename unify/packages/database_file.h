// The files of a package database in a guest's tree, opened without trusting anything about them.
//
// The directory is looked up the way the guest sees it (it may be a symlink inside the guest), then held;
// files are opened in it by name, and only regular files on the guest's own filesystem are ever opened for
// reading: whatever else stands there is looked at through O_PATH, which neither blocks on a fifo nor touches
// a device.
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/tree/root_dir.h"
#include "unify/packages/trouble_log.h"

namespace vs::unify {

// Of one text file. The largest seen (status of a workstation with all of texlive) has 12 MB; a hostile one
// of three-byte lines takes five times its size in memory while it is parsed.
inline constexpr uint64_t kMaxTextFile = 64ull << 20;

struct DatabaseFile {
  UniqueFd fd;
  FileStat stat;
};

class DatabaseDir {
 public:
  // Nothing when there is no such directory, or when what is there cannot be used (then the log says why).
  static std::optional<DatabaseDir> open(const RootDir& root, std::string_view path, TroubleLog& log);

  const std::string& path() const { return path_; }  // guest-relative, as asked for
  const FileStat& stat() const { return stat_; }
  std::string file_path(std::string_view name) const { return join_path(path_, name); }

  // `name` is one component. Nothing when it is absent or refused: symlink, fifo, device, directory, another
  // mount, larger than `max_size`, unreadable. Refusals go to the log.
  std::optional<DatabaseFile> open_file(const std::string& name, uint64_t max_size, TroubleLog& log) const;
  // The whole content in `buffer` (reused by the caller; it never shrinks); nothing as above.
  std::optional<std::string_view> read(const std::string& name, std::string& buffer, TroubleLog& log) const;
  // Whether anything of that name is there, usable or not.
  bool has(const std::string& name) const;
  // The names in it, sorted, without "." and ".."; at most `most` of them.
  std::vector<std::string> names(size_t most, TroubleLog& log) const;

 private:
  DatabaseDir() = default;

  const RootDir* root_ = nullptr;  // outlives this
  std::string path_;
  UniqueFd fd_;  // O_PATH
  FileStat stat_;
};

}  // namespace vs::unify
