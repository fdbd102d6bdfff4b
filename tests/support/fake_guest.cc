#include "tests/support/fake_guest.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <filesystem>
#include <numeric>
#include <set>
#include <stdexcept>

#include "tests/support/digest.h"
#include "tests/support/temp_dir.h"

namespace vs::test {
namespace {

namespace fs = std::filesystem;

void make_skeleton(const std::string& root, const std::string& name) {
  for (const char* dir :
       {"usr/bin", "usr/lib", "usr/share", "etc", "var/lib/dpkg/info", "home/user", "root", "tmp", "opt"})
    fs::create_directories(root + "/" + dir);
  for (const char* dir : {"bin", "lib"}) fs::create_symlink(std::string("usr/") + dir, root + "/" + dir);
  write_file(root + "/etc/hostname", name + "\n");
  write_file(root + "/etc/shadow", "root:secret-of-" + name + ":19000:0:99999:7:::\n");
  ::chmod((root + "/etc/shadow").c_str(), 0640);
  write_file(root + "/home/user/notes", tagged_bytes("guest=" + name + " private", 3000));
}

std::string list_of(const FakePackage& package) {
  std::set<std::string> lines{"/."};
  for (const auto& file : package.files) {
    lines.insert("/" + file.path);
    for (fs::path dir = fs::path(file.path).parent_path(); !dir.empty(); dir = dir.parent_path())
      lines.insert("/" + dir.string());
  }
  return fmt::format("{}\n", fmt::join(lines, "\n"));
}

std::string stanza_of(const FakePackage& package) {
  std::string text = fmt::format(
      "Package: {}\nStatus: install ok installed\nPriority: optional\nSection: misc\nInstalled-Size: 1\n"
      "Maintainer: Nobody <nobody@example.org>\nArchitecture: amd64\nVersion: {}\n",
      package.name, package.version);
  std::string conffiles;
  for (const auto& file : package.files)
    if (file.conffile) conffiles += fmt::format(" /{} {}\n", file.path, md5_hex(file.content));
  if (!conffiles.empty()) text += "Conffiles:\n" + conffiles;
  return text + fmt::format("Description: test package {}\n\n", package.name);
}

}  // namespace

std::string tagged_bytes(const std::string& tag, size_t size) {
  std::string bytes;
  bytes.reserve(size + 128);
  for (size_t line = 0; bytes.size() < size; ++line) bytes += fmt::format("{:<56}{:07}\n", tag, line);
  bytes.resize(size);
  return bytes;
}

FakePackage shared_package(const std::string& name, const std::string& dir, int count) {
  // One byte, less than a block, exactly a block, some blocks and a rest, a large one.
  constexpr size_t kSizes[] = {700, 4096, 10'000, 1, 20'480, 150'001};
  FakePackage package{name, "1.0-1", {}};
  for (int i = 0; i < count; ++i) {
    FakeFile file{fmt::format("{}/{}-{}", dir, name, i), "", i % 4 == 1 ? 0755U : 0644U};
    // A single byte must differ too, else the one-byte files of all packages are one content.
    const int mark = std::accumulate(name.begin(), name.end(), i);
    const std::string tag = "package=" + name + " file=" + std::to_string(i);
    file.content = kSizes[i % 6] == 1 ? std::string(1, static_cast<char>('0' + mark % 75))
                                      : tagged_bytes(tag, kSizes[i % 6]);
    package.files.push_back(std::move(file));
  }
  return package;
}

FakeGuest::FakeGuest(std::string name, std::string root, const std::vector<FakePackage>& packages)
    : name_(std::move(name)), root_(std::move(root)), packages_(packages) {
  make_skeleton(root_, name_);
  for (const auto& package : packages_)
    for (const auto& file : package.files) write_fake_file(root_, file);
  for (const auto& [path, content] : dpkg_records(packages_))
    write_file(root_ + "/var/lib/dpkg/" + path, content);
}

std::map<std::string, std::string> dpkg_records(const std::vector<FakePackage>& packages) {
  std::map<std::string, std::string> records;
  auto& status = records["status"];
  for (const auto& package : packages) {
    status += stanza_of(package);
    records["info/" + package.name + ".list"] = list_of(package);
    auto& sums = records["info/" + package.name + ".md5sums"];
    for (const auto& file : package.files) {
      if (!file.conffile)
        sums += md5_hex(file.content) + "  " + file.path + "\n";
      else
        records["info/" + package.name + ".conffiles"] += "/" + file.path + "\n";
    }
  }
  return records;
}

void write_fake_file(const std::string& root, const FakeFile& file) {
  const std::string path = root + "/" + file.path;
  write_file(path, file.content);
  ::chmod(path.c_str(), file.mode);
  set_mtime(path, file.mtime_ns);
}

void set_mtime(const std::string& path, int64_t mtime_ns) {
  const timespec times[2] = {{0, UTIME_OMIT}, {mtime_ns / 1'000'000'000, mtime_ns % 1'000'000'000}};
  if (::utimensat(AT_FDCWD, path.c_str(), times, AT_SYMLINK_NOFOLLOW) != 0)
    throw std::runtime_error(fmt::format("utimensat {}: {}", path, std::strerror(errno)));
}

void make_deep_tree(const std::string& root, const std::string& dir, const std::string& content) {
  fs::create_directories(root + "/" + dir);
  int at = ::open((root + "/" + dir).c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
  const std::string name(200, 'd');
  for (int depth = 0; depth < 25; ++depth) {  // 25 * 201 > 4096
    ::mkdirat(at, name.c_str(), 0755);
    const int next = ::openat(at, name.c_str(), O_PATH | O_DIRECTORY | O_CLOEXEC);
    ::close(at);
    at = next;
  }
  const int fd = ::openat(at, "bottom", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);
  const bool written =
      fd >= 0 && ::write(fd, content.data(), content.size()) == static_cast<ssize_t>(content.size());
  const timespec times[2] = {{0, UTIME_OMIT}, {1'600'000'000, 0}};
  if (!written || ::futimens(fd, times) != 0) throw std::runtime_error("cannot make the deep tree");
  ::close(fd);
  ::close(at);
}

}  // namespace vs::test
