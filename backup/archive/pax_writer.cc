#include "backup/archive/pax_writer.h"

#include <fmt/format.h>
#include <sys/sysmacros.h>

#include <algorithm>
#include <cstring>

#include "backup/source/inode_details.h"
#include "core/tree/file_time.h"

namespace vs::backup {
namespace {

constexpr size_t kBlock = 512;
// libarchive 3.6 refuses pax headers above 1 MiB, and reads nothing behind one.
constexpr size_t kPaxLimit = size_t{1} << 20;
// A longer directory list, with the path before it, goes into an entry of GNU's type D, which both GNU tar
// and libarchive read.
constexpr size_t kLongList = 900'000;

struct Header {
  char name[100], mode[8], uid[8], gid[8], size[12], mtime[12], checksum[8], type, link[100], magic[6],
      version[2], uname[32], gname[32], major[8], minor[8], prefix[155], padding[12];
};
static_assert(sizeof(Header) == kBlock);

bool octal(char* field, size_t width, uint64_t value) {
  const bool fits = value < (uint64_t{1} << (3 * (width - 1)));
  const std::string text = fmt::format("{:0{}o}", fits ? value : 0, width - 1);
  std::memcpy(field, text.data(), width - 1);
  return fits;
}

void record(std::string& pax, std::string_view key, std::string_view value) {
  const size_t rest = key.size() + value.size() + 3;  // blank, '=', newline
  size_t length = rest + 1;
  while (std::to_string(length).size() + rest != length) ++length;
  pax += std::to_string(length);
  pax += ' ';
  pax.append(key).append("=").append(value).append("\n");
}

bool is_utf8(std::string_view text) {
  for (size_t i = 0; i < text.size();) {
    const auto c = static_cast<unsigned char>(text[i]);
    const size_t more = c < 0x80                          ? 0
                        : (c & 0xe0) == 0xc0 && c >= 0xc2 ? 1
                        : (c & 0xf0) == 0xe0              ? 2
                        : (c & 0xf8) == 0xf0 && c <= 0xf4 ? 3
                                                          : 9;
    if (more == 9 || i + more >= text.size()) return false;
    for (size_t k = 1; k <= more; ++k)
      if ((static_cast<unsigned char>(text[i + k]) & 0xc0) != 0x80) return false;
    i += more + 1;
  }
  return true;
}

std::string time_text(const timespec& time) {
  const int64_t seconds = time.tv_sec, rest = time.tv_nsec;
  // -1.75 is written for -2 s + 0.25: the sign covers the fraction.
  std::string text = seconds < 0 && rest > 0 ? fmt::format("-{}.{:09}", -(seconds + 1), 1'000'000'000 - rest)
                                             : fmt::format("{}.{:09}", seconds, rest);
  while (text.back() == '0') text.pop_back();
  if (text.back() == '.') text.pop_back();
  return text;
}

void finish(Header& header) {
  std::memset(header.checksum, ' ', sizeof header.checksum);
  unsigned sum = 0;
  for (size_t i = 0; i < kBlock; ++i) sum += reinterpret_cast<const unsigned char*>(&header)[i];
  std::memcpy(header.checksum, fmt::format("{:06o}", sum).c_str(), 7);
  header.checksum[7] = ' ';
}

Header fresh(char type) {
  Header header;
  std::memset(&header, 0, sizeof header);
  header.type = type;
  std::memcpy(header.magic, "ustar", 6);
  std::memcpy(header.version, "00", 2);
  return header;
}

void append(std::string& out, const Header& header) {
  out.append(reinterpret_cast<const char*>(&header), kBlock);
}

// A short name for headers whose real one stands in the pax records; old programs would use it.
std::string short_name(const std::string& path) {
  return path.size() <= 99 ? path : path.substr(0, 40) + "..." + path.substr(path.size() - 50);
}

void pax_header(std::string& out, const std::string& path, const std::string& pax) {
  Header header = fresh('x');
  const std::string name = "PaxHeaders/" + short_name(path).substr(0, 80);
  std::memcpy(header.name, name.data(), std::min(name.size(), sizeof header.name));
  octal(header.mode, 8, 0644);
  octal(header.uid, 8, 0);
  octal(header.gid, 8, 0);
  octal(header.size, 12, pax.size());
  octal(header.mtime, 12, 0);
  finish(header);
  append(out, header);
  out += pax;
  append_padding(out, pax.size());
}

char tar_type(char type) {
  switch (type) {
    case 'd':
      return '5';
    case 'l':
      return '2';
    case 'h':
      return '1';
    case 'c':
      return '3';
    case 'b':
      return '4';
    case 'p':
      return '6';
    default:
      return '0';
  }
}

std::string sparse_map(const TarEntry& entry) {
  // GNU's form ends with the file's size as an empty range, also when the file ends with data.
  std::string map = fmt::format("{}\n", entry.ranges.size() + 1);
  for (const auto& [offset, length] : entry.ranges) map += fmt::format("{}\n{}\n", offset, length);
  map += fmt::format("{}\n0\n", entry.size);
  map.resize((map.size() + kBlock - 1) / kBlock * kBlock, '\0');
  return map;
}

// Of one inode there may be any number: those for which `room` is left. vbackup restores all of them from its
// catalog.
void attribute_records(std::string& pax, std::string_view xattrs, size_t room) {
  std::string records;
  for (const auto& [name, value] : decode_xattrs(xattrs)) {
    // An '=' would end the keyword; no tool has a way around that. vbackup restores such names from its
    // catalog.
    if (name.find('=') != std::string::npos) continue;
    records.clear();
    record(records, "SCHILY.xattr." + name, value);
    if (name == "system.posix_acl_access") record(records, "SCHILY.acl.access", acl_text(value));
    if (name == "system.posix_acl_default") record(records, "SCHILY.acl.default", acl_text(value));
    if (records.size() > room) continue;
    room -= records.size();
    pax += records;
  }
}

bool is_sparse(const TarEntry& entry) {
  return entry.sparse || !entry.ranges.empty();
}

// What follows the header: of a file with holes its ranges alone.
uint64_t data_size(const TarEntry& entry) {
  if (!is_sparse(entry)) return entry.type == 'f' ? entry.size : 0;
  uint64_t size = 0;
  for (const auto& range : entry.ranges) size += range.second;
  return size;
}

bool list_is_long(const TarEntry& entry) {
  return entry.dumpdir.size() + entry.path.size() > kLongList;
}

Header header_for(const TarEntry& entry) {
  if (!list_is_long(entry)) return fresh(tar_type(entry.type));
  Header header = fresh('D');
  std::memcpy(header.magic, "ustar  ", 8);  // GNU tar heeds the type D in headers of its own kind only
  return header;
}

void sparse_records(std::string& pax, const TarEntry& entry, const std::string& name) {
  record(pax, "GNU.sparse.major", "1");
  record(pax, "GNU.sparse.minor", "0");
  record(pax, "GNU.sparse.name", name);
  record(pax, "GNU.sparse.realsize", std::to_string(entry.size));
}

// The functions from here on fill fields of ustar, and add a record for what a field cannot say. Their order
// is the order of the records.
void write_names(Header& header, std::string& pax, const TarEntry& entry) {
  const bool sparse = is_sparse(entry);
  std::string name = entry.type == 'd' ? entry.path + "/" : entry.path;
  if (!is_utf8(name) || !is_utf8(entry.link)) record(pax, "hdrcharset", "BINARY");
  if (sparse) {
    sparse_records(pax, entry, name);
    name = "GNUSparseFile.0/" + short_name(std::string(split_path(entry.path).second));
  }
  if (name.size() > sizeof header.name) {
    if (!sparse) record(pax, "path", name);
    name = short_name(name);
  }
  std::memcpy(header.name, name.data(), std::min(name.size(), sizeof header.name));
  if (entry.link.size() > sizeof header.link) record(pax, "linkpath", entry.link);
  std::memcpy(header.link, entry.link.data(), std::min(entry.link.size(), sizeof header.link));
}

template <size_t width>
void write_number(char (&field)[width], std::string& pax, std::string_view key, uint64_t value) {
  if (!octal(field, width, value)) record(pax, key, std::to_string(value));
}

void write_mtime(Header& header, std::string& pax, const TarEntry& entry) {
  const timespec time = timespec_of(entry.mtime_ns);
  const bool fits = octal(header.mtime, 12, static_cast<uint64_t>(std::max<time_t>(time.tv_sec, 0)));
  const bool plain = time.tv_sec >= 0 && time.tv_nsec == 0;
  if ((!fits || !plain) && entry.type != 'h') record(pax, "mtime", time_text(time));
}

// Star's names; GNU tar has none, and eight octal digits hold what Linux has.
void write_device(Header& header, std::string& pax, const TarEntry& entry) {
  if (entry.type != 'c' && entry.type != 'b') return;
  write_number(header.major, pax, "SCHILY.devmajor", major(entry.rdev));
  write_number(header.minor, pax, "SCHILY.devminor", minor(entry.rdev));
}

}  // namespace

std::string acl_text(std::string_view value) {
  const auto number = [&](size_t at, size_t bytes) {
    uint32_t result = 0;
    for (size_t i = 0; i < bytes; ++i)
      result |= static_cast<uint32_t>(static_cast<unsigned char>(value[at + i])) << (8 * i);
    return result;
  };
  if (value.size() < 4 || number(0, 4) != 2 || (value.size() - 4) % 8 != 0) return {};
  std::string text;
  for (size_t at = 4; at < value.size(); at += 8) {
    const uint32_t tag = number(at, 2), perm = number(at + 2, 2), id = number(at + 4, 4);
    const std::string who = tag == 0x01   ? "user:"
                            : tag == 0x02 ? fmt::format("user:{}", id)
                            : tag == 0x04 ? "group:"
                            : tag == 0x08 ? fmt::format("group:{}", id)
                            : tag == 0x10 ? "mask:"
                                          : "other:";
    text += fmt::format("{}{}:{}{}{}", text.empty() ? "" : ",", who, perm & 4 ? 'r' : '-',
                        perm & 2 ? 'w' : '-', perm & 1 ? 'x' : '-');
  }
  return text;
}

uint64_t append_header(std::string& out, const TarEntry& entry) {
  const std::string map = is_sparse(entry) ? sparse_map(entry) : "";
  const uint64_t data = data_size(entry);
  const bool list_aside = list_is_long(entry);
  Header header = header_for(entry);
  std::string pax;
  write_names(header, pax, entry);
  octal(header.mode, 8, entry.mode & 07777);
  write_number(header.uid, pax, "uid", entry.uid);
  write_number(header.gid, pax, "gid", entry.gid);
  write_number(header.size, pax, "size", list_aside ? entry.dumpdir.size() : map.size() + data);
  write_mtime(header, pax, entry);
  write_device(header, pax, entry);
  std::string list;
  if (!entry.dumpdir.empty() && !list_aside) record(list, "GNU.dumpdir", entry.dumpdir);
  const size_t taken = pax.size() + list.size();
  if (entry.type != 'h') attribute_records(pax, entry.xattrs, kPaxLimit - std::min(kPaxLimit, taken));
  pax += list;
  if (!pax.empty()) pax_header(out, entry.path, pax);
  finish(header);
  append(out, header);
  out += map;
  if (list_aside) {
    out += entry.dumpdir;
    append_padding(out, entry.dumpdir.size());
  }
  return data;
}

void append_padding(std::string& out, uint64_t data_size) {
  if (const uint64_t rest = data_size % kBlock; rest != 0)
    out.append(static_cast<size_t>(kBlock - rest), '\0');
}

void append_end(std::string& out) {
  out.append(2 * kBlock, '\0');
}

}  // namespace vs::backup
