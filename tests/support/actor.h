// One chaos process from the inside: its model and its operations (see chaos.h).
#pragma once

#include <ctime>
#include <functional>
#include <memory>
#include <random>

#include "tests/support/chaos.h"

namespace vs::test {

constexpr size_t kMostActorNames = 60;         // an actor's directory does not grow without end
constexpr size_t kLargestActorFile = 200'000;  // nor do its files

inline int64_t ns(const timespec& time) {
  return time.tv_sec * 1'000'000'000LL + time.tv_nsec;
}
inline timespec from_ns(int64_t time) {
  return {time / 1'000'000'000, time % 1'000'000'000};
}

// In files by what it does: actor.cc (the model, and reading back), actor_bytes.cc, actor_names.cc (names and
// class), actor_kinds.cc (other types, package records).
class Actor {
 public:
  explicit Actor(ActorOptions options);  // chroots into the tree and learns what stands in its directory
  void act();                            // one random operation of its role
  ActorReport report();

 private:
  struct Inode {
    char type = 'f';
    std::string bytes;  // of a file; target of a symlink; "major:minor"
    FileClass is;
    std::vector<FileClass> also;
  };
  using InodePtr = std::shared_ptr<Inode>;
  struct Held {
    InodePtr inode;
    int write_fd = -1, read_fd = -1;
    char* map = nullptr;
    size_t size = 0;
  };
  using Op = void (Actor::*)();
  struct Choice {
    int weight;
    Op op;
  };
  static const std::vector<Choice>& choices(Role role);

  // Operations. Each does what it says to a random name and keeps the model in step.
  void verify();
  void write_in_place();
  void rewrite_with_old_mtime();
  void rewrite_truncating();
  void append();
  void truncate();
  void map_and_store();
  void hold();
  void hold_mapping();
  void write_held();
  void drop_held();
  void restore_in_place();
  void restore_by_replacing();
  void replace();
  void rename_away();
  void exchange();
  void link();
  void unlink();
  void change_mode();
  void change_owner();
  void forge_mtime();
  void change_xattr();
  void become_symlink();
  void become_dir();
  void become_fifo();
  void become_device();
  void become_socket();
  void probe_fifo();
  void flip_directory();
  void forge_record();
  void restore_record();
  void rename_to_odd_name();
  void make_odd_name();

  void load(int dir, const std::string& path);
  size_t below(size_t limit) { return limit == 0 ? 0 : random_() % limit; }
  std::string any_name(const std::string& types);  // "" when there is none
  std::string any_original();
  std::string fresh_name(const std::string& beside);
  std::string new_bytes(size_t size);
  int open_name(const std::string& name, int flags);
  // Notes the outcome of a call; true when it succeeded. Another errno than those of a seal or a lease is a
  // surprise.
  bool succeeded(long result, const char* call, const std::string& name);
  void surprise(const std::string& what, const std::string& name);
  void learn_times(int fd, Inode& inode) const;
  void store(int fd, Inode& inode, size_t at, const std::string& bytes);
  bool remove_name(const std::string& name);
  bool create(const std::string& name, const std::string& bytes, const FileClass& wanted);
  bool rename_over(const std::string& from, const std::string& to);
  bool swap_names(const std::string& a, const std::string& b);
  void put_special(const std::string& name, char type, const std::string& target);
  void forget_held(size_t at);
  size_t names_of(const InodePtr& inode) const;
  void change_class(const std::string& name, const char* call, const std::function<long()>& apply,
                    const std::function<void(FileClass&)>& change);

  ActorOptions options_;
  std::mt19937 random_;
  int dir_ = -1;
  std::map<std::string, InodePtr> names_;   // relative to its directory
  std::map<std::string, Inode> originals_;  // what stood there at first: regular files
  std::vector<Held> held_;
  uint64_t sequence_ = 0, done_ = 0, refused_ = 0;
  std::vector<std::string> surprises_;
};

}  // namespace vs::test
