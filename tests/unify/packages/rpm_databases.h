// Real rpm databases for tests: tiny packages built by rpmbuild, installed by rpm into a tree, and the same
// headers put into the two formats that Debian's rpm cannot write.
#pragma once

#include <cstdio>
#include <cstdlib>
#include <iterator>
#include <map>
#include <vector>

#include "tests/unify/packages/guest_tree.h"

namespace vs::unify {

// Runs a shell command; its output, and whether it ended well.
inline bool run_shell(const std::string& command, std::string* output = nullptr) {
  FILE* pipe = ::popen(("exec 2>&1; " + command).c_str(), "r");
  if (pipe == nullptr) return false;
  std::string text;
  char buffer[65536];
  for (size_t got = 0; (got = std::fread(buffer, 1, sizeof buffer, pipe)) > 0;) text.append(buffer, got);
  const bool ok = ::pclose(pipe) == 0;
  if (!ok && output == nullptr) std::fprintf(stderr, "%s\n%s\n", command.c_str(), text.c_str());
  if (output != nullptr) *output = text;
  return ok;
}

// tiny (epoch 5), sums (MD5 digests, as before rpm 4.6), other (takes over /usr/bin/shared when forced).
class RpmPackages {
 public:
  static const RpmPackages& get() {
    static const RpmPackages built;
    return built;
  }
  bool ok() const { return ok_; }
  std::string file(const std::string& name) const { return dir_.path() + "/noarch/" + name + ".noarch.rpm"; }

 private:
  RpmPackages() {
    ok_ = build("tiny", "Epoch: 5\n", "8",
                "mkdir -p %{buildroot}/usr/bin %{buildroot}/etc %{buildroot}/var/log "
                "%{buildroot}/usr/share/tiny\n"
                "echo tiny > %{buildroot}/usr/bin/tiny\necho shared > %{buildroot}/usr/bin/shared\n"
                "echo conf > %{buildroot}/etc/tiny.conf\ntouch %{buildroot}/var/log/tiny.log\n"
                "echo cache > %{buildroot}/usr/share/tiny/cache.dat\necho sp > "
                "'%{buildroot}/usr/share/tiny/a b'\n"
                "ln -s tiny %{buildroot}/usr/bin/link\n",
                "/usr/bin/tiny\n/usr/bin/shared\n/usr/bin/link\n%config(noreplace) /etc/tiny.conf\n%ghost "
                "/var/log/tiny.log\n"
                "%dir /usr/share/tiny\n%verify(not filedigest) "
                "/usr/share/tiny/cache.dat\n\"/usr/share/tiny/a b\"\n") &&
          build("sums", "", "1", "mkdir -p %{buildroot}/usr/bin\necho sums > %{buildroot}/usr/bin/sums\n",
                "/usr/bin/sums\n") &&
          build("other", "", "10",
                "mkdir -p %{buildroot}/usr/bin\necho other > %{buildroot}/usr/bin/shared\necho o > "
                "%{buildroot}/usr/bin/other\n",
                "/usr/bin/shared\n/usr/bin/other\n");
  }
  bool build(const std::string& name, const std::string& tags, const std::string& algorithm,
             const std::string& install, const std::string& files) {
    const std::string spec = dir_.path() + "/" + name + ".spec";
    std::ofstream(spec) << "Name: " << name
                        << "\nVersion: 1.2\nRelease: 3\nSummary: x\nLicense: x\nBuildArch: noarch\n"
                        << "AutoReqProv: no\n"
                        << tags << "%description\nx\n%install\n"
                        << install << "%files\n"
                        << files;
    return run_shell("rpmbuild -bb --define '_topdir " + dir_.path() + "/top' --define '_rpmdir " +
                     dir_.path() + "' --define '_binary_filedigest_algorithm " + algorithm + "' " + spec +
                     " >/dev/null");
  }

  TempDir dir_;
  bool ok_ = false;
};

inline bool rpm_install(const GuestTree& guest, const std::string& package, const std::string& flags = "",
                        const std::string& dbpath = "/var/lib/rpm") {
  return run_shell("rpm --root " + guest.path() + " --dbpath " + dbpath +
                   " --define '_db_backend sqlite' --force-debian --nodeps -i " + flags + " " +
                   RpmPackages::get().file(package));
}

inline std::string contents(const std::string& path) {
  std::ifstream in(path, std::ios::binary);
  return {std::istreambuf_iterator<char>(in), {}};
}

// The headers in a sqlite database.
inline std::map<uint32_t, std::string> rpm_headers(const std::string& sqlite_file) {
  std::map<uint32_t, std::string> headers;
  std::string text;
  if (!run_shell(
          "sqlite3 'file:" + sqlite_file + "?immutable=1' \"select hnum || ' ' || hex(blob) from Packages\"",
          &text))
    return headers;
  for (size_t at = 0; at < text.size();) {
    const size_t end = text.find('\n', at), blank = text.find(' ', at);
    std::string blob;
    for (size_t i = blank + 1; i + 1 < end; i += 2)
      blob += static_cast<char>(std::stoi(text.substr(i, 2), nullptr, 16));
    headers[static_cast<uint32_t>(std::stoul(text.substr(at, blank - at)))] = blob;
    at = end + 1;
  }
  return headers;
}

inline std::string little_endian(uint32_t value) {
  std::string bytes;
  for (int i = 0; i < 4; ++i) bytes += static_cast<char>(value >> (8 * i) & 0xff);
  return bytes;
}

inline uint32_t test_adler32(const std::string& bytes) {
  uint32_t low = 1, high = 0;
  for (const char c : bytes) {
    low = (low + static_cast<uint8_t>(c)) % 65521;
    high = (high + low) % 65521;
  }
  return high << 16 | low;
}

// A Packages.db as rpm built with ndb writes it: see unify/packages/ndb_file.h.
inline std::string make_ndb(const std::map<uint32_t, std::string>& headers) {
  const auto pages = static_cast<uint32_t>((headers.size() + 2 + 255) / 256);
  std::string slots = "RpmP" + little_endian(0) + little_endian(1) + little_endian(pages) +
                      little_endian(static_cast<uint32_t>(headers.size() + 1)) + std::string(12, '\0');
  std::string blobs;
  uint32_t block = pages * 256;
  for (const auto& [number, header] : headers) {
    const auto blocks = static_cast<uint32_t>((16 + header.size() + 12 + 15) / 16);
    const auto length = static_cast<uint32_t>(header.size());
    std::string blob = "BlbS" + little_endian(number) + little_endian(0) + little_endian(length) + header;
    blob.append(blocks * 16 - blob.size() - 12, '\0');
    blobs += blob + little_endian(test_adler32(blob)) + little_endian(length) + "BlbE";
    slots += "Slot" + little_endian(number) + little_endian(block) + little_endian(blocks);
    block += blocks;
  }
  while (slots.size() < pages * 4096u) slots += "Slot" + std::string(12, '\0');
  return slots + blobs;
}

// A Packages of Berkeley DB, by its own db_load. False where that is not installed.
inline bool make_bdb(const std::map<uint32_t, std::string>& headers, const std::string& file) {
  const std::string dump = file + ".dump";
  {
    std::ofstream out(dump);
    out << "VERSION=3\nformat=bytevalue\ntype=hash\ndb_pagesize=4096\nHEADER=END\n";
    out << " " << hex(little_endian(0)) << "\n "
        << hex(little_endian(static_cast<uint32_t>(headers.size() + 1))) << "\n";
    for (const auto& [number, header] : headers)
      out << " " << hex(little_endian(number)) << "\n " << hex(header) << "\n";
    out << "DATA=END\n";
  }
  std::string ignored;
  const bool ok = run_shell("db5.3_load -f " + dump + " " + file, &ignored);
  std::filesystem::remove(dump);
  return ok;
}

}  // namespace vs::unify
