// Where the running kernel has its functions' and structures' members: what a BPF program that reads them
// must know. Read from BTF, the kernel's own description of its types (/sys/kernel/btf/vmlinux), whose format
// is stable. A walk over one file: libbpf, which can do it as well, would be loaded by each `exec` for
// nothing.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <string_view>

#include "core/error.h"

namespace vs::isolation {

class KernelTypes {
 public:
  // Problem where the kernel has no BTF or one that is not understood.
  static Expected<KernelTypes> read(const std::string& file = "/sys/kernel/btf/vmlinux");
  // Bytes from the start of the structure; nothing where there is no such structure or it has no such member
  // of its own.
  std::optional<uint32_t> offset(std::string_view structure, std::string_view member) const;
  // What BPF_PROG_LOAD wants as attach_btf_id.
  std::optional<uint32_t> function(std::string_view name) const;

 private:
  std::string bytes_;
  size_t types_ = 0, types_end_ = 0, strings_ = 0;  // places in bytes_
  template <class Found>
  void each(const Found& found) const;
  std::string_view text(uint32_t at) const;
};

}  // namespace vs::isolation
