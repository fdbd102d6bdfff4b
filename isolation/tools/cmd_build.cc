// build, delete: making a vserver out of nothing, and nothing out of a vserver.
#include <fmt/format.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <filesystem>
#include <fstream>
#include <sstream>

#include "core/durable/durable_file.h"
#include "core/error.h"
#include "core/escape.h"
#include "core/store/store_place.h"
#include "core/tree/root_dir.h"
#include "isolation/context/arguments.h"
#include "isolation/context/run_program.h"
#include "isolation/tools/vserver_verbs.h"
#include "isolation/trees/clone.h"
#include "isolation/trees/guest_tools.h"
#include "isolation/trees/tree.h"
#include "isolation/vserver/lifecycle.h"
#include "isolation/vserver/vserver_config.h"

namespace vs::isolation {
namespace {

namespace fs = std::filesystem;

struct Build {
  std::string method = "skeleton", from, suite, packages, ip, device, hostname;
};

Build parse(const VerbOptions& options) {
  Build build;
  Arguments arguments("vserver NAME build", "[OPTION...]",
                      "Makes the tree and NAME.conf. skeleton: only what any tree has; template: unpacks "
                      "--from, a tar file; debootstrap: a Debian of --suite from the mirrors of this\n"
                      "host, by mmdebstrap; rpm: the packages in directory --from, or in files\n"
                      "named there, by rpm, with their scripts; clone: a copy of vserver --from, which must "
                      "not run: what vunify shares is shared with it,\n"
                      "the rest reflinked where the filesystem can.",
                      "Exit codes: 0 done, 1 failed and nothing is left, 2 usage.\nExample:    vserver web1 "
                      "build --method debootstrap --ip 192.168.1.2/24 --ondev eth0");
  arguments.value("--method", "METHOD", build.method, "skeleton, template, clone, debootstrap or rpm");
  arguments.value("--from", "FILE|DIR|NAME", build.from,
                  "what template unpacks, rpm installs (FILE,... or DIR) or clone copies");
  arguments.value("--suite", "SUITE", build.suite,
                  "the release for debootstrap; this host's own if not said");
  arguments.value("--packages", "NAME,...", build.packages, "packages beside the minimum for debootstrap");
  arguments.value("--ip", "ADDRESS", build.ip, "IPROOT of NAME.conf");
  arguments.value("--ondev", "INTERFACE", build.device, "IPROOTDEV of NAME.conf");
  arguments.value("--hostname", "NAME", build.hostname, "S_HOSTNAME of NAME.conf");
  std::vector<std::string> words = {"build"};
  words.insert(words.end(), options.words.begin(), options.words.end());
  std::vector<char*> argv;
  for (auto& word : words) argv.push_back(word.data());
  if (!arguments.parse(static_cast<int>(argv.size()), argv.data()).empty())
    throw Error("build: expected options only; see vserver NAME build --help", Exit::usage);
  return build;
}

// The sources of this host's own apt: mmdebstrap would take the public mirror.
std::vector<std::string> apt_sources() {
  std::vector<std::string> files;
  std::error_code error;
  if (fs::file_size("/etc/apt/sources.list", error) > 0 && !error) files.push_back("/etc/apt/sources.list");
  for (const auto& entry : fs::directory_iterator("/etc/apt/sources.list.d", error))
    if (entry.path().extension() == ".list" || entry.path().extension() == ".sources")
      files.push_back(entry.path());
  return files;
}

std::vector<std::string> rpm_files(const std::string& from) {
  std::vector<std::string> files;
  if (from.empty()) throw Error("build: method rpm needs --from DIR or FILE,...", Exit::usage);
  if (!fs::is_directory(from)) {
    std::istringstream words(from);
    for (std::string file; std::getline(words, file, ',');) files.push_back(fs::absolute(file));
    return files;
  }
  for (const auto& entry : fs::directory_iterator(from))
    if (entry.path().extension() == ".rpm") files.push_back(fs::absolute(entry.path()));
  std::sort(files.begin(), files.end());
  if (files.empty()) throw Error(fmt::format("build: no .rpm in {}", escaped(from)), Exit::usage);
  return files;
}

// In one transaction, so that rpm sees to the order; what a package needs and is not there is told by rpm,
// and nothing is left.
void install_rpms(const std::string& from, const std::string& tree) {
  const auto files = rpm_files(from);
  // What scripts want before any package is there. No more: a file that is there keeps rpm from putting its
  // own.
  const std::string dev = tree + "/dev", null = dev + "/null";
  if (::mkdir(dev.c_str(), 0755) != 0 || ::mknod(null.c_str(), S_IFCHR | 0666, ::makedev(1, 3)) != 0)
    throw Error(problem_from_errno("make", null).message);
  std::vector<std::string> command = {"rpm", "--root", tree, "-i"};
  // Debian's rpm refuses to install unless told that this is not the host.
  if (::access("/etc/debian_version", F_OK) == 0) command.push_back("--force-debian");
  command.insert(command.end(), files.begin(), files.end());
  run_program(command);
  ::unlink(null.c_str());
}

std::string host_release() {
  const std::string key = "VERSION_CODENAME=";
  std::ifstream file("/etc/os-release");
  for (std::string line; std::getline(file, line);)
    if (line.starts_with(key)) return line.substr(key.size());
  return {};
}

void fill(Runtime& runtime, const Build& build, const std::string& tree) {
  if (build.method == "template") {
    if (build.from.empty()) throw Error("build: method template needs --from FILE", Exit::usage);
    run_program({"tar", "--numeric-owner", "--xattrs", "--xattrs-include=*", "-xpf", build.from, "-C", tree});
  } else if (build.method == "debootstrap") {
    std::vector<std::string> command = {"mmdebstrap", "--quiet", "--variant=minbase"};
    if (!build.packages.empty()) command.push_back("--include=" + build.packages);
    const std::string own = host_release(), suite = build.suite.empty() ? own : build.suite;
    if (suite.empty())
      throw Error("build: this host's /etc/os-release names no release (VERSION_CODENAME); say --suite",
                  Exit::usage);
    command.insert(command.end(), {suite, tree});
    // They name one release; for another one the public mirror is right.
    const auto sources = suite == own ? apt_sources() : std::vector<std::string>();
    command.insert(command.end(), sources.begin(), sources.end());
    run_program(command);
  } else if (build.method == "rpm") {
    install_rpms(build.from, tree);
  } else if (build.method == "clone") {
    check_vserver_name(build.from);
    // A copy of a tree that changes meanwhile is of no moment.
    if (running_context(runtime, build.from))
      throw Error(fmt::format("vserver {} is running; stop it to clone it", build.from));
    const auto counts = clone_tree(fmt::format("{}/{}", runtime.places.trees, build.from), tree,
                                   runtime.places.vunify_conf(), runtime.log);
    if (counts.copied > 0)
      runtime.log.warning(fmt::format(
          "{} shared files are in use or have as many names as possible and were copied", counts.copied));
  } else if (build.method != "skeleton") {
    throw Error(fmt::format("build: '{}' is no method: skeleton, template, clone, debootstrap, rpm",
                            escaped(build.method)),
                Exit::usage);
  }
  if (build.method == "clone") return;  // a clone is what its model is
  ok_or_throw(make_skeleton(tree));
  value_or_throw(install_guest_tools(tree));
}

std::string conf_text(const Build& build) {
  std::string text = "ONBOOT=\"no\"\n";
  const auto add = [&text](const char* key, const std::string& value) {
    if (!value.empty()) text += fmt::format("{}=\"{}\"\n", key, value);
  };
  add("IPROOT", build.ip);
  add("IPROOTDEV", build.device);
  add("S_HOSTNAME", build.hostname);
  return text;
}

}  // namespace

int cmd_build(const VerbOptions& options) {
  const Build build = parse(options);
  Log log(Verbosity::normal, "vserver");
  Runtime runtime = make_runtime(log);
  const std::string conf = fmt::format("{}/{}.conf", runtime.places.conf, options.name),
                    tree = fmt::format("{}/{}", runtime.places.trees, options.name);
  if (::access(conf.c_str(), F_OK) == 0)
    throw Error(fmt::format("vserver {} exists: {}", options.name, conf));
  const std::string text = conf_text(build);
  parse_vserver_config(options.name, "build", text);  // what is wrong is told before anything is made
  std::error_code error;
  // Nobody but root looks into the trees from the host: set-id programs of guests are in there.
  if (fs::create_directories(runtime.places.trees, error)) ::chmod(runtime.places.trees.c_str(), 0700);
  fs::create_directories(runtime.places.conf, error);
  if (::mkdir(tree.c_str(), 0755) != 0) throw Error(problem_from_errno("create", tree).message);
  try {
    fill(runtime, build, tree);
    ok_or_throw(write_durably(conf, text, 0644));
  } catch (...) {
    static_cast<void>(remove_tree(tree).has_value());
    throw;
  }
  if (!options.silent) fmt::print("Server {} is built in {}, configured in {}\n", options.name, tree, conf);
  return 0;
}

int cmd_delete(const VerbOptions& options) {
  if (!options.words.empty()) throw Error("delete takes no words", Exit::usage);
  Log log(Verbosity::normal, "vserver");
  Runtime runtime = make_runtime(log);
  const std::string conf = fmt::format("{}/{}.conf", runtime.places.conf, options.name),
                    tree = fmt::format("{}/{}", runtime.places.trees, options.name);
  if (running_context(runtime, options.name))
    throw Error(fmt::format("vserver {} is running; stop it first", options.name));
  const bool has_tree = ::access(tree.c_str(), F_OK) == 0;
  if (!has_tree && ::access(conf.c_str(), F_OK) != 0)
    throw Error(fmt::format("there is no vserver '{}'", options.name));
  if (has_tree) {
    const auto locks = lock_stores(RootDir(tree), runtime.places.vunify_conf());
    ok_or_throw(remove_tree(tree));
  }
  // The configuration last: as long as anything is there the vserver is known.
  for (const auto& file : {conf, fmt::format("{}/{}.sh", runtime.places.conf, options.name)})
    if (::unlink(file.c_str()) != 0 && errno != ENOENT)
      throw Error(problem_from_errno("remove", file).message);
  if (!options.silent) fmt::print("Server {} is deleted\n", options.name);
  return 0;
}

}  // namespace vs::isolation
