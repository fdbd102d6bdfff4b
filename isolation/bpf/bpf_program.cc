#include "isolation/bpf/bpf_program.h"

#include <fmt/format.h>
#include <sys/syscall.h>
#include <unistd.h>

#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>

namespace vs::isolation {
namespace {

long bpf(bpf_cmd command, bpf_attr& attributes) {
  return ::syscall(SYS_bpf, command, &attributes, sizeof attributes);
}

}  // namespace

void BpfProgram::add(uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t constant) {
  bpf_insn instruction{};
  instruction.code = code;
  instruction.dst_reg = to & 0xf;
  instruction.src_reg = from & 0xf;
  instruction.off = offset;
  instruction.imm = constant;
  code_.push_back(instruction);
}

void BpfProgram::jump_with(uint8_t code, uint8_t reg, int32_t value, const std::string& label, uint8_t with) {
  open_jumps_.emplace_back(code_.size(), label);
  add(code, reg, with, 0, value);
}

Expected<UniqueFd> BpfProgram::load(bpf_prog_type type, bpf_attach_type attach, const std::string& name,
                                    uint32_t function) {
  for (const auto& [at, label] : open_jumps_)
    code_[at].off = static_cast<int16_t>(labels_.at(label) - at - 1);
  open_jumps_.clear();
  bpf_attr attributes{};
  attributes.prog_type = type;
  attributes.expected_attach_type = attach;
  attributes.attach_btf_id = function;
  attributes.insns = reinterpret_cast<uint64_t>(code_.data());
  attributes.insn_cnt = static_cast<uint32_t>(code_.size());
  attributes.license = reinterpret_cast<uint64_t>("GPL");
  std::strncpy(attributes.prog_name, name.c_str(), sizeof attributes.prog_name - 1);
  const long fd = bpf(BPF_PROG_LOAD, attributes);
  if (fd >= 0) return UniqueFd(static_cast<int>(fd));
  const int failed = errno;
  // Once more for what the verifier says; its last line tells.
  std::string log(1 << 16, '\0');
  attributes.log_level = 1;
  attributes.log_buf = reinterpret_cast<uint64_t>(log.data());
  attributes.log_size = static_cast<uint32_t>(log.size());
  const long again = bpf(BPF_PROG_LOAD, attributes);
  if (again >= 0) return UniqueFd(static_cast<int>(again));
  log.resize(std::strlen(log.c_str()));
  if (std::getenv("VS_BPF_LOG") != nullptr) fmt::print(stderr, "{}\n", log);
  return problem_from(failed, "load the BPF program", name);
}

Result attach_to_cgroup(int cgroup, int program, bpf_attach_type attach, const std::string& name) {
  bpf_attr attributes{};
  attributes.target_fd = static_cast<uint32_t>(cgroup);
  attributes.attach_bpf_fd = static_cast<uint32_t>(program);
  attributes.attach_type = attach;
  attributes.attach_flags = BPF_F_ALLOW_MULTI;  // others' programs above and beside stay in force
  if (bpf(BPF_PROG_ATTACH, attributes) != 0) return problem_from_errno("attach the BPF program", name);
  return Ok{};
}

Result load_and_attach(int cgroup, BpfProgram program, bpf_prog_type type, bpf_attach_type attach,
                       const std::string& name) {
  auto fd = program.load(type, attach, name);
  if (!fd) return fd.error();
  return attach_to_cgroup(cgroup, fd->get(), attach, name);
}

}  // namespace vs::isolation
