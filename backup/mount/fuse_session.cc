#include "backup/mount/fuse_session.h"

#define FUSE_USE_VERSION 312
#include <fmt/format.h>
#include <fuse_lowlevel.h>

#include <algorithm>
#include <atomic>
#include <cerrno>
#include <csignal>
#include <cstdarg>
#include <cstdio>

#include "backup/mount/troubles.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

// What a state holds never changes; the rest is asked again after a second.
constexpr double kForEver = 24 * 3600, kForNow = 1;
// Threads that serve: at least two, so that a state that is being loaded keeps nobody from all others.
constexpr unsigned kFewestThreads = 2;

// libfuse says what it has to say to a function without an argument.
std::atomic<Log*> log_of_libfuse{nullptr};

void log_libfuse(fuse_log_level, const char* format, va_list arguments) {
  char text[500];
  std::vsnprintf(text, sizeof text, format, arguments);
  std::string line = text;
  while (line.ends_with('\n')) line.pop_back();
  if (Log* log = log_of_libfuse) log->warning(escaped(line));
}

struct Served {
  MountTree& tree;
  Troubles troubles;
};

// Runs `body`, which replies or returns why not.
template <class Body>
void answer(fuse_req_t request, const Body& body) {
  auto& served = *static_cast<Served*>(fuse_req_userdata(request));
  int code = EIO;
  try {
    const Result done = body(served.tree);
    if (done) return;
    if (!done.error().message.empty()) served.troubles.tell(done.error().message);
    if (done.error().code > 0) code = done.error().code;
  } catch (const std::bad_alloc&) {
    code = ENOMEM;
  } catch (const std::exception& error) {
    served.troubles.tell(error.what());
  }
  fuse_reply_err(request, code);
}

template <class Held>
void hold(fuse_req_t request, fuse_file_info* info, const std::shared_ptr<Held>& held) {
  auto own = std::make_unique<std::shared_ptr<Held>>(held);
  info->fh = reinterpret_cast<uint64_t>(own.get());
  // Who was interrupted meanwhile does not release it.
  if (fuse_reply_open(request, info) == 0) static_cast<void>(own.release());
}

template <class Held>
std::shared_ptr<Held>* held_by(const fuse_file_info* info) {
  // FUSE keeps a number for us: what hold() made of the pointer.
  // NOLINTNEXTLINE(performance-no-int-to-ptr)
  return reinterpret_cast<std::shared_ptr<Held>*>(info->fh);
}

using OpenListing = const Listing;

// --- The operations ---------------------------------------------------------------------------------------

void init(void*, fuse_conn_info* connection) {
  // Else a mode whose group bits are the mask of an ACL would let the group do more than the ACL does.
  connection->want |= connection->capable & FUSE_CAP_POSIX_ACL;
}

void lookup(fuse_req_t request, fuse_ino_t parent, const char* name) {
  answer(request, [&](MountTree& tree) -> Result {
    const auto node = tree.lookup(parent, name);
    if (!node) return node.error();
    fuse_entry_param entry{};
    entry.ino = node->attributes.st_ino;
    entry.attr = node->attributes;
    entry.attr_timeout = entry.entry_timeout = node->fixed ? kForEver : kForNow;
    fuse_reply_entry(request, &entry);
    return Ok{};
  });
}

void getattr(fuse_req_t request, fuse_ino_t number, fuse_file_info*) {
  answer(request, [&](MountTree& tree) -> Result {
    const auto node = tree.node(number);
    if (!node) return node.error();
    fuse_reply_attr(request, &node->attributes, node->fixed ? kForEver : kForNow);
    return Ok{};
  });
}

void readlink(fuse_req_t request, fuse_ino_t number) {
  answer(request, [&](MountTree& tree) -> Result {
    const auto target = tree.target(number);
    if (!target) return target.error();
    fuse_reply_readlink(request, target->c_str());
    return Ok{};
  });
}

void open(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
  answer(request, [&](MountTree& tree) -> Result {
    const auto file = tree.open(number);
    if (!file) return file.error();
    info->keep_cache = 1;
    hold(request, info, *file);
    return Ok{};
  });
}

void read(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  answer(request, [&](MountTree&) -> Result {
    const auto bytes = (*held_by<StoredFile>(info))->read(static_cast<uint64_t>(offset), size);
    if (!bytes) return bytes.error();
    fuse_reply_buf(request, bytes->data(), bytes->size());
    return Ok{};
  });
}

void lseek(fuse_req_t request, fuse_ino_t, off_t offset, int whence, fuse_file_info* info) {
  answer(request, [&](MountTree&) -> Result {
    const auto place = (*held_by<StoredFile>(info))->seek(static_cast<uint64_t>(offset), whence == SEEK_HOLE);
    if (!place) return place.error();
    fuse_reply_lseek(request, static_cast<off_t>(*place));
    return Ok{};
  });
}

void release(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  delete held_by<StoredFile>(info);
  fuse_reply_err(request, 0);
}

void opendir(fuse_req_t request, fuse_ino_t number, fuse_file_info* info) {
  answer(request, [&](MountTree& tree) -> Result {
    const auto listing = tree.list(number);
    if (!listing) return listing.error();
    hold(request, info, *listing);
    return Ok{};
  });
}

void readdir(fuse_req_t request, fuse_ino_t, size_t size, off_t offset, fuse_file_info* info) {
  answer(request, [&](MountTree&) -> Result {
    const Listing& listing = **held_by<OpenListing>(info);
    std::string buffer(size, '\0');
    size_t used = 0;
    for (auto i = static_cast<size_t>(offset); i < listing.size(); ++i) {
      struct ::stat stat {};
      stat.st_ino = listing[i].number;
      stat.st_mode = listing[i].type;
      const size_t length = fuse_add_direntry(request, buffer.data() + used, size - used,
                                              listing[i].name.c_str(), &stat, static_cast<off_t>(i + 1));
      if (length > size - used) break;
      used += length;
    }
    fuse_reply_buf(request, buffer.data(), used);
    return Ok{};
  });
}

void releasedir(fuse_req_t request, fuse_ino_t, fuse_file_info* info) {
  delete held_by<OpenListing>(info);
  fuse_reply_err(request, 0);
}

// The value, or how long it is where `size` is 0.
Result reply_value(fuse_req_t request, const std::string& value, size_t size) {
  if (size == 0)
    fuse_reply_xattr(request, value.size());
  else if (value.size() > size)
    return Problem{ERANGE, ""};
  else
    fuse_reply_buf(request, value.data(), value.size());
  return Ok{};
}

void getxattr(fuse_req_t request, fuse_ino_t number, const char* name, size_t size) {
  answer(request, [&](MountTree& tree) -> Result {
    const auto all = tree.xattrs(number);
    if (!all) return all.error();
    const auto one =
        std::find_if(all->begin(), all->end(), [&](const Xattr& xattr) { return xattr.name == name; });
    if (one == all->end()) return Problem{ENODATA, ""};
    return reply_value(request, one->value, size);
  });
}

void listxattr(fuse_req_t request, fuse_ino_t number, size_t size) {
  answer(request, [&](MountTree& tree) -> Result {
    const auto all = tree.xattrs(number);
    if (!all) return all.error();
    std::string names;
    for (const auto& xattr : *all) names.append(xattr.name).push_back('\0');
    return reply_value(request, names, size);
  });
}

fuse_lowlevel_ops operations() {
  fuse_lowlevel_ops ops{};
  ops.init = init;
  ops.lookup = lookup;
  ops.getattr = getattr;
  ops.readlink = readlink;
  ops.open = open;
  ops.read = read;
  ops.lseek = lseek;
  ops.release = release;
  ops.opendir = opendir;
  ops.readdir = readdir;
  ops.releasedir = releasedir;
  ops.getxattr = getxattr;
  ops.listxattr = listxattr;
  return ops;
}

// libfuse's arguments, freed with their owner.
class Arguments {
 public:
  explicit Arguments(const MountPlace& place) {
    char* options = nullptr;
    const std::string source = "fsname=" + place.source;
    bool added = fuse_opt_add_opt(&options, "ro,nodev,nosuid,noexec,noatime,default_permissions") == 0 &&
                 fuse_opt_add_opt(&options, "subtype=vbackup") == 0 &&
                 fuse_opt_add_opt_escaped(&options, source.c_str()) == 0;
    if (place.allow_other) added = added && fuse_opt_add_opt(&options, "allow_other") == 0;
    added = added && fuse_opt_add_arg(&arguments_, "vbackup") == 0 &&
            fuse_opt_add_arg(&arguments_, "-o") == 0 && fuse_opt_add_arg(&arguments_, options) == 0;
    ::free(options);
    if (!added) throw std::bad_alloc();
  }
  ~Arguments() { fuse_opt_free_args(&arguments_); }
  Arguments(const Arguments&) = delete;
  fuse_args* get() { return &arguments_; }

 private:
  fuse_args arguments_ = FUSE_ARGS_INIT(0, nullptr);
};

}  // namespace

struct FuseSession::Impl {
  Served served;
  fuse_session* session = nullptr;
  bool mounted = false, signals = false;

  ~Impl() {
    if (signals) fuse_remove_signal_handlers(session);
    if (mounted) fuse_session_unmount(session);
    if (session != nullptr) fuse_session_destroy(session);
    log_of_libfuse = nullptr;
  }
};

FuseSession::FuseSession(MountTree& tree, const MountPlace& place, Log& log)
    : impl_(new Impl{{tree, Troubles(log)}}) {
  log_of_libfuse = &log;
  fuse_set_log_func(log_libfuse);
  Arguments arguments(place);
  const fuse_lowlevel_ops ops = operations();
  impl_->session = fuse_session_new(arguments.get(), &ops, sizeof ops, &impl_->served);
  if (impl_->session == nullptr) throw Error("libfuse gives no session");
  if (fuse_session_mount(impl_->session, place.directory.c_str()) != 0)
    throw Error("cannot mount on " + escaped(place.directory) + "; what libfuse says of it is above");
  impl_->mounted = true;
}

FuseSession::~FuseSession() = default;

void FuseSession::to_background() {
  std::fflush(nullptr);
  if (fuse_daemonize(0) != 0) throw Error("cannot go to the background");
}

void FuseSession::serve(unsigned threads) {
  // libfuse sets its handlers only where there are none: those of a command end it at a safe place, and
  // between two requests all places are safe.
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) std::signal(number, SIG_DFL);
  impl_->signals = fuse_set_signal_handlers(impl_->session) == 0;
  if (!impl_->signals) throw Error("cannot set signal handlers");
  const std::unique_ptr<fuse_loop_config, decltype(&fuse_loop_cfg_destroy)> config(fuse_loop_cfg_create(),
                                                                                   &fuse_loop_cfg_destroy);
  fuse_loop_cfg_set_max_threads(config.get(), std::max(threads, kFewestThreads));
  if (const int ended = fuse_session_loop_mt(impl_->session, config.get()); ended < 0)
    throw Error(problem_from(-ended, "serve", "the mount").message);
}

}  // namespace vs::backup
