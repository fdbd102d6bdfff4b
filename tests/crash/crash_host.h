// A small host for runs that are killed or made to fail many hundred times.
#pragma once

#include <functional>
#include <string>

#include "tests/support/test_host.h"

namespace vs::test {

// One thing that vunify can be interrupted in: what happens before, and the command itself.
struct Task {
  std::string name;
  std::string verb;
  Command options;                               // of the command
  std::function<void(const TestHost&)> prepare;  // on fresh guests
};

// 3 guests with the same 12 files, two of them one inode in each guest.
HostOptions small_host(const std::string& filesystem);
void must_do(const TestHost& host, const std::string& verb, const Command& more = {});
// run with one and two threads; run where sealed masters gain names; release; undo; gc; recover.
const std::vector<Task>& all_tasks();
const Task& task(const std::string& name);

// VS_CRASH_FULL=1 takes every step instead of a sample.
size_t most_steps(size_t sampled);
// VS_CRASH_ONLY=renameat2 leaves the other system calls out, to reproduce one failure.
bool left_out(const std::string& syscall);
bool anything_left_out();

}  // namespace vs::test
