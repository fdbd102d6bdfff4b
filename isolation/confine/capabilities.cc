#include "isolation/confine/capabilities.h"

#include <fmt/format.h>
#include <sys/capability.h>
#include <sys/prctl.h>

#include <algorithm>
#include <cctype>

#include "core/escape.h"

namespace vs::isolation {
namespace {

constexpr CapabilitySet bit(unsigned capability) {
  return CapabilitySet{1} << capability;
}

}  // namespace

unsigned capability_count() {
  return static_cast<unsigned>(cap_max_bits());
}

CapabilitySet all_capabilities() {
  return capability_count() >= 64 ? ~CapabilitySet{0} : bit(capability_count()) - 1;
}

CapabilitySet guest_capabilities() {
  return bit(CAP_CHOWN) | bit(CAP_DAC_OVERRIDE) | bit(CAP_FOWNER) | bit(CAP_FSETID) | bit(CAP_KILL) |
         bit(CAP_SETGID) | bit(CAP_SETUID) | bit(CAP_SETPCAP) | bit(CAP_NET_BIND_SERVICE) |
         bit(CAP_SYS_CHROOT) | bit(CAP_SYS_BOOT) | bit(CAP_AUDIT_WRITE) | bit(CAP_SETFCAP);
}

CapabilitySet secure_capabilities() {
  return guest_capabilities() & ~bit(CAP_SYS_BOOT);
}

std::string capability_name(unsigned number) {
  char* name = cap_to_name(static_cast<cap_value_t>(number));
  if (name == nullptr) return fmt::format("{}", number);
  std::string text = name;
  cap_free(name);
  if (text.starts_with("cap_")) text = text.substr(4);
  std::transform(text.begin(), text.end(), text.begin(),
                 [](unsigned char c) { return static_cast<char>(std::toupper(c)); });
  return text;
}

CapabilitySet capability_named(const std::string& name) {
  std::string lower = name;
  std::transform(lower.begin(), lower.end(), lower.begin(),
                 [](unsigned char c) { return static_cast<char>(std::tolower(c)); });
  if (!lower.starts_with("cap_")) lower = "cap_" + lower;
  cap_value_t value = 0;
  if (cap_from_name(lower.c_str(), &value) != 0 || value < 0 || value >= 64)
    throw Error(fmt::format("'{}' is no capability; capabilities(7) lists them", escaped(name)), Exit::usage);
  return bit(static_cast<unsigned>(value));
}

CapabilitySet apply_changes(CapabilitySet set, const std::vector<std::string>& changes) {
  for (const auto& change : changes) {
    if (change.starts_with('!'))
      set &= ~capability_named(change.substr(1));
    else
      set |= capability_named(change);
  }
  return set;
}

Result keep_only(CapabilitySet keep) {
  ::prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0,
          0);  // refused only by kernels without ambient capabilities
  // The bounding set first: it takes SETPCAP, which may not be kept.
  for (unsigned number = 0; number < capability_count(); ++number)
    if (!(keep & bit(number)) && ::prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1 &&
        ::prctl(PR_CAPBSET_DROP, number, 0, 0, 0) != 0)
      return problem_from_errno("drop the capability", capability_name(number));
  struct __user_cap_header_struct header {
    _LINUX_CAPABILITY_VERSION_3, 0
  };
  struct __user_cap_data_struct data[2];
  if (::capget(&header, data) != 0) return problem_from_errno("read", "capabilities");
  for (unsigned half = 0; half < 2; ++half) {
    const auto mask = static_cast<uint32_t>(keep >> (32 * half));
    data[half].effective &= mask;
    data[half].permitted &= mask;
    data[half].inheritable = 0;
  }
  if (::capset(&header, data) != 0) return problem_from_errno("lower", "capabilities");
  return Ok{};
}

CapabilityState current_capabilities() {
  CapabilityState state;
  struct __user_cap_header_struct header {
    _LINUX_CAPABILITY_VERSION_3, 0
  };
  struct __user_cap_data_struct data[2] = {};
  ::capget(&header, data);
  for (unsigned half = 0; half < 2; ++half) {
    state.effective |= CapabilitySet{data[half].effective} << (32 * half);
    state.permitted |= CapabilitySet{data[half].permitted} << (32 * half);
    state.inheritable |= CapabilitySet{data[half].inheritable} << (32 * half);
  }
  for (unsigned number = 0; number < capability_count(); ++number)
    if (::prctl(PR_CAPBSET_READ, number, 0, 0, 0) == 1) state.bounding |= bit(number);
  return state;
}

}  // namespace vs::isolation
