// The records of a catalog: whatever the bytes are, parsing ends, and what it lets through is what a restore
// relies on.
#include <cstdlib>
#include <string_view>

#include "backup/archive/archive_set.h"
#include "backup/archive/catalog.h"

using namespace vs::backup;

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  (void)parse_catalog(bytes, "fuzz");
  (void)decode_xattrs(bytes);
  // Compression would keep the fuzzer out: the records are also given as they are.
  std::vector<Entry> entries;
  if (decode_dir(bytes, entries)) {
    for (size_t i = 0; i < entries.size(); ++i) {
      const std::string& name = entries[i].name;
      if (i > 0 && (name.empty() || name == "." || name == ".." || name.find('/') != std::string::npos ||
                    name.size() > 255))
        std::abort();
      if (i > 1 && entries[i - 1].name >= name) std::abort();
    }
    // What was understood is written as it was read.
    std::string again;
    for (const auto& entry : entries) append_entry(again, entry);
    std::vector<Entry> second;
    if (!decode_dir(again, second) || second.size() != entries.size()) std::abort();
  }
  std::map<std::string, std::string> dirs{{"", std::string(bytes)}, {"a", std::string(bytes)}};
  drop_unreachable(dirs);
  return 0;
}
