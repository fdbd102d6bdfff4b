// Reads one object of a guest that may be running and hostile: details, and bytes of files, by descriptor
// beneath the guest's root.
//
// What was scanned may have changed. The stat of the open descriptor is what counts; a file is read again, up
// to three times, until stat before and after are the same, and marked inconsistent if they never were. What
// became another kind of thing is left out, as if it had been removed: it was, in this moment.
#pragma once

#include <memory>

#include "backup/archive/target.h"

namespace vs::backup {

struct ReadObject {
  Inode inode;  // as found now
  InodeDetails details;
  Content content;
};

enum class ReadState { done, gone, failed };  // gone: not an error

struct ReadResult {
  ReadState state = ReadState::done;
  Problem problem;
};

// Of a file (of at most one piece) the bytes too.
ReadResult read_object(const ScannedHost& host, const Item& item, ReadObject& object);

// Opens a file larger than one piece and divides it.
ReadResult open_large(const ScannedHost& host, const Item& item, std::shared_ptr<LargeFile>& large);
// The bytes of one part; what the file lost meanwhile, or cannot be read, is zeros, and it is marked changed.
// The last part closes the matter (details complete).
void read_part(LargeFile& large, size_t part, std::string& data);
void finish_large(LargeFile& large);

// The digest of any open file, for comparisons.
Expected<Sha256> digest_of(int fd, uint64_t size, const std::string& object);

// Data ranges by SEEK_DATA and SEEK_HOLE. Files that a guest made of a million holes get their smallest gaps
// filled.
std::vector<std::pair<uint64_t, uint64_t>> data_ranges(int fd, uint64_t size);

}  // namespace vs::backup
