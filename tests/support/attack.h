// The scene of an attack: a host whose guests alpha and beta are full of hostile processes while gamma and
// delta are quiet and only read; beside the trees, things that nobody may touch.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "tests/support/chaos.h"
#include "tests/support/open_watch.h"
#include "tests/support/test_host.h"

namespace vs::test {

struct AttackOutcome {
  std::string trouble;             // everything that must not have happened; "" when all is well
  uint64_t done = 0, refused = 0;  // by the actors
  uint64_t put_back = 0;           // files whose class was restored by sealing
  std::string by_role;             // "writer 120/13 ...": done/refused
};

class AttackHost {
 public:
  AttackHost(const std::string& filesystem, uint32_t seed, const std::string& scope = "packages");
  TestHost& host() { return *host_; }
  void start();
  // Ends the chaos and compares: every guest holds what it wrote last, nobody opened or changed what lies
  // outside.
  // `when_quiet` runs after the last actor has ended and before anything is looked at.
  AttackOutcome stop(const std::function<void()>& when_quiet = {});

 private:
  std::string outside() const { return host_->pool() + "/outside"; }
  // A file of the host on another filesystem than the pool. (Not one of /etc: other processes of the machine
  // open those.)
  std::string secret() const { return elsewhere_ / "secret"; }
  void make_outside();
  void add_actors(const std::string& guest);
  TempDir elsewhere_;
  std::unique_ptr<TestHost> host_;
  std::vector<TreeSnapshot> before_;
  TreeSnapshot outside_before_;
  std::vector<std::string> outside_identity_;
  std::unique_ptr<OpenWatch> watch_;
  Chaos chaos_;
  uint32_t seed_;
};

}  // namespace vs::test
