// README.txt of an archive set: how to restore without vbackup.
#pragma once

#include <string>

namespace vs::backup {

std::string readme_text();

}  // namespace vs::backup
