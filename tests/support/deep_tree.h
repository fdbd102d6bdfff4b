// What a guest can build to be in the way: directories nested deeper than paths and descriptors go.
#pragma once

#include <sys/resource.h>

#include <cstddef>
#include <string>

#include "core/unique_fd.h"

namespace vs::test {

// More than any recursion with a descriptor a level survives below FewDescriptors; as a path it is longer
// than PATH_MAX.
inline constexpr size_t kDeep = 3000;

// `depth` directories named "d" in one another below `top`, a file "f" in every hundredth and in the last.
void make_nested(const std::string& top, size_t depth = kDeep);
// The same of directories with this name; returns the last one, open.
UniqueFd make_nested(const std::string& top, size_t depth, const std::string& name);
// How many directories named "d" are in one another below `top`.
size_t nested_below(const std::string& top);

// The process may have 256 descriptors, the lowest limit in use, until the end of the scope.
class FewDescriptors {
 public:
  FewDescriptors();
  ~FewDescriptors();
  FewDescriptors(const FewDescriptors&) = delete;
  FewDescriptors& operator=(const FewDescriptors&) = delete;

 private:
  rlimit before_{};
};

}  // namespace vs::test
