// Ten nights of two guests that change at random, backed up into one or two sets, with all that may happen to
// a set and to the index meanwhile; and then what damage makes of the sets.
//
// The model is simple: after each night it is remembered what the trees were (Everything), and what the host
// had for each, under the stamp of the night. A state of a guest that a set lists is to be that, or to be
// refused (judgement.h).
#pragma once

#include <cstdint>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <vector>

#include "tests/backup/everything.h"

namespace vs::test {

struct HistoryPlace {
  // An empty directory: sets, index, restored trees; and the guests' trees unless said otherwise.
  std::string dir;
  std::map<std::string, std::string> trees = {{"alpha", dir + "/alpha"}, {"beta", dir + "/beta"}};
  std::string consistency = "live";
  EverythingOptions options = {};
  std::shared_ptr<void> disk = {};  // what goes when the history is over
};

// What is wrong, each with what happened before; empty when all is well.
std::vector<std::string> faults_of_history(uint64_t seed, const HistoryPlace& place);

// Of each of these seeds, several at a time: a night waits for the next second. VS_MODEL_SEEDS=FROM-TO in the
// environment takes the place of both numbers. `place` is called by several threads.
std::vector<std::string> faults_of_seeds(uint64_t from, uint64_t to,
                                         const std::function<HistoryPlace(uint64_t seed)>& place);

}  // namespace vs::test
