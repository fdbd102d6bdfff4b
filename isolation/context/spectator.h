// Context 1 for a program: what chcontext --ctx 1, vps, vtop and vpstree have in common.
#pragma once

#include <functional>
#include <string>
#include <vector>

#include "isolation/confine/capabilities.h"
#include "isolation/context/arguments.h"
#include "isolation/context/context.h"

namespace vs::isolation {

// Forks a child that sees every process of every context and can signal, trace or enter none. `first` runs in
// it while it may still set its host name; then new namespaces and the capabilities that reach out are taken
// from it, whatever `keep` says, and `body` runs. Throws Error.
Child start_spectator(Contexts& contexts, CapabilitySet keep, const std::function<void()>& first,
                      const std::function<int()>& body);

// What vps, vpstree and vtop begin with: `program` with all that the command line says for it. Throws Error
// unless called by root.
std::vector<std::string> command_for_context_1(Arguments& arguments, int argc, char** argv,
                                               const std::string& program);

// COMMAND in context 1. `output` is a descriptor that becomes its stdout, or -1 for the caller's.
Child start_watching(Contexts& contexts, const std::string& program, const std::vector<std::string>& command,
                     int output);

// The child's exit status as a shell says it. Signals that are sent to this process meanwhile are passed on;
// those of the terminal reach the child by themselves.
int wait_and_pass_on(const Child& child);

}  // namespace vs::isolation
