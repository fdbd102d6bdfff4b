// Keeps what was read from an rpm database, so that an unchanged one is not parsed again.
//
// One file a guest and place, <dev>-<ino of its root>-<place>.pkgs in a host-only directory, so the cache
// does not grow with the nights. The key, a hash of the database's bytes, is inside. Files of different
// guests are apart on purpose: the hash is not one that resists an attacker, and a guest that made a
// collision shall find its own lies only.
//
//   file := "VSPKGS1\n" key[16] u64 length  xxh128(key, stream)[16] stream      little endian
#pragma once

#include <optional>
#include <string>
#include <string_view>

#include "core/tree/root_dir.h"
#include "unify/packages/rpm_database.h"

namespace vs::unify {

std::string cache_file(const std::string& cache_dir, const RootDir& root, unsigned place);

// Nothing where there is none, it is of another key, torn or damaged: all are "read the database".
std::optional<std::string> load_cached(const std::string& file, const DatabaseKey& key);

// To a temporary name, fsync, rename. Failing is a Problem, and no reason to do without the result.
Result store_cached(const std::string& file, const DatabaseKey& key, std::string_view stream);

}  // namespace vs::unify
