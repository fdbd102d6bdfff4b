// Waiting for something another process does: the one way to do it in tests. A fixed sleep is too short on a
// busy machine and too long on all others.
#pragma once

#include <chrono>
#include <functional>

namespace vs::test {

// Asks again and again, each some 10 ms, until `condition` holds or `limit` has passed; what it said last.
// The limit is for a test that fails: make it generous.
bool within(std::chrono::milliseconds limit, const std::function<bool()>& condition);

}  // namespace vs::test
