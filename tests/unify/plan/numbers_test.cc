// The numbers of a plan are of different types: that one is not taken for another is found by the compiler,
// so these tests are done when this file is compiled.
#include <cstddef>
#include <type_traits>
#include <utility>

#include "unify/change/linker.h"
#include "unify/plan/link_plan.h"
#include "unify/plan/verify.h"

namespace vs::unify {
namespace {

template <class Table, class Number>
concept Indexes = requires(const Table& table, Number number) {
  table[number];
};

// `Number` indexes `Table`, and none of `Others` does, nor a plain number.
template <class Table, class Number, class... Others>
constexpr bool kOnly = Indexes<Table, Number> && !(Indexes<Table, Others> || ...) &&
                       !Indexes<Table, uint32_t> && !Indexes<Table, size_t>;

using Rows = std::remove_cvref_t<decltype(std::declval<FileTable>().rows())>;
static_assert(kOnly<Rows, RowNumber, NameNumber, CandidateNumber, DuplicateNumber, GroupNumber, MasterNumber,
                    GuestNumber, DirNumber>);
static_assert(kOnly<decltype(LinkPlan::names), NameNumber, RowNumber, DuplicateNumber, GroupNumber>);
static_assert(kOnly<decltype(LinkPlan::duplicates), DuplicateNumber, CandidateNumber, RowNumber, NameNumber,
                    GroupNumber>);
static_assert(kOnly<decltype(LinkPlan::groups), GroupNumber, RowNumber, DuplicateNumber, MasterNumber>);
static_assert(kOnly<decltype(CandidateSet::duplicates), CandidateNumber, DuplicateNumber, RowNumber,
                    NameNumber, GroupNumber>);
static_assert(kOnly<MasterTable, MasterNumber, RowNumber, GroupNumber, GuestNumber>);
static_assert(kOnly<Guests, GuestNumber, RowNumber, MasterNumber, GroupNumber>);
static_assert(kOnly<GuestPackages, GuestNumber, RowNumber, MasterNumber>);
static_assert(kOnly<GuestDevices, GuestNumber, RowNumber, MasterNumber>);

static_assert(std::is_invocable_v<decltype(row_of_duplicate), const VerifyInput&, CandidateNumber>);
static_assert(!std::is_invocable_v<decltype(row_of_duplicate), const VerifyInput&, DuplicateNumber>);
static_assert(!std::is_invocable_v<decltype(row_of_duplicate), const VerifyInput&, uint32_t>);
static_assert(!std::is_invocable_v<decltype(&MasterTable::retire), MasterTable&, GuestNumber>);

static_assert(sizeof(RowNumber) == 4 && sizeof(Duplicate) == 8 && sizeof(FileRow) == 72);

}  // namespace
}  // namespace vs::unify
