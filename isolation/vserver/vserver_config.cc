#include "isolation/vserver/vserver_config.h"

#include <fmt/format.h>
#include <sys/resource.h>
#include <unistd.h>

#include <algorithm>
#include <cctype>
#include <filesystem>
#include <functional>
#include <map>
#include <optional>

#include "core/durable/durable_file.h"
#include "core/escape.h"
#include "isolation/context/config_file.h"
#include "isolation/context/user_namespace.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;
using Setter = std::function<void(const ConfigLine&, VserverConfig&)>;

constexpr const char* kFlags[] = {"lock",     "sched",    "nproc",  "private",
                                  "fakeinit", "hideinfo", "ulimit", "minit"};
constexpr const char* kGuards[] = {"abstract-sockets"};

uint64_t bytes_of(const ConfigLine& line) {
  size_t used = 0;
  uint64_t number = 0;
  try {
    number = std::stoull(line.value, &used);
  } catch (const std::exception&) {
    bad_config(line, "a number of bytes, with K, M or G");
  }
  const std::string unit = line.value.substr(used);
  const int shift = unit == "K" ? 10 : unit == "M" ? 20 : unit == "G" ? 30 : 0;
  if (!unit.empty() && shift == 0) bad_config(line, "a number of bytes, with K, M or G");
  return number << shift;
}

std::string host_name(const ConfigLine& line) {
  const auto good = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '-' || c == '.' || c == '_';
  };
  if (line.value.size() > 64 || !std::all_of(line.value.begin(), line.value.end(), good))
    bad_config(line, "a host name");
  return line.value;
}

void take_addresses(const ConfigLine& line, VserverConfig& config) {
  const auto words = words_of(line.value);
  if (words.empty() || words == std::vector<std::string>{"0.0.0.0"} ||
      words == std::vector<std::string>{"ALL"}) {
    config.has_own_addresses = false;
    return;
  }
  if (words.size() > kMostAddresses) bad_config(line, fmt::format("at most {} addresses", kMostAddresses));
  for (const auto& word : words) {
    try {
      config.addresses.push_back(parse_address(word));
    } catch (const Error&) {
      bad_config({line.key, word, line.where}, "[INTERFACE:]ADDRESS[/LENGTH or /MASK] ...");
    }
  }
}

void take_gateways(const ConfigLine& line, VserverConfig& config) {
  for (const auto& word : words_of(line.value)) {
    BindAddress gateway;
    try {
      gateway = parse_address(word);
    } catch (const Error&) {
    }
    if (gateway == BindAddress{} || !gateway.device.empty() || gateway.prefix != 0)
      bad_config({line.key, word, line.where}, "ADDRESS of a gateway, one for IPv4 and one for IPv6");
    config.gateways.push_back(gateway);
  }
}

// "-H -u 1000": the words of the shell's ulimit.
void take_ulimit(const ConfigLine& line, VserverConfig& config) {
  struct Kind {
    const char* option;
    int resource;
    uint64_t unit;
  };
  constexpr Kind kinds[] = {
      {"-u", RLIMIT_NPROC, 1},   {"-n", RLIMIT_NOFILE, 1},     {"-f", RLIMIT_FSIZE, 1024},
      {"-v", RLIMIT_AS, 1024},   {"-d", RLIMIT_DATA, 1024},    {"-s", RLIMIT_STACK, 1024},
      {"-c", RLIMIT_CORE, 1024}, {"-l", RLIMIT_MEMLOCK, 1024}, {"-t", RLIMIT_CPU, 1}};
  const auto words = words_of(line.value);
  for (size_t i = 0; i < words.size(); ++i) {
    if (words[i] == "-H" || words[i] == "-S" || words[i] == "-HS") continue;
    const auto* kind = std::find_if(std::begin(kinds), std::end(kinds),
                                    [&](const Kind& one) { return words[i] == one.option; });
    if (kind == std::end(kinds) || i + 1 == words.size())
      bad_config(line, "options of ulimit with values: -u -n -f -v -d -s -c -l -t");
    ++i;
    config.rlimits.emplace_back(
        kind->resource,
        words[i] == "unlimited"
            ? RLIM_INFINITY
            : static_cast<uint64_t>(number_of({line.key, words[i], line.where}, 0, 1L << 50)) * kind->unit);
  }
}

void take_binds(const ConfigLine& line, VserverConfig& config) {
  for (const auto& word : words_of(line.value)) {
    const size_t colon = word.find(':');
    BindMount bind;
    bind.host = word.substr(0, colon);
    bind.guest = colon == std::string::npos ? "" : word.substr(colon + 1);
    if (bind.guest.ends_with(":ro")) {
      bind.read_only = true;
      bind.guest.resize(bind.guest.size() - 3);
    }
    if (!bind.host.starts_with('/') || !bind.guest.starts_with('/') || bind.guest.size() < 2)
      bad_config(line, "/host/directory:/guest/directory[:ro] ...");
    config.binds.push_back(bind);
  }
}

template <class Words>
std::vector<std::string> known_words(const ConfigLine& line, const Words& known) {
  std::string all;
  for (const char* one : known) all += (all.empty() ? "" : " ") + std::string(one);
  const auto words = words_of(line.value);
  for (const auto& word : words)
    if (std::find(std::begin(known), std::end(known), word) == std::end(known))
      bad_config({line.key, word, line.where}, "one of: " + all);
  return words;
}

void take_guards(const ConfigLine& line, VserverConfig& config) {
  for (auto word : words_of(line.value)) {
    if (!word.starts_with('!')) bad_config(line, "!NAME of a guard that may be missing: !abstract-sockets");
    word.erase(0, 1);
    config.waived.push_back(known_words({line.key, word, line.where}, kGuards).at(0));
  }
}

InitStyle init_style(const ConfigLine& line) {
  const std::map<std::string, InitStyle> styles = {{"auto", InitStyle::automatic},
                                                   {"systemd", InitStyle::systemd},
                                                   {"sysv", InitStyle::sysv},
                                                   {"rc", InitStyle::rc},
                                                   {"plain", InitStyle::plain}};
  const auto it = styles.find(line.value);
  if (it == styles.end()) bad_config(line, "auto, systemd, sysv, rc or plain");
  return it->second;
}

void take_capabilities(const ConfigLine& line, VserverConfig& config) {
  config.capability_changes = words_of(line.value);
  for (const auto& word : config.capability_changes) {
    try {
      apply_changes(0, {word});
    } catch (const Error&) {
      bad_config({line.key, word, line.where}, "names of capabilities, with ! before what is taken");
    }
  }
}

// yes, no, or the first of the host's ids that it gets.
void take_user_namespace(const ConfigLine& line, VserverConfig& config) {
  const bool number = !line.value.empty() &&
                      line.value.find_first_not_of("0123456789") == std::string::npos &&
                      line.value.size() <= 10;
  config.user_namespace = number || yes_or_no(line);
  // Below are the host's own users.
  if (number)
    config.first_id = static_cast<uint32_t>(number_of(line, kIdsOfGuest, 0xffffffffL - kIdsOfGuest));
}

const std::map<std::string, Setter>& setters() {
  static const std::map<std::string, Setter> table = {
      {"IPROOT", take_addresses},
      {"IPROOTDEV", [](const ConfigLine& line,
                       VserverConfig& config) { config.device = line.value == "none" ? "" : line.value; }},
      {"IPROOTMASK", [](const ConfigLine&, VserverConfig&) {}},   // looked at when all addresses are known
      {"IPROOTBCAST", [](const ConfigLine&, VserverConfig&) {}},  // the kernel makes it of address and mask
      {"ONBOOT", [](const ConfigLine& line, VserverConfig& config) { config.onboot = yes_or_no(line); }},
      {"PRIORITY",
       [](const ConfigLine& line, VserverConfig& config) { config.priority = number_of(line, 0, 999); }},
      {"PROFILE", [](const ConfigLine& line, VserverConfig& config) { config.profile = host_name(line); }},
      {"S_CAPS", take_capabilities},
      {"S_CONTEXT",
       [](const ConfigLine& line, VserverConfig& config) {
         config.context = line.value.empty() ? 0 : static_cast<unsigned>(number_of(line, 2, 49151));
       }},
      {"S_DOMAINNAME",
       [](const ConfigLine& line, VserverConfig& config) { config.domainname = host_name(line); }},
      {"S_HOSTNAME",
       [](const ConfigLine& line, VserverConfig& config) { config.hostname = host_name(line); }},
      {"S_NICE",
       [](const ConfigLine& line, VserverConfig& config) {
         config.nice = line.value.empty() ? 0 : number_of(line, -20, 19);
       }},
      {"S_FLAGS",
       [](const ConfigLine& line, VserverConfig& config) { config.flags = known_words(line, kFlags); }},
      {"ULIMIT", take_ulimit},
      {"NETWORK",
       [](const ConfigLine& line, VserverConfig& config) {
         if (line.value != "shared" && line.value != "private") bad_config(line, "shared or private");
         config.private_network = line.value == "private";
       }},
      {"GATEWAY", take_gateways},
      {"INIT", [](const ConfigLine& line, VserverConfig& config) { config.init = init_style(line); }},
      {"MEMORY",
       [](const ConfigLine& line, VserverConfig& config) { config.limits.memory = bytes_of(line); }},
      {"CPU",
       [](const ConfigLine& line, VserverConfig& config) {
         config.limits.cpu = static_cast<uint64_t>(number_of(line, 1, 100000));
       }},
      {"PIDS",
       [](const ConfigLine& line, VserverConfig& config) {
         config.limits.pids = static_cast<uint64_t>(number_of(line, 1, 1L << 22));
       }},
      {"DISK", [](const ConfigLine& line, VserverConfig& config) { config.disk = bytes_of(line); }},
      {"BIND", take_binds},
      {"USERNS", take_user_namespace},
      {"GUARD", take_guards}};
  return table;
}

unsigned mask_of(const ConfigLine& line) {
  try {
    return parse_address("0.0.0.0/" + line.value).prefix;
  } catch (const Error&) {
    bad_config(line, "a netmask");
  }
}

}  // namespace

bool VserverConfig::has_flag(const std::string& flag) const {
  return std::find(flags.begin(), flags.end(), flag) != flags.end();
}

void check_vserver_name(const std::string& name) {
  const auto good = [](char c) {
    return std::isalnum(static_cast<unsigned char>(c)) || c == '.' || c == '_' || c == '-';
  };
  if (name.empty() || name.size() > 64 || name[0] == '.' || name[0] == '-' ||
      !std::all_of(name.begin(), name.end(), good))
    throw Error(fmt::format("'{}' cannot name a vserver: expected up to 64 letters, digits, '.', '_' and "
                            "'-', beginning with a letter or digit",
                            escaped(name)),
                Exit::usage);
}

VserverConfig parse_vserver_config(const std::string& name, const std::string& file,
                                   const std::string& text) {
  VserverConfig config;
  config.name = name;
  unsigned mask = 0;
  bool told_addresses = false;
  std::optional<ConfigLine> gateway;
  for (const auto& line : parse_config(file, text)) {
    const auto it = setters().find(line.key);
    if (it == setters().end()) bad_config({line.key, line.key, line.where}, "a key that is known");
    it->second(line, config);
    if (line.key == "GATEWAY") gateway = line;
    if (line.key == "IPROOT") told_addresses = true;
    if (line.key == "IPROOTMASK" && !line.value.empty()) mask = mask_of(line);
  }
  if (gateway && !config.private_network)
    bad_config(*gateway, "NETWORK=private with it: on the host's network its own routes hold");
  config.has_own_addresses = told_addresses && config.has_own_addresses;
  for (auto& address : config.addresses) {
    if (address.device.empty()) address.device = config.device;
    if (address.prefix == 0) address.prefix = address.v6 ? 128 : mask != 0 ? mask : 32;
  }
  return config;
}

VserverConfig read_vserver_config(const Places& places, const std::string& name) {
  check_vserver_name(name);
  const std::string file = fmt::format("{}/{}.conf", places.conf, name);
  if (::access(file.c_str(), F_OK) != 0)
    throw Error(fmt::format("there is no vserver '{}': {} does not exist", name, file));
  VserverConfig config =
      parse_vserver_config(name, file, value_or_throw(read_whole(file, 1 << 20), Exit::usage));
  config.root = fmt::format("{}/{}", places.trees, name);
  return config;
}

std::vector<std::string> configured(const Places& places) {
  std::vector<std::string> names;
  std::error_code error;
  for (const auto& entry : fs::directory_iterator(places.conf, error)) {
    const std::string file = entry.path().filename();
    if (!file.ends_with(".conf") || file == "vunify.conf" || file == "vbackup.conf")
      continue;  // the settings of our other programs
    const std::string name = file.substr(0, file.size() - 5);
    try {
      check_vserver_name(name);
      names.push_back(name);
    } catch (const Error&) {  // somebody's backup file; no vserver can be named so
    }
  }
  std::sort(names.begin(), names.end());
  return names;
}

HostSettings read_host_settings(const Places& places) {
  HostSettings settings;
  if (::access(places.host_conf.c_str(), F_OK) != 0) return settings;
  for (const auto& line : read_config(places.host_conf)) {
    if (line.key == "BACKGROUND")
      settings.background = yes_or_no(line);
    else if (line.key == "PROFILE")
      settings.profile = line.value;
    else if (line.key == "STOP_TIMEOUT")
      settings.stop_seconds = number_of(line, 0, 3600);
    else
      bad_config({line.key, line.key, line.where}, "BACKGROUND, PROFILE or STOP_TIMEOUT");
  }
  return settings;
}

}  // namespace vs::isolation
