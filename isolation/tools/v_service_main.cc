// v_SERVICE: a service of the host itself, tied to addresses. One program under many names: as v_named it
// runs /etc/init.d/named with the addresses of /etc/vservices/named.conf, so that a vserver can have a name
// server on the others.
#include <fmt/format.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <cstdlib>
#include <cstring>

#include "core/error.h"
#include "core/escape.h"
#include "isolation/context/arguments.h"
#include "isolation/context/config_file.h"
#include "isolation/context/places.h"
#include "isolation/network/bind_self.h"

namespace {

using namespace vs;
using namespace vs::isolation;

constexpr const char* kOwnName = "v_service";
constexpr const char* kScripts = "/etc/init.d";  // VS_INIT_SCRIPTS moves it

// It goes into two paths.
void check_service(const std::string& name) {
  const auto good = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-' || c == '@';
  };
  if (name.empty() || name[0] == '.' || name[0] == '-' || !std::all_of(name.begin(), name.end(), good))
    throw Error(fmt::format("'{}' cannot name a service", escaped(name)), Exit::usage);
}

std::vector<std::string> addresses_of(const std::string& service) {
  const std::string file = fmt::format("{}/{}.conf", places_from_environment().services, service);
  if (::access(file.c_str(), F_OK) != 0)
    throw Error(fmt::format("service {} has no addresses: {} does not exist", service, file));
  std::vector<std::string> addresses;
  for (const auto& line : read_config(file)) {
    if (line.key != "IP") bad_config({line.key, line.key, line.where}, "IP=\"INTERFACE or ADDRESS ...\"");
    addresses = words_of(line.value);
    if (addresses.empty()) bad_config(line, "at least one interface or address");
  }
  // Without the line the service would be on all addresses: never by mistake.
  if (addresses.empty())
    throw Error(fmt::format("{}: expected IP=\"INTERFACE or ADDRESS ...\"", file), Exit::usage);
  return addresses;
}

int run(int argc, char** argv) {
  const char* slash = std::strrchr(argv[0], '/');
  const std::string program = slash == nullptr ? argv[0] : slash + 1;
  const bool named = program.starts_with("v_") && program != kOwnName;
  Arguments arguments(
      program, named ? "start|stop|restart|..." : "SERVICE start|stop|restart|...",
      "Runs the init script of a service of this host so that it has only the addresses of "
      "/etc/vservices/SERVICE.conf, IP=\"eth0 1.2.3.4\". Links to this program give the name\n"
      "of the service: ln -s v_service /usr/sbin/v_SERVICE. Root only.",
      fmt::format("Exit codes: that of the script; 125 when it could not be tried, 126 when the script could "
                  "not be run, 127 when there is none.\nExample:    {} {}start",
                  program, named ? "" : "named "));
  auto words = arguments.parse(argc, argv);
  const std::string service = named ? program.substr(2) : words.empty() ? "" : words[0];
  if (!named && !words.empty()) words.erase(words.begin());
  if (words.empty())
    throw Error(
        fmt::format("expected {}; see {} --help",
                    named ? "what to do with the service" : "a service and what to do with it", program),
        Exit::usage);
  check_service(service);
  if (::geteuid() != 0) throw Error("must be run by root");
  const char* scripts = std::getenv("VS_INIT_SCRIPTS");
  words.insert(words.begin(), fmt::format("{}/{}", scripts == nullptr ? kScripts : scripts, service));
  bind_self(addresses_of(service), false);
  // Debian's scripts hand on to systemd, which would start the service where nothing ties it.
  ::setenv("SYSTEMCTL_SKIP_REDIRECT", "1", 1);
  return exec_program(program, words);
}

}  // namespace

int main(int argc, char** argv) {
  return run_tool("v_service", 125, [&] { return run(argc, argv); });
}
