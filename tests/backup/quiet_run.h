// What a pass of vbackup gets when a test calls it: says nothing, shows nothing, is never stopped.
#pragma once

#include "core/run_context.h"

namespace vs::test {

// To be derived from by a fixture.
class QuietRun {
 protected:
  Log log_{Verbosity::quiet};
  Progress progress_{log_, ProgressMode::never};
  PhaseTimer timer_;
  Cancel cancel_;
  RunContext context_{log_, progress_, timer_, cancel_, 2};
};

}  // namespace vs::test
