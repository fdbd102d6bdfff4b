// Runs code that must chew what a hostile guest wrote, where it can do nothing but compute and answer.
//
// A child is forked that sees one directory (chroot), is nobody with no capability and no way to get any, has
// no descriptor but one pipe, no memory in common with anyone, limits on memory, processor time, file size
// and descriptors, and a seccomp allow-list without network, processes, exec, signals, mounts, ids or
// executable memory. It may be taken over: what it writes to the pipe is all it can do, and the reader must
// check every byte of that.
//
// Why fork and not fork+exec: a library has no program of its own to run. The parent may have threads: glibc
// makes malloc and stdio usable after fork, and `work` must use nothing else whose lock another thread of
// this process may hold. librpm and sqlite qualify because nothing in the parent calls them, ever. (The
// address sanitizer's allocator of gcc 12 is not usable after such a fork: under it a child may hang, and is
// stopped. Seen with threads that allocate all the time, 5 of 40.) The child is a copy of the parent's
// memory, so it can read what the parent knew, and can tell nobody.
#pragma once

#include <cstdint>
#include <functional>
#include <string>

namespace vs::unify {

struct SandboxLimits {
  uint64_t memory = 1ull << 30;      // bytes of address space on top of what the parent has mapped
  uint64_t file_size = 64ull << 20;  // bytes a file may grow to
  uint64_t output = 256ull << 20;    // bytes it may write to the pipe
  unsigned seconds = 60;             // of wall clock, and of processor time
};

struct SandboxOutcome {
  std::string output;
  bool finished = false;  // `work` returned
  std::string how;        // else: "killed by signal 31 (Bad system call)", "stopped after 60 s", ...
};

// `work` gets the directory as it is called inside, and the pipe's descriptor to write to. It runs in the
// child and its effects on memory are lost. Where the caller is not root: no chroot if user namespaces are
// not allowed, and the user stays who he is; everything else holds. Throws Error when the sandbox cannot be
// made.
SandboxOutcome run_in_sandbox(const std::string& directory, const SandboxLimits& limits,
                              const std::function<void(const std::string& directory, int out)>& work);

}  // namespace vs::unify
