// Guests that change at random: files, links, directories and nodes come, go, move and change in all the ways
// in which a guest and vunify change them. Names, sizes and times are few, so that what is compared by them
// is often another thing that looks the same.
#pragma once

#include <sys/types.h>

#include <map>
#include <optional>
#include <string>
#include <vector>

#include "tests/backup/model/dice.h"

namespace vs::test {

class RandomGuests {
 public:
  // `trees`: name -> an existing directory. All may be on one filesystem.
  RandomGuests(std::map<std::string, std::string> trees, Dice& dice);
  ~RandomGuests();
  RandomGuests(const RandomGuests&) = delete;

  // So many steps. One that the filesystem refuses (a link to another filesystem, a directory that would lie
  // in itself, a sealed file) changes nothing.
  void change(size_t steps);

 private:
  struct Mapping {
    int fd;
    char* bytes;
    size_t size;
  };
  std::string any_tree();
  std::vector<std::string> paths_in(const std::string& tree) const;
  std::string any(char type);  // a path of this type ('f', 'd'), or of any ('*'); "" for none
  std::string new_name();      // a place in any directory, which may be taken
  size_t size();

  void write_file();
  void write_at();
  void append();
  void truncate();
  void same_again();
  void replace();
  void move();
  void exchange();
  void link();
  void share();
  void unshare();
  void remove();
  void make_node();
  void another_kind();
  void map();
  void write_through(const Mapping& mapping);
  void forget_mappings(std::optional<ino_t> inode);
  void permissions();
  void owner();
  void attribute();
  void touch();
  void flag();

  void node_at(const std::string& path, size_t kind);
  void put_link(const std::string& from, const std::string& to);

  std::map<std::string, std::string> trees_;
  Dice& dice_;
  std::vector<Mapping> mappings_;
};

}  // namespace vs::test
