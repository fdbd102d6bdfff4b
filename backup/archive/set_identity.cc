#include "backup/archive/set_identity.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/random.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "core/full_io.h"
#include "core/unique_fd.h"

namespace vs::backup {
namespace {

constexpr const char* kFile = "vbackup.set";
constexpr std::string_view kAnyVersion = "vbackup archive set ", kVersion = "vbackup archive set 1\n";
constexpr size_t kIdDigits = 32;
constexpr uint32_t kPoolGap = 1000;
constexpr uint64_t kMemberGap = uint64_t{1} << 32;

bool is_id(std::string_view text) {
  return text.size() == kIdDigits && text.find_first_not_of("0123456789abcdef") == std::string_view::npos;
}

}  // namespace

SetIdentity new_set_identity() {
  unsigned char bytes[kIdDigits / 2];
  if (::getrandom(bytes, sizeof bytes, 0) != sizeof bytes) throw Error("no random numbers");
  SetIdentity identity;
  for (const unsigned char c : bytes) identity.id += fmt::format("{:02x}", c);
  return identity;
}

Expected<SetIdentity> read_set_identity(int dir, const std::string& path) {
  const std::string shown = path + "/" + kFile;
  const UniqueFd fd(::openat(dir, kFile, O_RDONLY | O_NOFOLLOW | O_CLOEXEC | O_NONBLOCK));
  if (!fd) return problem_from_errno("open", shown);
  std::string text(4096, '\0');
  const ssize_t got = read_full(fd.get(), text.data(), text.size());
  if (got < 0) return problem_from_errno("read", shown);
  text.resize(static_cast<size_t>(got));
  if (text.starts_with(kAnyVersion) && !text.starts_with(kVersion))
    throw Error(shown + ": written by another version", Exit::usage);
  SetIdentity identity;
  if (text.size() > kVersion.size()) identity.id = text.substr(kVersion.size(), kIdDigits);
  if (!text.starts_with(kVersion) || !is_id(identity.id)) return Problem{EBADMSG, shown + ": damaged"};
  unsigned pool = 0;
  unsigned long long member = 0;
  if (std::sscanf(text.c_str() + kVersion.size() + kIdDigits, "\nnext pool archive %u, next member %llu\n",
                  &pool, &member) == 2)
    identity.next = {pool, member};
  return identity;
}

Result write_set_identity(const std::string& path, const SetIdentity& identity) {
  return write_durably(path + "/" + kFile,
                       fmt::format("{}{}\nnext pool archive {}, next member {}\n", kVersion, identity.id,
                                   identity.next.pool, identity.next.member));
}

SetIdentity identity_by_archives(const std::vector<CatalogHeader>& archives, const std::string& path) {
  SetIdentity identity;
  for (const auto& header : archives) {
    if (!is_id(header.set)) continue;
    if (!identity.id.empty() && identity.id != header.set)
      throw Error(escaped(path) + " has no vbackup.set, and archives of several sets", Exit::usage);
    identity.id = header.set;
    if (header.kind != "pool") continue;
    identity.next.pool = std::max(identity.next.pool, header.number + 1);
    identity.next.member = std::max(identity.next.member, header.last_pool + 1);
  }
  if (identity.id.empty())
    throw Error(escaped(path) + " has no vbackup.set, and no archive in it says which set it is of",
                Exit::usage);
  identity.next.pool += kPoolGap;
  identity.next.member += kMemberGap;
  return identity;
}

}  // namespace vs::backup
