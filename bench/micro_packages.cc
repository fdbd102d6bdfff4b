// Reading dpkg's database: the texts alone, and a whole guest as `vunify` does it each night.
#include <benchmark/benchmark.h>
#include <fmt/format.h>

#include <cstdlib>

#include "unify/packages/dpkg_reader.h"
#include "unify/packages/dpkg_text.h"
#include "unify/packages/load_packages.h"

namespace vs::unify {
namespace {

std::string list_text(int files) {
  std::string text = "/.\n/usr\n/usr/share\n/usr/share/synthetic\n";
  for (int i = 0; i < files; ++i)
    text += fmt::format("/usr/share/synthetic/part-{:02}/file-{:07}\n", i / 25, i);
  return text;
}

std::string md5sums_text(int files) {
  std::string text;
  for (int i = 0; i < files; ++i)
    text += fmt::format("{:032x}  usr/share/synthetic/part-{:02}/file-{:07}\n", i * 7919, i / 25, i);
  return text;
}

void count_files(benchmark::State& state) {
  state.SetItemsProcessed(state.iterations() * state.range(0));
}

void BM_dpkg_list(benchmark::State& state) {
  const std::string text = list_text(static_cast<int>(state.range(0)));
  std::vector<PackageTrouble> troubles;
  TroubleLog log(troubles);
  for (auto _ : state) benchmark::DoNotOptimize(parse_dpkg_list({"list", text}, log));
  count_files(state);
}
BENCHMARK(BM_dpkg_list)->Arg(250)->Arg(5000);

void BM_dpkg_md5sums(benchmark::State& state) {
  const std::string text = md5sums_text(static_cast<int>(state.range(0)));
  std::vector<PackageTrouble> troubles;
  TroubleLog log(troubles);
  std::forward_list<std::string> unescaped;
  for (auto _ : state) benchmark::DoNotOptimize(parse_dpkg_md5sums({"md5sums", text}, unescaped, log));
  count_files(state);
}
BENCHMARK(BM_dpkg_md5sums)->Arg(250)->Arg(5000);

// List and digests of one package joined into the index.
void BM_record_dpkg_package(benchmark::State& state) {
  const std::string list = list_text(static_cast<int>(state.range(0))),
                    md5sums = md5sums_text(static_cast<int>(state.range(0)));
  std::vector<PackageTrouble> troubles;
  TroubleLog log(troubles);
  DpkgPackage package;
  package.name = "synthetic";
  package.version = "1";
  package.arch = "all";
  package.has_files = package.normal = true;
  for (auto _ : state) {
    PackageIndexBuilder builder;
    DpkgInfo info;
    info.list = {"list", list};
    info.md5sums = {"md5sums", md5sums};
    record_dpkg_package(package, info, builder, log);
    benchmark::DoNotOptimize(builder);
  }
  count_files(state);
}
BENCHMARK(BM_record_dpkg_package)->Arg(250)->Arg(5000);

// A real guest: VS_BENCH_GUEST=/path/to/tree micro_benches --benchmark_filter=load_packages
void BM_load_packages(benchmark::State& state) {
  const char* tree = std::getenv("VS_BENCH_GUEST");
  if (tree == nullptr) return state.SkipWithError("VS_BENCH_GUEST names no tree");
  const RootDir root(tree);
  std::vector<PackageTrouble> troubles;
  size_t files = 0;
  for (auto _ : state) files = load_packages(root, std::nullopt, troubles).file_count();
  state.SetItemsProcessed(state.iterations() * static_cast<int64_t>(files));
}
BENCHMARK(BM_load_packages)->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace vs::unify
