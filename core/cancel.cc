#include "core/cancel.h"

#include <csignal>

namespace vs {
namespace {
std::atomic<Cancel*> the_cancel{nullptr};

void on_signal(int signal) {
  Cancel* cancel = the_cancel;
  if (cancel != nullptr) cancel->request();
  std::signal(signal, SIG_DFL);
}
}  // namespace

void install_signal_handlers(Cancel& cancel) {
  the_cancel = &cancel;
  struct sigaction action {};
  action.sa_handler = on_signal;
  action.sa_flags = SA_RESTART;
  sigaction(SIGINT, &action, nullptr);
  sigaction(SIGTERM, &action, nullptr);
  std::signal(SIGIO, SIG_IGN);
  std::signal(SIGPIPE, SIG_IGN);
}

}  // namespace vs
