// The bytes of one file of an archive, whoever wants them: a restore, a check, a prune.
#pragma once

#include <functional>
#include <string>

#include "backup/archive/archive_reader.h"
#include "backup/source/digest.h"

namespace vs::backup {

// Is given data in order; a problem ends the reading. What never comes is zeros.
using ByteSink = std::function<Result(const EntryStream::Data&)>;

// Reads the file that the stream stands at, and returns the digest of what is there. `size` is what the
// catalog says: data that would not fit into it is a problem and never reaches the sink. Problems name
// `archive`.
Expected<Sha256> read_bytes(EntryStream& stream, uint64_t size, const std::string& archive,
                            const ByteSink& sink);

}  // namespace vs::backup
