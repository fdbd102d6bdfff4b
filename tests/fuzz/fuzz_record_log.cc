// Fuzzes the record log, and the journal that is written in it: the bytes as a log, and, so that the checksum
// is no wall, the bytes as bodies of records of a journal, cut at "%%". Seeds:
// tests/testdata/fuzz/record_log/.
#include <cstdlib>
#include <string_view>

#include "core/durable/record_log.h"
#include "core/error.h"
#include "unify/change/journal.h"

namespace {

using namespace vs;

void check_log(std::string_view bytes) {
  const RecordLog log = parse_record_log(bytes);
  if (log.valid_bytes > bytes.size() || log.torn != (log.valid_bytes != bytes.size())) std::abort();
  size_t length = 0;
  for (const auto& record : log.records) length += 20 + record.body.size();
  if (length != log.valid_bytes) std::abort();
  if (parse_record_log(bytes.substr(0, log.valid_bytes)).records.size() != log.records.size()) std::abort();
}

// The first byte of each part is the record's type.
RecordLog as_records(std::string_view rest) {
  RecordLog log;
  while (!rest.empty()) {
    const size_t at = rest.find("%%");
    const std::string_view part = rest.substr(0, at);
    rest.remove_prefix(at == std::string_view::npos ? rest.size() : at + 2);
    if (!part.empty()) log.records.push_back({static_cast<uint8_t>(part[0]), std::string(part.substr(1))});
  }
  return log;
}

}  // namespace

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  const std::string_view bytes(reinterpret_cast<const char*>(data), size);
  check_log(bytes);
  const RecordLog log = as_records(bytes);
  if (log.records.empty()) return 0;
  try {
    unify::parse_journal(log, "journal");
  } catch (const Error&) {  // the only thing it may throw
  }
  return 0;
}
