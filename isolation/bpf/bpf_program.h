// A few BPF instructions with forward jumps, as <linux/bpf.h> has them, and the two system calls that bring
// them in force.
//
// Decision: the programs that read no kernel structure stay assembled here, because their constants (the
// guest's addresses) decide which instructions exist at all, and because `exec` must not load libbpf. What
// reads kernel structures (abstract_sockets, kernel_types) is to become C with CO-RE relocations, together
// with the guard programs, whose loader will live in core/bpf.
#pragma once

#include <linux/bpf.h>

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/error.h"
#include "core/unique_fd.h"

namespace vs::isolation {

class BpfProgram {
 public:
  void move(uint8_t to, uint8_t from) { add(BPF_ALU64 | BPF_MOV | BPF_X, to, from, 0, 0); }
  void set(uint8_t to, int32_t value) { add(BPF_ALU64 | BPF_MOV | BPF_K, to, 0, 0, value); }
  void set32(uint8_t to, uint32_t value) {
    add(BPF_ALU | BPF_MOV | BPF_K, to, 0, 0, static_cast<int32_t>(value));
  }
  void add_constant(uint8_t to, int32_t value) { add(BPF_ALU64 | BPF_ADD | BPF_K, to, 0, 0, value); }
  void and32(uint8_t to, uint32_t value) {
    add(BPF_ALU | BPF_AND | BPF_K, to, 0, 0, static_cast<int32_t>(value));
  }
  void shift_right(uint8_t to, int32_t bits) { add(BPF_ALU64 | BPF_RSH | BPF_K, to, 0, 0, bits); }
  void set64(uint8_t to, uint64_t value) {  // two instructions
    add(BPF_LD | BPF_DW | BPF_IMM, to, 0, 0, static_cast<int32_t>(value & 0xffffffff));
    add(0, 0, 0, 0, static_cast<int32_t>(value >> 32));
  }
  void load8(uint8_t to, uint8_t base, int16_t offset) {
    add(BPF_LDX | BPF_MEM | BPF_B, to, base, offset, 0);
  }
  void load64(uint8_t to, uint8_t base, int16_t offset) {
    add(BPF_LDX | BPF_MEM | BPF_DW, to, base, offset, 0);
  }
  void store64_constant(uint8_t base, int16_t offset, int32_t value) {
    add(BPF_ST | BPF_MEM | BPF_DW, base, 0, offset, value);
  }
  void load32(uint8_t to, uint8_t base, int16_t offset) {
    add(BPF_LDX | BPF_MEM | BPF_W, to, base, offset, 0);
  }
  void store32(uint8_t base, int16_t offset, uint8_t from) {
    add(BPF_STX | BPF_MEM | BPF_W, base, from, offset, 0);
  }
  void store32_constant(uint8_t base, int16_t offset, uint32_t value) {
    add(BPF_ST | BPF_MEM | BPF_W, base, 0, offset, static_cast<int32_t>(value));
  }
  void call(int32_t helper) { add(BPF_JMP | BPF_CALL, 0, 0, 0, helper); }
  void jump(const std::string& label) { jump_with(BPF_JMP | BPF_JA, 0, 0, label); }
  // 32-bit comparisons of a register with a constant.
  void if_equal(uint8_t reg, uint32_t value, const std::string& label) {
    jump_with(BPF_JMP32 | BPF_JEQ | BPF_K, reg, static_cast<int32_t>(value), label);
  }
  void if_not_equal(uint8_t reg, uint32_t value, const std::string& label) {
    jump_with(BPF_JMP32 | BPF_JNE | BPF_K, reg, static_cast<int32_t>(value), label);
  }
  // Of all 64 bits: a pointer that a helper gave, say; behind it the verifier lets it be used.
  void if_null(uint8_t reg, const std::string& label) { jump_with(BPF_JMP | BPF_JEQ | BPF_K, reg, 0, label); }
  std::string fresh_label() { return "." + std::to_string(fresh_++); }
  // 64-bit comparisons of two registers.
  void if_above(uint8_t reg, uint8_t with, const std::string& label) {
    jump_with(BPF_JMP | BPF_JGT | BPF_X, reg, 0, label, with);
  }
  void if_same(uint8_t reg, uint8_t with, const std::string& label) {
    jump_with(BPF_JMP | BPF_JEQ | BPF_X, reg, 0, label, with);
  }
  void label(const std::string& name) { labels_[name] = code_.size(); }
  void leave() { add(BPF_JMP | BPF_EXIT, 0, 0, 0, 0); }
  void leave_with(int32_t value) {
    set(BPF_REG_0, value);
    leave();
  }

  // `attach` is checked at load time for programs of sockets; `name` is for messages and bpftool; `function`
  // is the kernel's (kernel_types.h) where the program hangs on one.
  Expected<UniqueFd> load(bpf_prog_type type, bpf_attach_type attach, const std::string& name,
                          uint32_t function = 0);

 private:
  void add(uint8_t code, uint8_t to, uint8_t from, int16_t offset, int32_t constant);
  void jump_with(uint8_t code, uint8_t reg, int32_t value, const std::string& label, uint8_t with = 0);
  std::vector<bpf_insn> code_;
  unsigned fresh_ = 0;
  std::map<std::string, size_t> labels_;
  std::vector<std::pair<size_t, std::string>> open_jumps_;
};

Result attach_to_cgroup(int cgroup, int program, bpf_attach_type attach, const std::string& name);
Result load_and_attach(int cgroup, BpfProgram program, bpf_prog_type type, bpf_attach_type attach,
                       const std::string& name);

}  // namespace vs::isolation
