#include "tests/backup/backup_host.h"

#include <fcntl.h>
#include <gtest/gtest.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/un.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <filesystem>
#include <thread>

#include "tests/support/fake_guest.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;

std::string shell(const std::string& script) {
  return must_run({"bash", "-euc", script});
}

void make_socket(const std::string& dir) {
  const int fd = ::socket(AF_UNIX, SOCK_STREAM, 0);
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  // Bound by a short path: the tree's own may be longer than a socket's name.
  const std::string old = fs::current_path();
  fs::current_path(dir);
  std::strcpy(address.sun_path, "socket");
  ::bind(fd, reinterpret_cast<sockaddr*>(&address), sizeof address);
  fs::current_path(old);
  ::close(fd);
}

}  // namespace

std::string vbackup_path() {
  const char* given = std::getenv("VS_VBACKUP");
  return given != nullptr ? given : VS_BINARY_DIR "/vbackup";
}

BackupHost::BackupHost(const std::string& place) : place_(place.empty() ? dir_ / "trees" : place) {
  fs::create_directories(place_);
}

std::map<std::string, std::string> BackupHost::trees() const {
  return {{"alpha", tree("alpha")}, {"beta", tree("beta")}};
}

void BackupHost::make_guests() {
  // alpha has one of everything, beta shares some of it.
  shell("cd '" + place_ + R"sh('
    mkdir -p alpha/etc alpha/usr/bin alpha/empty beta/etc beta/usr/bin
    echo one > alpha/etc/one; echo two > alpha/etc/two; chmod 600 alpha/etc/two; chown 33:44 alpha/etc/two
    head -c 300000 /dev/urandom > alpha/usr/bin/program; chmod 4755 alpha/usr/bin/program
    ln alpha/usr/bin/program beta/usr/bin/program
    ln alpha/usr/bin/program alpha/usr/bin/again
    echo shared > alpha/etc/shared; ln alpha/etc/shared beta/etc/shared
    ln -s ../etc/one alpha/usr/link; ln alpha/usr/link alpha/usr/link2; ln alpha/usr/link beta/usr/link3
    ln -s /etc/passwd alpha/etc/outside; ln -s "$(printf 'x%.0s' $(seq 900))" alpha/etc/long-target
    echo own links > alpha/etc/l1; ln alpha/etc/l1 alpha/etc/l2; ln alpha/etc/l1 alpha/usr/l3
    mkfifo alpha/fifo; ln alpha/fifo alpha/fifo2; mknod alpha/null c 1 3; mknod alpha/disk b 250 70000; ln alpha/null beta/null
    head -c 11000000 /dev/urandom > alpha/large; ln alpha/large alpha/large2; head -c 9000000 /dev/zero > alpha/zeros
    truncate -s 300M alpha/sparse; printf data | dd of=alpha/sparse bs=1 seek=20000000 conv=notrunc status=none; printf end | dd of=alpha/sparse bs=1 seek=290000000 conv=notrunc status=none
    truncate -s 1M alpha/hole; truncate -s 100000 alpha/small-sparse; printf x | dd of=alpha/small-sparse bs=1 seek=70000 conv=notrunc status=none
    : > alpha/nothing
    printf 'odd' > alpha/etc/$'new\nline\033[31m'; printf 'bytes' > alpha/etc/$'\xff\xfe'; printf 'utf' > alpha/etc/ünïcode; printf 'back' > 'alpha/etc/back\slash'
    printf 'long' > alpha/etc/$(printf 'n%.0s' $(seq 255)); mkdir alpha/$(printf 'd%.0s' $(seq 200)); printf 'deep' > alpha/$(printf 'd%.0s' $(seq 200))/file
    chmod 1777 alpha/empty; chmod 2755 alpha/usr; chmod 000 beta/etc/shared
    touch -d '2001-02-03 04:05:06.123456789' alpha/etc/one; touch -d '1969-12-31 23:59:58.25 UTC' alpha/etc/two; touch -h -d '2002-03-04 05:06:07.5' alpha/usr/link
    touch -d '2010-01-01 00:00:00.000000001' alpha/empty alpha/etc alpha
    setfattr -n user.test -v value alpha/etc/one; setfattr -n user.dir -v value alpha/empty; setfattr -h -n trusted.symlink -v value alpha/usr/link
    setfattr -n user.equal=sign -v value alpha/etc/one
    setfacl -m u:1000:r,g:50:rw alpha/etc/one; setfacl -d -m u:1000:rwx alpha/empty
    setcap cap_net_raw+ep alpha/usr/bin/program
    # What not every filesystem has.
    chattr +d alpha/etc/l1 || true; chattr -p 77 alpha/etc/one 2>/dev/null || true
  )sh");
  make_socket(tree("alpha"));
  make_deep_tree(tree("alpha"), "deep", "at the bottom");
  set_immutable(tree("alpha") + "/etc/shared", true);
  set_mtime(tree("alpha") + "/etc", 1'262'304'000'000'000'001);
}

void BackupHost::change(int round) {
  const std::string n = std::to_string(round);
  shell("cd '" + place_ + "'; r=" + n + R"sh(
    echo round $r > alpha/etc/round; echo $r >> alpha/etc/log; echo $r > beta/etc/only-$r
    mkdir -p alpha/dir-$r/sub; echo x > alpha/dir-$r/sub/x
    case $r in
      1) rm alpha/etc/two; mv alpha/usr/l3 alpha/usr/l4; rm -r alpha/empty; echo file > alpha/empty; rm alpha/fifo; mkdir alpha/fifo; echo in > alpha/fifo/in
         ln alpha/etc/log alpha/etc/log-link ;;
      2) mv alpha/dir-1 alpha/dir-renamed; rm alpha/etc/outside; mkdir alpha/etc/outside; echo now > alpha/etc/outside/now; rm alpha/etc/l2; echo apart > alpha/etc/l2
         rm beta/usr/bin/program; echo replaced > beta/usr/bin/program; rm alpha/empty; ln -s etc alpha/empty; chmod 640 alpha/etc/one
         chattr -i beta/etc/shared; ln alpha/etc/shared alpha/etc/shared-too; chattr +i beta/etc/shared ;;
      3) rm -r alpha/etc/outside alpha/dir-renamed; ln alpha/etc/log alpha/etc/one-more; rm alpha/large; printf changed | dd of=alpha/sparse bs=1 seek=150000000 conv=notrunc status=none
         rm alpha/fifo/in; rmdir alpha/fifo; mknod alpha/fifo p; mv alpha/usr beta/usr-of-alpha; mkdir alpha/usr; echo small > alpha/usr/new; setfattr -n user.later -v 1 alpha/etc ;;
    esac
  )sh");
}

Command BackupHost::command(const std::string& verb, const Command& more) const {
  Command line{vbackup_path(), verb, "--to", "archive:" + set(), "--progress", "never"};
  line.insert(line.end(), more.begin(), more.end());
  return line;
}

RunResult BackupHost::create(const Command& more, const RunOptions& options) const {
  Command line = command("create", {"--init", "--state", dir_ / "state"});
  for (const auto& [name, path] : trees()) {
    line.push_back("--tree");
    line.push_back(name + "=" + path);
  }
  line.insert(line.end(), more.begin(), more.end());
  return run(line, options);
}

RunResult BackupHost::vbackup(const std::string& verb, const Command& more, const RunOptions& options) const {
  return run(command(verb, more), options);
}

std::map<std::string, std::string> BackupHost::restored(const std::string& name,
                                                        const std::string& time) const {
  // On the same filesystem as the trees, so that it can keep what they can.
  const std::string target = place_ + "-" + name;
  Command more{"--target", target};
  for (const auto& [guest, path] : trees()) more.push_back(guest + (time.empty() ? "" : "@" + time));
  const RunResult result = vbackup("restore", more);
  EXPECT_EQ(result.exit_code, 0) << shown(result) << result.err;
  return {{"alpha", target + "/alpha"}, {"beta", target + "/beta"}};
}

std::string BackupHost::last_stamp() const {
  std::string last;
  for (const auto& entry : fs::directory_iterator(set())) {
    const std::string name = entry.path().filename();
    if (name.starts_with("alpha-") && name.ends_with(".tar.zst"))
      last = std::max(last, name.substr(name.size() - 24, 16));
  }
  return last;
}

void BackupHost::let_clock_pass() {
  std::this_thread::sleep_for(std::chrono::milliseconds(2100));
}

}  // namespace vs::test
