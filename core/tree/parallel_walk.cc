#include "core/tree/parallel_walk.h"

#include <tbb/enumerable_thread_specific.h>
#include <tbb/parallel_for_each.h>

#include <utility>

namespace vs {

void walk_directories(const std::vector<DirectoryTask>& roots, const Cancel& cancel,
                      const ListDirectory& list) {
  tbb::enumerable_thread_specific<DirReader> readers;
  tbb::parallel_for_each(roots.begin(), roots.end(),
                         [&](const DirectoryTask& task, tbb::feeder<DirectoryTask>& feeder) {
                           if (cancel.stop()) return;
                           for (auto& below : list(task, readers.local())) feeder.add(std::move(below));
                         });
}

}  // namespace vs
