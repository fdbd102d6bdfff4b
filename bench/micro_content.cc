// What is done once a content or once a file's metadata: digests, extended attributes, records of the logs.
#include <benchmark/benchmark.h>
#include <unistd.h>

#include "core/durable/record_log.h"
#include "core/store/file_class.h"
#include "unify/packages/hasher.h"

namespace vs::unify {
namespace {

void BM_fast_hash(benchmark::State& state) {
  const std::string bytes(static_cast<size_t>(state.range(0)), 'x');
  for (auto _ : state) {
    FastHasher hasher;
    hasher.update(bytes);
    benchmark::DoNotOptimize(hasher.finish());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
}
BENCHMARK(BM_fast_hash)->Arg(2000)->Arg(256 << 10);

void BM_digest(benchmark::State& state) {
  const auto algorithm = static_cast<DigestAlgorithm>(state.range(0));
  const std::string bytes(static_cast<size_t>(state.range(1)), 'x');
  for (auto _ : state) {
    Digester digester(algorithm);
    digester.update(bytes);
    benchmark::DoNotOptimize(digester.finish());
  }
  state.SetLabel(std::string(digest_name(algorithm)));
  state.SetBytesProcessed(state.iterations() * state.range(1));
}
BENCHMARK(BM_digest)->ArgsProduct({{static_cast<int64_t>(DigestAlgorithm::md5),
                                    static_cast<int64_t>(DigestAlgorithm::sha256)},
                                   {2000, 256 << 10}});

void BM_xattr_hash(benchmark::State& state) {
  std::vector<Xattr> xattrs;
  if (state.range(0) != 0)
    xattrs = {{"security.selinux", "system_u:object_r:usr_t:s0"}, {"user.note", "value"}};
  for (auto _ : state) benchmark::DoNotOptimize(xattr_hash(xattrs));
}
BENCHMARK(BM_xattr_hash)->Arg(0)->Arg(2);

void BM_record_log_parse(benchmark::State& state) {
  const std::string path = "/tmp/vserver-micro-bench.log";
  ::unlink(path.c_str());
  const std::string body(static_cast<size_t>(state.range(0)), 'b');
  auto writer = value_or_throw(RecordLogWriter::open(path));
  for (int i = 0; i < 1000; ++i) writer.append(1, body);
  ok_or_throw(writer.flush());
  for (auto _ : state) benchmark::DoNotOptimize(read_record_log(path));
  state.SetBytesProcessed(state.iterations() * 1000 * state.range(0));
  ::unlink(path.c_str());
}
BENCHMARK(BM_record_log_parse)->Arg(100)->Arg(100'000)->Unit(benchmark::kMillisecond);

void BM_record_log_append(benchmark::State& state) {
  const std::string path = "/tmp/vserver-micro-bench.log";
  ::unlink(path.c_str());
  const std::string body(static_cast<size_t>(state.range(0)), 'b');
  auto writer = value_or_throw(RecordLogWriter::open(path));
  for (auto _ : state) {
    writer.append(1, body);
    ok_or_throw(writer.flush());
  }
  state.SetBytesProcessed(state.iterations() * state.range(0));
  ::unlink(path.c_str());
}
BENCHMARK(BM_record_log_append)->Arg(100)->Arg(100'000)->Iterations(2000);

}  // namespace
}  // namespace vs::unify
