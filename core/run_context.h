// What every pass gets besides its input: no globals.
#pragma once

#include "core/cancel.h"
#include "core/log.h"
#include "core/phase_timer.h"
#include "core/progress.h"

namespace vs {

struct RunContext {
  Log& log;
  Progress& progress;
  PhaseTimer& timer;
  Cancel& cancel;
  unsigned jobs = 1;  // threads a parallel pass may use
};

}  // namespace vs
