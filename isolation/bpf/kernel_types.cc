#include "isolation/bpf/kernel_types.h"

#include <linux/btf.h>

#include <cerrno>
#include <cstring>

#include "core/durable/durable_file.h"

namespace vs::isolation {
namespace {

constexpr size_t kMostBytes = 64u << 20;  // Debian's have 5 MB

// What follows a type's header, by its kind. Nothing for a kind that is newer than this program: its length
// is not known.
std::optional<size_t> bytes_after(const btf_type& type) {
  const size_t count = BTF_INFO_VLEN(type.info);
  switch (BTF_INFO_KIND(type.info)) {
    case BTF_KIND_INT:
      return sizeof(uint32_t);
    case BTF_KIND_ARRAY:
      return sizeof(btf_array);
    case BTF_KIND_STRUCT:
    case BTF_KIND_UNION:
      return count * sizeof(btf_member);
    case BTF_KIND_ENUM:
      return count * sizeof(btf_enum);
    case BTF_KIND_FUNC_PROTO:
      return count * sizeof(btf_param);
    case BTF_KIND_VAR:
      return sizeof(btf_var);
    case BTF_KIND_DATASEC:
      return count * sizeof(btf_var_secinfo);
    case BTF_KIND_DECL_TAG:
      return sizeof(btf_decl_tag);
    case BTF_KIND_ENUM64:
      return count * sizeof(btf_enum64);
    case BTF_KIND_PTR:
    case BTF_KIND_FWD:
    case BTF_KIND_TYPEDEF:
    case BTF_KIND_VOLATILE:
    case BTF_KIND_CONST:
    case BTF_KIND_RESTRICT:
    case BTF_KIND_FUNC:
    case BTF_KIND_FLOAT:
    case BTF_KIND_TYPE_TAG:
      return 0;
    default:
      return std::nullopt;
  }
}

}  // namespace

Expected<KernelTypes> KernelTypes::read(const std::string& file) {
  KernelTypes types;
  auto bytes = read_whole(file, kMostBytes);
  if (!bytes) return bytes.error();
  types.bytes_ = std::move(*bytes);
  btf_header header{};
  if (types.bytes_.size() < sizeof header) return problem_from(EBADMSG, "understand", file);
  std::memcpy(&header, types.bytes_.data(), sizeof header);
  types.types_ = header.hdr_len + header.type_off;
  types.types_end_ = types.types_ + header.type_len;
  types.strings_ = header.hdr_len + header.str_off;
  if (header.magic != BTF_MAGIC || types.types_end_ > types.bytes_.size() ||
      types.strings_ >= types.bytes_.size())
    return problem_from(EBADMSG, "understand", file);
  return types;
}

std::string_view KernelTypes::text(uint32_t at) const {
  const size_t from = strings_ + at;
  return from < bytes_.size() ? std::string_view(bytes_.c_str() + from) : std::string_view();
}

// `found(id, type, place of what follows it)` returns true to end the walk.
template <class Found>
void KernelTypes::each(const Found& found) const {
  uint32_t id = 1;  // 0 is void
  for (size_t at = types_; at + sizeof(btf_type) <= types_end_; ++id) {
    btf_type type{};
    std::memcpy(&type, bytes_.data() + at, sizeof type);
    at += sizeof type;
    const auto more = bytes_after(type);
    if (!more || at + *more > types_end_ || found(id, type, at)) return;
    at += *more;
  }
}

std::optional<uint32_t> KernelTypes::function(std::string_view name) const {
  std::optional<uint32_t> result;
  each([&](uint32_t id, const btf_type& type, size_t) {
    if (BTF_INFO_KIND(type.info) == BTF_KIND_FUNC && text(type.name_off) == name) result = id;
    return result.has_value();
  });
  return result;
}

std::optional<uint32_t> KernelTypes::offset(std::string_view structure, std::string_view member) const {
  std::optional<uint32_t> result;
  each([&](uint32_t, const btf_type& type, size_t at) {
    if (BTF_INFO_KIND(type.info) != BTF_KIND_STRUCT || text(type.name_off) != structure) return false;
    for (uint32_t i = 0; i < BTF_INFO_VLEN(type.info); ++i) {
      btf_member one{};
      std::memcpy(&one, bytes_.data() + at + i * sizeof one, sizeof one);
      if (text(one.name_off) != member) continue;
      result = (BTF_INFO_KFLAG(type.info) ? BTF_MEMBER_BIT_OFFSET(one.offset) : one.offset) / 8;
      return true;
    }
    return false;  // two structures of one name: some drivers have their own
  });
  return result;
}

}  // namespace vs::isolation
