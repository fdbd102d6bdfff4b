// Small Debian guests made in milliseconds: a few packages with files, dpkg's records of them with true MD5
// sums, merged /usr, configuration and private data. Two guests given the same packages hold equal files of
// equal class.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

namespace vs::test {

struct FakeFile {
  std::string path;  // guest-relative
  std::string content;
  uint32_t mode = 0644;
  int64_t mtime_ns = 1'600'000'000'123'456'789;
  bool conffile = false;
};

struct FakePackage {
  std::string name;
  std::string version = "1.0-1";
  std::vector<FakeFile> files;
};

// Content whose every 64 bytes tell where they come from, so that a foreign byte found anywhere names its
// owner.
std::string tagged_bytes(const std::string& tag, size_t size);

// A package of `count` files NAME-0, NAME-1, ... in `dir`, of 1 byte to some blocks each.
FakePackage shared_package(const std::string& name, const std::string& dir, int count);

class FakeGuest {
 public:
  // Makes the tree: skeleton, private files that name the guest, the packages.
  FakeGuest(std::string name, std::string root, const std::vector<FakePackage>& packages);
  const std::string& name() const { return name_; }
  const std::string& root() const { return root_; }
  std::string operator/(const std::string& path) const { return root_ + "/" + path; }
  const std::vector<FakePackage>& packages() const { return packages_; }

 private:
  std::string name_, root_;
  std::vector<FakePackage> packages_;
};

// The records alone, as dpkg would write them: path below var/lib/dpkg -> content.
std::map<std::string, std::string> dpkg_records(const std::vector<FakePackage>& packages);

void write_fake_file(const std::string& root, const FakeFile& file);
void set_mtime(const std::string& path, int64_t mtime_ns);
// A chain of directories whose path is longer than PATH_MAX (4096), with `content` in a file "bottom" at its
// end.
void make_deep_tree(const std::string& root, const std::string& dir, const std::string& content);

}  // namespace vs::test
