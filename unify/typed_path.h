// What people type for a file of a guest, and which one it is: one place for all verbs.
//
// Nothing of a guest is trusted: its symlinks are read one by one and followed by going down again from its
// root, so that none leads out of the tree; after kMaxSymlinks of them the path is given up.
#pragma once

#include <string>
#include <string_view>

#include "core/tree/root_dir.h"

namespace vs::unify {

struct TypedPath {
  std::string given;  // as typed, for messages
  std::string
      path;       // where it is: relative to the guest's root, without symlinks, "." or "//"; "" is the root
  FileStat stat;  // of what is there
};

// What stands last in a path: "bin" of "/bin", say.
enum class LastSymlink { follow, keep };

inline constexpr int kMaxSymlinks = 40;  // as in the kernel
// A host path is known by the path of the guest's tree, as it was given or with the host's symlinks resolved;
// everything else is a path in the guest, with or without a leading slash. So "/bin/ls", "bin//ls",
// "./usr/bin/ls" and "POOL/a/usr/bin/ls" are "usr/bin/ls" of the guest whose tree is POOL/a. A ".." at the
// root stays there, as in the guest. A Problem (ENOENT, say) names what was typed.
Expected<TypedPath> resolve_typed_path(const RootDir& root, const std::string& given, LastSymlink last);

// Whether `path` is what was typed, or below it.
bool is_at_or_below(std::string_view path, const TypedPath& typed);

}  // namespace vs::unify
