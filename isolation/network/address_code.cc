#include "isolation/network/address_code.h"

#include <cstring>

namespace vs::isolation {
namespace {

uint32_t word(const uint8_t* bytes) {
  uint32_t value = 0;
  std::memcpy(&value, bytes, 4);
  return value;
}

Words6 words(const BindAddress& address) {
  return {word(&address.bytes[0]), word(&address.bytes[4]), word(&address.bytes[8]),
          word(&address.bytes[12])};
}

// Goes to `label` when the first `count` words are those of `address`.
void if_begins6(BpfProgram& program, const Words6& address, size_t count, uint8_t base, int16_t offset,
                const std::string& label) {
  const std::string next = program.fresh_label();
  for (size_t i = 0; i < count; ++i) {
    program.load32(kScratch, base, static_cast<int16_t>(offset + 4 * static_cast<int>(i)));
    program.if_not_equal(kScratch, address[i], next);
  }
  program.jump(label);
  program.label(next);
}

}  // namespace

AddressLists lists_of(const AddressRules& rules) {
  AddressLists lists;
  lists.loopback = rules.loopback == 0 ? 0 : net(rules.loopback);
  for (const auto& address : rules.addresses) {
    if (address.v6)
      lists.v6.push_back(words(address));
    else
      lists.v4.push_back(word(&address.bytes[0]));
  }
  lists.low_ports_for = rules.low_ports_for;
  if (rules.loopback6) lists.loopback6.push_back(words(*rules.loopback6));
  return lists;
}

void if_ours4(BpfProgram& program, const AddressLists& lists, uint8_t reg, const std::string& label) {
  for (const uint32_t one : lists.v4) program.if_equal(reg, one, label);
  if (lists.loopback != 0) program.if_equal(reg, lists.loopback, label);
}

void if_ours6(BpfProgram& program, const AddressLists& lists, uint8_t base, int16_t offset,
              const std::string& label) {
  for (const auto& one : lists.v6) if_equal6(program, one, base, offset, label);
  for (const auto& one : lists.loopback6) if_equal6(program, one, base, offset, label);
}

void if_equal6(BpfProgram& program, const Words6& address, uint8_t base, int16_t offset,
               const std::string& label) {
  if_begins6(program, address, address.size(), base, offset, label);
}

void if_loopback_net6(BpfProgram& program, uint8_t base, int16_t offset, const std::string& label) {
  if_begins6(program, words(loopback6_of_vserver("")), 2, base, offset, label);
}

void begin_with_ends(BpfProgram& program) {
  begin(program);
  program.load32(kScratch, kContext, offsetof(bpf_sock_addr, family));
  program.if_equal(kScratch, 0x7ffe, "refuse");
  program.if_equal(kScratch, 0x7fff, "allow");
}

void set_retval_and_refuse(BpfProgram& program, int error) {
  program.set(BPF_REG_1, -error);
  program.call(BPF_FUNC_set_retval);
  program.leave_with(0);
}

void unless_mapped(BpfProgram& program, int16_t offset, const std::string& label) {
  const uint32_t expected[] = {0, 0, kMapped};
  for (int i = 0; i < 3; ++i) {
    program.load32(kScratch, kContext, static_cast<int16_t>(offset + 4 * i));
    program.if_not_equal(kScratch, expected[i], label);
  }
}
void unless_zero(BpfProgram& program, int16_t offset, int words, const std::string& label) {
  for (int i = 0; i < words; ++i) {
    program.load32(kScratch, kContext, static_cast<int16_t>(offset + 4 * i));
    program.if_not_equal(kScratch, 0, label);
  }
}

void write_word(BpfProgram& program, int16_t offset, uint32_t value) {
  program.set32(kScratch, value);
  program.store32(kContext, offset, kScratch);
}
void write_words6(BpfProgram& program, int16_t offset, const Words6& address) {
  for (size_t i = 0; i < address.size(); ++i)
    write_word(program, static_cast<int16_t>(offset + 4 * static_cast<int>(i)), address[i]);
}

void finish(BpfProgram& program, int error) {
  program.label("allow");
  program.leave_with(1);
  program.label("refuse");
  set_retval_and_refuse(program, error);
}

}  // namespace vs::isolation
