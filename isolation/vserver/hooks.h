// NAME.sh of a vserver: scripts of the administrator that run on the host.
#pragma once

#include <string>

#include "isolation/context/places.h"

namespace vs::isolation {

// `phase` is pre-start, post-start, pre-stop or post-stop. Nothing where there is no NAME.sh; throws Error
// where it fails or is not executable.
void run_hook(const Places& places, const std::string& name, const char* phase);

}  // namespace vs::isolation
