#include "core/typed_package.h"

#include <utility>

namespace vs {

TypedPackage::TypedPackage(std::string given) : given_(std::move(given)) {
  const size_t colon = given_.find(':');
  with_arch_ = colon != std::string::npos;
  name_ = given_.substr(0, colon);
  if (with_arch_) arch_ = given_.substr(colon + 1);
}

bool TypedPackage::fits(const std::string& name, const std::string& source, const std::string& arch) const {
  return with_arch_ ? name == name_ && arch == arch_ : name == name_ || source == name_;
}

}  // namespace vs
