#include "backup/archive/catalog.h"

#include <fmt/format.h>

#include <algorithm>
#include <cerrno>
#include <cstring>
#include <span>

#include <nlohmann/json.hpp>

#include "backup/archive/compressor.h"
#include "backup/archive/host_tree.h"
#include "core/durable/record_log.h"
#include "core/escape.h"

namespace vs::backup {
namespace {

constexpr std::string_view kMagic = "VSCATALOG1\n";
constexpr size_t kHeaderLimit = 1u << 20;
// What the records may unpack to, from so many bytes: else a hundred kilobytes would make a restore take
// gigabytes of memory. Nearly all catalogs are far below it, as each file has a digest, which nothing
// compresses; those of files with the same large attributes are filled up with zeros that nobody reads.
constexpr size_t kSmallBody = size_t{64} << 20, kMostRatio = 1000;
size_t body_limit(size_t packed) {
  return std::max(kSmallBody, packed * kMostRatio);
}
// It stands in a skippable frame, which is no longer.
constexpr size_t kMostBytes = UINT32_MAX;
constexpr uint32_t kHasPool = 1, kLinked = 2, kInconsistent = 4, kUnlisted = 8, kExtra = 16, kHasMark = 32,
                   kAllBits = 63;
// What zstd takes when nobody says otherwise.
constexpr int kLevel = 3;
constexpr uint32_t kEndTag = 0, kDirTag = 1, kPoolTag = 2, kGuestTag = 3;

bool one_of_types(char type) {
  return std::strchr("fdlpscb", type) != nullptr && type != 0;
}

// What could lead out of a directory is no name.
bool can_be_a_name(std::string_view name) {
  return name.find('/') == std::string_view::npos && name.find('\0') == std::string_view::npos &&
         name != "." && name != ".." && name.size() <= 255;
}

// What an entry says of its inode where no other record does.
void read_inode(FieldReader& in, bool extra, Entry& entry) {
  entry.mode = in.u32() & 07777;
  entry.uid = in.u32();
  entry.gid = in.u32();
  entry.mtime_ns = static_cast<int64_t>(in.u64());
  entry.btime_ns = static_cast<int64_t>(in.u64());
  if (entry.type == 'f') {
    entry.size = in.u64();
    entry.archive = in.u32();
    entry.offset = in.u64();
    const std::string_view digest = in.take(entry.content.size());
    std::copy(digest.begin(), digest.end(), entry.content.begin());
  }
  if (entry.type == 'l') entry.target = in.string();
  if (entry.type == 'c' || entry.type == 'b') entry.rdev = in.u64();
  if (entry.linked) entry.group = in.u64();
  if (!extra) return;
  entry.xattrs = in.string();
  entry.flags = in.u32();
  entry.project = in.u32();
}

// The next of entries that stand one after the other. False for nonsense; what is in `entry` is worth nothing
// then.
bool read_entry(FieldReader& in, Entry& entry) {
  entry = Entry{};
  entry.name = in.string();
  const uint32_t word = in.u32(), bits = word >> 8;
  entry.type = static_cast<char>(word & 0xff);
  entry.linked = (bits & kLinked) != 0;
  entry.inconsistent = (bits & kInconsistent) != 0;
  entry.listed = (bits & kUnlisted) == 0;
  if (!in.ok() || !one_of_types(entry.type) || bits > kAllBits || !can_be_a_name(entry.name)) return false;
  if ((bits & kHasPool) != 0) {
    entry.pool = in.u64();
    if ((bits & kHasMark) != 0) entry.member = in.u32();
    return in.ok() && entry.pool != 0;
  }
  const bool describes_itself_elsewhere = entry.type == 'd' && !entry.name.empty();
  if (!describes_itself_elsewhere) read_inode(in, (bits & kExtra) != 0, entry);
  return in.ok() && entry.size <= uint64_t{INT64_MAX};
}

// --- The header -------------------------------------------------------------------------------------------

std::string packed_header(const CatalogHeader& h) {
  const nlohmann::ordered_json json = {{"kind", h.kind},
                                       {"guest", h.guest},
                                       {"stamp", h.stamp},
                                       {"chain", h.chain},
                                       {"number", h.number},
                                       {"previous", h.previous},
                                       {"previous_digest", h.previous_digest},
                                       {"host", h.host},
                                       {"version", h.version},
                                       {"set", h.set},
                                       {"consistency", h.consistency},
                                       {"names", h.names},
                                       {"bytes", h.bytes},
                                       {"inconsistent", h.inconsistent},
                                       {"first_pool", h.first_pool},
                                       {"last_pool", h.last_pool}};
  return compressed(json.dump(-1, ' ', false, nlohmann::json::error_handler_t::replace), kLevel);
}

// --- The records ------------------------------------------------------------------------------------------

// Both return how many records they wrote.
uint64_t append_directories(std::string& body, const Catalog& catalog) {
  uint64_t count = 0;
  for (const auto& [guest, dirs] : catalog.dirs) {
    put_u32(body, kGuestTag);
    put_string(body, guest);
    for (const auto& [path, bytes] : dirs) {
      put_u32(body, kDirTag);
      put_string(body, path);
      put_string(body, bytes);
    }
    count += dirs.size();
  }
  return count;
}

// Its length would not fit.
bool has_too_large_directory(const Catalog& catalog) {
  for (const auto& [guest, dirs] : catalog.dirs)
    for (const auto& [path, bytes] : dirs)
      if (bytes.size() > UINT32_MAX) return true;
  return false;
}

uint64_t append_members(std::string& body, const Catalog& catalog) {
  for (const auto& [number, entry] : catalog.pool) {
    put_u32(body, kPoolTag);
    put_u64(body, number);
    std::string bytes;
    append_entry(bytes, entry);
    put_string(body, bytes);
  }
  return catalog.pool.size();
}

bool can_name_a_vserver(std::string_view name) {
  return !name.empty() && name[0] != '.' && name.find('/') == std::string_view::npos &&
         name.find('\0') == std::string_view::npos;
}

bool read_member(FieldReader& in, Catalog& catalog) {
  const uint64_t number = in.u64();
  FieldReader text(in.string());
  Entry entry;
  if (!in.ok() || !read_entry(text, entry) || number == 0 || entry.pool != 0 || entry.type == 'd')
    return false;
  catalog.pool[number] = std::move(entry);
  return true;
}

// All records, with the end of them; the reasons name `object`.
Result read_records(FieldReader& in, Catalog& catalog, const std::string& object) {
  uint64_t count = 0;
  std::map<std::string, std::string>* dirs = nullptr;
  for (;;) {
    const uint32_t tag = in.u32();
    if (!in.ok()) return Problem{0, object + ": torn"};
    if (tag == kEndTag) break;
    if (tag == kGuestTag) {
      const std::string guest(in.string());
      if (!can_name_a_vserver(is_host_tree(guest) ? guest_of_tree(guest) : guest))
        return Problem{0, object + ": '" + escaped(guest) + "' cannot name a vserver"};
      dirs = &catalog.dirs[guest];
      continue;
    }
    ++count;
    if (tag == kDirTag && dirs != nullptr) {
      std::string path(in.string());
      (*dirs)[std::move(path)] = std::string(in.string());
    } else if (tag == kPoolTag) {
      if (!read_member(in, catalog)) return Problem{0, object + ": a pool member makes no sense"};
    } else {
      return Problem{0, object + ": unknown record"};
    }
  }
  if (in.u64() != count || !in.ok()) return Problem{0, object + ": records are missing"};
  return Ok{};
}

}  // namespace

std::string pool_path(uint64_t number) {
  return fmt::format(".pool/{:02x}/{:016x}", number & 0xff, number);
}

Entry entry_of(const Inode& inode, const InodeDetails& details) {
  Entry entry;
  entry.type = type_letter(inode.mode);
  entry.mode = inode.mode & 07777;
  entry.uid = inode.uid;
  entry.gid = inode.gid;
  entry.mtime_ns = inode.mtime_ns;
  entry.btime_ns = inode.btime_ns;
  if (entry.type == 'c' || entry.type == 'b') entry.rdev = inode.rdev;
  if (entry.type == 'f') {
    entry.size = inode.size;
    entry.content = details.content;
  }
  if (entry.type == 'l') entry.target = details.target;
  entry.xattrs = details.xattrs;
  entry.flags = details.flags;
  entry.project = details.project;
  entry.inconsistent = details.inconsistent;
  return entry;
}

bool same_object(const Entry& a, const Entry& b) {
  return a.type == b.type && a.pool == b.pool && a.linked == b.linked && a.mode == b.mode && a.uid == b.uid &&
         a.gid == b.gid && a.mtime_ns == b.mtime_ns && a.rdev == b.rdev && a.size == b.size &&
         a.content == b.content && a.target == b.target && a.xattrs == b.xattrs && a.flags == b.flags &&
         a.project == b.project && !a.inconsistent && !b.inconsistent;
}

uint32_t member_mark(const Entry& member) {
  Entry plain = member;
  plain.name.clear();
  plain.pool = 0;
  plain.linked = plain.inconsistent = false;
  plain.listed = true;
  plain.group = plain.offset = plain.archive = 0;
  plain.btime_ns = 0;
  std::string bytes;
  append_entry(bytes, plain);
  const Sha256 digest = sha256(bytes);
  uint32_t mark = 0;
  for (const unsigned char byte : std::span(digest).first(4)) mark = mark << 8 | byte;
  return mark != 0 ? mark : 1;
}

bool is_other_member(const Entry& name, const Entry& member) {
  return name.member != 0 && name.member != member_mark(member);
}

void append_entry(std::string& out, const Entry& entry) {
  const bool extra = !entry.xattrs.empty() || entry.flags != 0 || entry.project != 0;
  const bool marked = entry.pool != 0 && entry.member != 0;
  const uint32_t bits = (entry.pool != 0 ? kHasPool : 0) | (marked ? kHasMark : 0) |
                        (entry.linked ? kLinked : 0) | (entry.inconsistent ? kInconsistent : 0) |
                        (entry.listed ? 0 : kUnlisted) | (extra ? kExtra : 0);
  put_string(out, entry.name);
  put_u32(out, static_cast<unsigned char>(entry.type) | bits << 8);
  if (entry.pool != 0) {
    put_u64(out, entry.pool);
    if (marked) put_u32(out, entry.member);
    return;
  }
  if (entry.type == 'd' && !entry.name.empty()) return;  // a directory describes itself
  put_u32(out, entry.mode);
  put_u32(out, entry.uid);
  put_u32(out, entry.gid);
  put_u64(out, static_cast<uint64_t>(entry.mtime_ns));
  put_u64(out, static_cast<uint64_t>(entry.btime_ns));
  if (entry.type == 'f') {
    put_u64(out, entry.size);
    put_u32(out, entry.archive);
    put_u64(out, entry.offset);
    out.append(reinterpret_cast<const char*>(entry.content.data()), entry.content.size());
  }
  if (entry.type == 'l') put_string(out, entry.target);
  if (entry.type == 'c' || entry.type == 'b') put_u64(out, entry.rdev);
  if (entry.linked) put_u64(out, entry.group);
  if (!extra) return;
  put_string(out, entry.xattrs);
  put_u32(out, entry.flags);
  put_u32(out, entry.project);
}

bool decode_dir(std::string_view bytes, std::vector<Entry>& entries) {
  entries.clear();
  FieldReader in(bytes);
  for (Entry entry; !in.at_end();) {
    if (!read_entry(in, entry)) return false;
    const bool first = entries.empty();
    if (first != entry.name.empty() || (first && entry.type != 'd') ||
        (entries.size() > 1 && entries.back().name >= entry.name))
      return false;
    entries.push_back(std::move(entry));
  }
  return !entries.empty();
}

Expected<std::string> catalog_bytes(const Catalog& catalog) {
  const std::string head = packed_header(catalog.header);
  std::string body;
  uint64_t count = append_directories(body, catalog);
  count += append_members(body, catalog);
  put_u32(body, kEndTag);
  put_u64(body, count);
  std::string out(kMagic);
  put_u32(out, static_cast<uint32_t>(head.size()));
  out += head;
  const std::string packed = compressed(body, kLevel);
  out += packed;
  if (body.size() > body_limit(packed.size()))
    out += skippable_frame(std::string(body.size() / kMostRatio + 1, '\0'));
  if (out.size() > kMostBytes || has_too_large_directory(catalog))
    return Problem{EFBIG, fmt::format("the records of {} names are {} bytes, packed {}: more than a catalog "
                                      "can hold",
                                      catalog.header.names, body.size(), packed.size())};
  return out;
}

Expected<CatalogHeader> parse_catalog_header(std::string_view bytes, const std::string& object) {
  const auto bad = [&](const std::string& why) { return Problem{0, object + ": not a catalog: " + why}; };
  if (!bytes.starts_with(kMagic)) return bad("it begins otherwise");
  FieldReader in(bytes.substr(kMagic.size()));
  const std::string_view packed = in.string();
  if (!in.ok()) return bad("torn");
  const auto text = decompressed(packed, kHeaderLimit);
  if (!text) return bad(text.error().message);
  try {
    const auto json = nlohmann::json::parse(*text);
    CatalogHeader h;
    h.kind = json.at("kind").get<std::string>();
    h.guest = json.at("guest").get<std::string>();
    h.stamp = json.at("stamp").get<std::string>();
    h.chain = json.at("chain").get<std::string>();
    h.number = json.at("number").get<uint32_t>();
    h.previous = json.at("previous").get<std::string>();
    h.previous_digest = json.value("previous_digest", "");
    h.host = json.value("host", "");
    h.version = json.value("version", "");
    h.set = json.value("set", "");
    h.consistency = json.value("consistency", "");
    h.names = json.value("names", uint64_t{0});
    h.bytes = json.value("bytes", uint64_t{0});
    h.inconsistent = json.value("inconsistent", uint64_t{0});
    h.first_pool = json.value("first_pool", uint64_t{0});
    h.last_pool = json.value("last_pool", uint64_t{0});
    return h;
  } catch (const std::exception& error) {
    return bad(error.what());
  }
}

Expected<Catalog> parse_catalog(std::string_view bytes, const std::string& object) {
  auto header = parse_catalog_header(bytes, object);
  if (!header) return header.error();
  Catalog catalog;
  catalog.header = std::move(*header);
  catalog.digest = sha256(bytes);
  FieldReader head(bytes.substr(kMagic.size()));
  const size_t skip = kMagic.size() + 4 + head.string().size();
  const auto body = decompressed(bytes.substr(skip), body_limit(bytes.size() - skip));
  if (!body) return Problem{0, object + ": " + body.error().message};
  FieldReader in(*body);
  if (const auto read = read_records(in, catalog, object); !read) return read.error();
  return catalog;
}

}  // namespace vs::backup
