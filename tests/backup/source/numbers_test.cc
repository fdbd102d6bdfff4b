// The numbers of a scanned host are of different types: that one is not taken for another is found by the
// compiler, so these tests are done when this file is compiled.
#include <type_traits>

#include "backup/archive/target.h"
#include "backup/source/link_table.h"
#include "backup/source/other_names.h"

namespace vs::backup {
namespace {

// `Number` is a name's for this table, and a plain number is not.
template <class Number>
concept NamesAName = requires(const NameTable& table, Number number) {
  table.at(number);
};
static_assert(NamesAName<NameNumber> && !NamesAName<uint32_t> && !NamesAName<size_t>);

template <class Table, class Number>
concept Indexes = requires(Table table, Number number) {
  table[number];
};
using Inodes = decltype(ScannedHost::inodes);
using DirNodes = decltype(ScannedHost::dirs);
using Trees = decltype(ScannedHost::trees);
static_assert(Indexes<Inodes, InodeNumber> && !Indexes<Inodes, uint32_t> && !Indexes<Inodes, size_t>);
static_assert(!Indexes<Inodes, DirNumber> && !Indexes<Inodes, NameNumber> && !Indexes<Inodes, GuestNumber>);
static_assert(Indexes<DirNodes, DirNumber> && !Indexes<DirNodes, uint32_t> && !Indexes<DirNodes, size_t>);
static_assert(!Indexes<DirNodes, InodeNumber> && !Indexes<DirNodes, NameNumber>);
static_assert(Indexes<Trees, GuestNumber> && !Indexes<Trees, size_t> && !Indexes<Trees, DirNumber>);

// Three numbers of an item in a row: none goes where another belongs.
static_assert(!std::is_assignable_v<decltype(Item::inode)&, DirNumber> &&
              !std::is_assignable_v<decltype(Item::dir)&, InodeNumber> &&
              !std::is_assignable_v<decltype(Item::guest)&, uint32_t>);

// Of these there are millions.
static_assert(sizeof(Inode) == 88 && sizeof(Child) == 8 && sizeof(DirNode) == 40);
static_assert(sizeof(ScannedName) == 16);

}  // namespace
}  // namespace vs::backup
