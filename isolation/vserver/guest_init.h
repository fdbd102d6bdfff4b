// Which init a guest has, how it is begun, and how it is asked to end.
#pragma once

#include <string>

#include "core/error.h"
#include "isolation/vserver/vserver_config.h"

namespace vs::isolation {

// Looks into the root it runs in (the guest's), where INIT=auto: a runlevel script that needs no init is
// preferred, as the original did, unless S_FLAGS has fakeinit; then what /sbin/init is; then /etc/rc2.d; else
// nothing but our own process 1.
InitStyle detect_init(const VserverConfig& config);
const char* init_style_name(InitStyle style);
InitStyle init_style_named(const std::string& name);

// Input is nothing, output a file of the guest's own /run: no descriptor of the host goes in. Called in the
// guest's root, before confine().
Result own_standard_files();

// In process 1 of the guest, confined. Does not return when the guest's own init is executed.
int run_guest_init(InitStyle style);

// Run inside, confined: the guest's own way of shutting down. Returns when its stop scripts are done (rc) or
// have been asked for (sysv).
int run_guest_shutdown(InitStyle style);
bool has_shutdown(InitStyle style);
// What process 1 is sent to end.
int end_signal(InitStyle style);

}  // namespace vs::isolation
