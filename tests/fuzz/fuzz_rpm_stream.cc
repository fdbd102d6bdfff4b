// Fuzzes what the parent does with the answer of a child that a hostile rpm database may have taken over,
// and, by the first byte, the reader of ndb databases. Seeds: tests/testdata/fuzz/rpm_stream/.
#include <cstdlib>

#include "core/tree/root_dir.h"
#include "unify/packages/ndb_file.h"
#include "unify/packages/rpm_stream.h"

extern "C" int LLVMFuzzerTestOneInput(const uint8_t* data, size_t size) {
  using namespace vs;
  using namespace vs::unify;
  static const RootDir guest("/usr");
  std::string_view input(reinterpret_cast<const char*>(data), size);
  if (input.starts_with("R")) {
    size_t bytes = 0;
    for (const std::string_view header : parse_ndb(input).headers) bytes += header.size();
    if (bytes > size) std::abort();
    return 0;
  }
  if (input.empty()) return 0;
  input.remove_prefix(1);
  std::vector<PackageTrouble> troubles;
  TroubleLog log(troubles);
  PackageIndexBuilder builder;
  const std::string problem = add_rpm_stream(input, "database", builder, log);
  const PackageIndex index = std::move(builder).build(guest, "fuzz");
  if (!problem.empty() && (!index.empty() || !index.packages().empty() || !troubles.empty())) std::abort();
  for (const PackageFile& file : index.dir(guest.stat().ino))
    if (index.digest(file).size() != digest_size(file.algorithm) || index.name(file).empty()) std::abort();
  return 0;
}
