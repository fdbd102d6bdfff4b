// A host of small vservers for one test: places of its own, a network namespace of its own, guests of one
// static busybox and an attacker.
#pragma once

#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/run.h"
#include "tests/support/skip.h"
#include "tests/support/temp_dir.h"

namespace vs::test {

class IsolationHost {
 public:
  // Why this machine cannot run such tests; nothing if it can.
  static std::optional<Obstacle> impossible();
  // `pool` is where trees/ is to be made, for tests that need a certain filesystem; "": beside the rest.
  explicit IsolationHost(const std::string& pool = "");
  ~IsolationHost();  // stops all, and fails the test when anything of it remains
  IsolationHost(const IsolationHost&) = delete;
  IsolationHost& operator=(const IsolationHost&) = delete;

  // A guest's tree and NAME.conf with these lines. Returns its name, unique on this machine: cgroups are the
  // host's.
  std::string add(const std::string& name, const std::string& conf);
  // A guest whose tree a command of tests/support/guests.sh makes: {"debian", SUITE, "", PACKAGES}, with ""
  // where the tree's path goes. Made once, then kept in the user's cache.
  std::string add_real(const std::string& name, const std::string& conf, Command recipe);
  std::string add_debian(const std::string& name, const std::string& conf,
                         const std::string& packages);  // of this machine's release
  void configure(const std::string& name, const std::string& conf);
  std::string tree(const std::string& name) const { return trees_ + "/" + name; }
  std::string path(const std::string& below) const { return dir_ / below; }
  RunResult vserver(const std::string& name, std::vector<std::string> words,
                    std::map<std::string, std::string> env = {}, std::vector<std::string> options = {}) const;
  // The same in the network that this machine has, for what fetches packages.
  RunResult vserver_on_the_network(const std::string& name, std::vector<std::string> words) const;
  std::unique_ptr<Process> background(const std::string& name, std::vector<std::string> words) const;
  RunResult tool(Command command) const;                   // chcontext and so on, by name
  std::map<std::string, std::string> environment() const;  // for tools that stay in the background
  // Ends a tool of background() or one that stays, with what it runs, and removes the entry of its context.
  void end(Process& process) const;
  // Waits until a program in the guest has made the file; false if it has not in ten seconds.
  bool appears(const std::string& name, const std::string& file) const;
  // `attacker WORDS` by root inside.
  RunResult attack(const std::string& name, std::vector<std::string> words) const;
  // What is left of any vserver: addresses on lo beside its own, interfaces, cgroups, entries. "" when
  // nothing is.
  std::string left_behind() const;

 private:
  std::string name_of(const std::string& given, const std::string& conf);
  TempDir dir_;
  std::string trees_;
  std::vector<std::string> names_;
};

}  // namespace vs::test

#define VS_NEEDS_ISOLATION() VS_STOP_IF(vs::test::IsolationHost::impossible())
