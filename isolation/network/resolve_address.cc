// Apart from the rest of bind_address.h: who looks names up cannot be linked statically.
#include <fmt/format.h>
#include <netdb.h>

#include "core/escape.h"
#include "isolation/network/bind_address.h"

namespace vs::isolation {

std::vector<BindAddress> resolve_address(const std::string& text) {
  try {
    return {parse_address(text)};
  } catch (const Error&) {
    if (text.find('/') != std::string::npos && text.find(':') != std::string::npos) throw;
  }
  std::vector<BindAddress> found = addresses_of(text);
  if (found.empty()) {
    addrinfo* answers = nullptr;
    const int failed = ::getaddrinfo(text.c_str(), nullptr, nullptr, &answers);
    if (failed != 0)
      throw Error(fmt::format("'{}' is no address, no network interface, and no known name: {}",
                              escaped(text), ::gai_strerror(failed)),
                  Exit::usage);
    for (const addrinfo* one = answers; one != nullptr; one = one->ai_next)
      add_address_of(one->ai_addr, found);
    ::freeaddrinfo(answers);
  }
  return found;
}

}  // namespace vs::isolation
