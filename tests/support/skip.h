// Skipping a test: only for a reason of the list in skip_reasons.def, and never for want of a package. What
// packaging/install-packages brings is there, or the test fails.
#pragma once

#include <fmt/format.h>
#include <gtest/gtest.h>
#include <unistd.h>

#include <cstdlib>
#include <optional>
#include <string>

#include "tests/support/run.h"

namespace vs::test {

#define VS_SKIP_REASON(name, word, ceiling) name,
enum class Skip {
#include "tests/support/skip_reasons.def"
};
#undef VS_SKIP_REASON

constexpr const char* word_of(Skip reason) {
#define VS_SKIP_REASON(name, word, ceiling) word,
  constexpr const char* kWords[] = {
#include "tests/support/skip_reasons.def"
  };
#undef VS_SKIP_REASON
  return kWords[static_cast<int>(reason)];
}

// What keeps a test from running here.
struct Obstacle {
  std::optional<Skip> reason;  // none: a package is missing, and the test fails
  std::string text;
};

// A machine in qemu is not installed from packaging/: the script that runs tests in it says in
// $VS_MACHINE_LACKS, with blanks in between, which programs it does without.
inline Obstacle missing(const std::string& program, const std::string& package) {
  const char* lacks = std::getenv("VS_MACHINE_LACKS");
  if (lacks && fmt::format(" {} ", lacks).find(fmt::format(" {} ", program)) != std::string::npos)
    return {Skip::kMachine, fmt::format("this machine does without {}", program)};
  return {std::nullopt, program + " is missing: packaging/install-packages brings the package " + package};
}
inline std::optional<Obstacle> without_program(const std::string& program, const std::string& package) {
  if (have_program(program)) return std::nullopt;
  return missing(program, package);
}

}  // namespace vs::test

// VS_SKIP(kKernel) << "this kernel has no quota";
#define VS_SKIP(reason) GTEST_SKIP() << '[' << vs::test::word_of(vs::test::Skip::reason) << "] "

// Goes on if the std::optional<Obstacle> is empty; else the test is skipped, or fails for want of a package.
#define VS_STOP_IF(found)                                                                  \
  if (const std::optional<vs::test::Obstacle> obstacle = (found)) {                        \
    if (!obstacle->reason) GTEST_FAIL() << obstacle->text;                                 \
    GTEST_SKIP() << '[' << vs::test::word_of(*obstacle->reason) << "] " << obstacle->text; \
  }                                                                                        \
  static_assert(true)
#define VS_NEEDS_PROGRAM(program, package) VS_STOP_IF(vs::test::without_program(program, package))
#define VS_NEEDS_ROOT(what) \
  if (::geteuid() != 0) VS_SKIP(kRoot) << what
