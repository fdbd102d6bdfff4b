// Looks at the pages of an LMDB file before LMDB does.
//
// LMDB maps its file and believes what stands in it: a file that was cut off ends the process with SIGBUS,
// and a page with wrong offsets lets it read and write past the page. So every page that a reader or the
// writer could come to is looked at first: it lies in the file, is of the kind that is expected there, is
// reached once, and its entries lie within it. Values may be anything; who stores them checks them.
//
// For files without duplicate keys, of the format of LMDB 0.9 on this machine's word size and byte order.
#pragma once

#include <cstdint>

#include "core/error.h"

namespace vs {

// The beginning of the file, which LMDB reads when it opens it. An empty file is all right: a new one.
Result check_lmdb_head(int fd);
// All pages as of one transaction. ESTALE if a writer has written over its root meanwhile.
Result check_lmdb_pages(int fd, uint64_t transaction);

}  // namespace vs
