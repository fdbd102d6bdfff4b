// What a started vserver holds on the host, so that any later command can give it back.
#pragma once

#include <string>
#include <vector>

#include "isolation/context/places.h"

namespace vs::isolation {

class Held {
 public:
  Held(const Places& places, const std::string& name);
  bool exists() const;
  void begin() const;                                                // an empty list
  void add(const std::string& kind, const std::string& name) const;  // before it is taken
  struct Item {
    std::string kind, name;
  };
  std::vector<Item> items() const;  // in the order in which they were taken
  void end() const;

 private:
  std::string file_;
};

}  // namespace vs::isolation
