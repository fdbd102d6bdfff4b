// What is done once a file in memory: collecting, sorting and grouping rows.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <random>

#include "unify/plan/candidate_key.h"
#include "unify/plan/candidates.h"

namespace vs::unify {
namespace {

FileTable table_of(int64_t files) {
  std::mt19937_64 draw(1);
  FileTable table;
  DirNumber dir;
  for (int64_t i = 0; i < files; ++i) {
    if (i % 25 == 0)
      dir = table.add_dir(GuestNumber(draw() % 20),
                          fmt::format("usr/share/synthetic-{:05}/part-{:02}", draw() % 1000, draw() % 40));
    FileRow row;
    row.ino = draw();
    row.size = draw() % 4096;
    row.mtime_ns = static_cast<int64_t>(1'600'000'000 + draw() % 1000) * 1'000'000'000;
    row.mode = 0100644;
    row.nlink = 1;
    row.tag = kNoPackage;
    table.add_row(row, dir, fmt::format("file-{:07}", draw() % 10'000'000));
  }
  return table;
}

Rules rules_for_all() {
  Rules rules;
  rules.scope = Scope::all;
  return rules;
}

void BM_table_sort(benchmark::State& state) {
  const FileTable made = table_of(state.range(0));
  for (auto _ : state) {
    state.PauseTiming();
    FileTable table = made;
    state.ResumeTiming();
    table.sort();
    benchmark::DoNotOptimize(table);
  }
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_table_sort)->Arg(10'000)->Arg(300'000)->Unit(benchmark::kMillisecond);

void BM_candidate_key(benchmark::State& state) {
  const FileTable table = table_of(1000);
  const PackageIndex packages;
  const Rules rules = rules_for_all();
  size_t i = 0;
  for (auto _ : state)
    benchmark::DoNotOptimize(candidate_key(table, table.rows()[RowNumber(i++ % 1000)], packages, rules));
  state.SetItemsProcessed(state.iterations());
}
BENCHMARK(BM_candidate_key);

void BM_find_candidates(benchmark::State& state) {
  GuestFiles files;
  files.table = table_of(state.range(0));
  files.table.sort();
  files.packages.resize(20);
  files.devices.assign(20, 1);
  const Rules rules = rules_for_all();
  const MasterTable masters;
  for (auto _ : state) benchmark::DoNotOptimize(find_candidates(files, rules, masters));
  state.SetItemsProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_find_candidates)->Arg(10'000)->Arg(300'000)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vs::unify
