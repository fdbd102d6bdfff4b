// What stat says of an object of a mount.
#pragma once

#include <sys/stat.h>

#include "backup/archive/catalog.h"

namespace vs::backup {

mode_t type_bits(char letter);  // of a catalog's entry: S_IFREG ...
// Of a complete entry. `links`: how many names it has.
struct ::stat attributes_of(const Entry& entry, uint64_t number, uint64_t links);
// Of what a mount shows above the trees: anybody who may look into the mount may look into these.
struct ::stat directory_attributes(uint64_t number, uint64_t directories, const timespec& time);
struct ::stat link_attributes(uint64_t number, const std::string& target, const timespec& time);

timespec timespec_of_now();

}  // namespace vs::backup
