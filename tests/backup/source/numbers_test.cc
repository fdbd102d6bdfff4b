// The numbers of a scanned host are of different types: that one is not taken for another is found by the
// compiler, so these tests are done when this file is compiled.
#include <type_traits>

#include "backup/source/scanned_host.h"

namespace vs::backup {
namespace {

// `Number` is a name's for this table, and a plain number is not.
template <class Number>
concept NamesAName = requires(const NameTable& table, Number number) {
  table.at(number);
};
static_assert(NamesAName<NameNumber> && !NamesAName<uint32_t> && !NamesAName<size_t>);

// Of these there are millions.
static_assert(sizeof(Inode) == 88 && sizeof(Child) == 8 && sizeof(DirNode) == 40);

}  // namespace
}  // namespace vs::backup
