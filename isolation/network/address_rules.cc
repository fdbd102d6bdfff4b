#include "isolation/network/address_rules.h"

namespace vs::isolation {

uint32_t loopback_of_context(unsigned number) {
  return 0x7f000001u | ((number & 0xffff) << 8);
}

BindAddress loopback6_of_vserver(const std::string& name) {
  BindAddress address = parse_address(
      "lo:fd5c:9a1e:70b3:7653::/128");  // a unique local prefix (RFC 4193) drawn once for all hosts
  uint64_t hash = 0xcbf29ce484222325;   // FNV-1a
  for (const char c : name) hash = (hash ^ static_cast<unsigned char>(c)) * 0x100000001b3;
  for (size_t i = 0; i < 8; ++i) address.bytes[8 + i] = static_cast<uint8_t>(hash >> (56 - 8 * i));
  return address;
}

}  // namespace vs::isolation
