// What people type for a package: a binary or source name, or a binary one with its architecture as dpkg and
// `vunify check` write it: "libc6", "glibc", "libc6:amd64". One place for all verbs.
#pragma once

#include <string>

namespace vs {

class TypedPackage {
 public:
  explicit TypedPackage(std::string given);
  const std::string& given() const { return given_; }
  bool fits(const std::string& name, const std::string& source, const std::string& arch) const;

 private:
  std::string given_, name_, arch_;
  bool with_arch_;
};

}  // namespace vs
