#include "unify/plan/link_plan.h"

namespace vs::unify {

uint64_t LinkPlan::file_count() const {
  return names.size();
}

uint64_t LinkPlan::bytes_to_save(uint32_t block_size) const {
  uint64_t sum = 0;
  for (const auto& group : groups) {
    const uint64_t one = (group.size + block_size - 1) / block_size * block_size;
    const uint64_t copies = group.end - group.begin;
    sum += one * (group.master ? copies : copies - 1);
  }
  return sum;
}

}  // namespace vs::unify
