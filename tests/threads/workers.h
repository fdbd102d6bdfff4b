// Plain threads over a list of jobs, as a parallel pass runs its stage bodies: no TBB, so the thread
// sanitizer sees everything.
#pragma once

#include <atomic>
#include <thread>
#include <vector>

namespace vs::unit {

inline constexpr unsigned kWorkers = 4;

// `body(worker)` in each of kWorkers threads at once; returns when all have ended.
template <class Body>
void in_threads(const Body& body) {
  std::vector<std::jthread> threads;
  for (unsigned worker = 0; worker < kWorkers; ++worker)
    threads.emplace_back([&body, worker] { body(worker); });
}

// `body(job)` for each job in [0, jobs), the next one to whichever thread is free.
template <class Body>
void for_each_job(size_t jobs, const Body& body) {
  std::atomic<size_t> next{0};
  in_threads([&](unsigned) {
    for (size_t job = next++; job < jobs; job = next++) body(job);
  });
}

}  // namespace vs::unit
