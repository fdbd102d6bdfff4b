#include "tests/crash/crash_host.h"

#include <cstdlib>
#include <filesystem>
#include <limits>
#include <stdexcept>

#include "tests/support/inject.h"

namespace vs::test {

HostOptions small_host(const std::string& filesystem) {
  HostOptions options;
  options.filesystem = filesystem;
  options.packages = {shared_package("one", "usr/share/one", 6), shared_package("two", "usr/lib/two", 5)};
  options.packages[1].files.push_back({"usr/lib/two/two-link", options.packages[1].files[0].content});
  options.prepare = [](const FakeGuest& guest) {
    const std::string dir = guest / "usr/lib/two";
    std::filesystem::remove(dir + "/two-link");
    std::filesystem::create_hard_link(dir + "/two-0", dir + "/two-link");
  };
  return options;
}

void must_do(const TestHost& host, const std::string& verb, const Command& more) {
  const auto result = host.vunify(verb, more);
  if (result.exit_code != 0) throw std::runtime_error("preparing with " + verb + ": " + shown(result));
}

const std::vector<Task>& all_tasks() {
  const auto nothing = [](const TestHost&) {};
  const auto unified = [](const TestHost& host) { must_do(host, "run"); };
  static const std::vector<Task> tasks = {
      {"run_one_thread", "run", {"-j1"}, nothing},
      {"run_two_threads", "run", {"-j2"}, nothing},
      // Masters are opened for one more name: the unsealed window.
      {"run_masters_gain_names",
       "run",
       {"-j1"},
       [](const TestHost& host) {
         must_do(host, "run", {"alpha", "beta"});
       }},
      {"release", "release", {"alpha"}, unified},
      {"undo", "undo", {"last"}, unified},
      {"gc",
       "gc",
       {},
       [](const TestHost& host) {
         must_do(host, "run");
         for (const auto& guest : host.guests()) must_do(host, "release", {guest.name()});
       }},
      // Recovery itself is killed.
      {"recover",
       "recover",
       {},
       [](const TestHost& host) {
         run(with_injection(host.command("run", {"-j1"}), "renameat2", "signal=KILL", "9"));
       }},
  };
  return tasks;
}

const Task& task(const std::string& name) {
  for (const auto& one : all_tasks())
    if (one.name == name) return one;
  throw std::logic_error("no task " + name);
}

size_t most_steps(size_t sampled) {
  return std::getenv("VS_CRASH_FULL") != nullptr ? std::numeric_limits<size_t>::max() : sampled;
}

bool anything_left_out() {
  return std::getenv("VS_CRASH_ONLY") != nullptr;
}

bool left_out(const std::string& syscall) {
  const char* only = std::getenv("VS_CRASH_ONLY");
  return only != nullptr && syscall != only;
}

}  // namespace vs::test
