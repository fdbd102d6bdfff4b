// How a guest's tree is entered: through a private view in which no device can be opened, and with
// --cross-mounts also into the disk filesystems that are mounted in it.
#pragma once

#include <string>
#include <vector>

#include "core/tree/inventory.h"
#include "core/typed_number.h"

namespace vs::backup {

// Regular files are then opened in one step, through a private view of their filesystem in which devices
// cannot be opened. A guest for which there is none is read in two steps.
void see_through_private_mounts(std::vector<Guest>& guests);

// Lets each guest's root lead into the disk filesystems that are mounted in its tree. Returns, per guest,
// their paths there, in order.
TypedVector<GuestNumber, std::vector<std::string>> enter_mounts(std::vector<Guest>& guests);

}  // namespace vs::backup
