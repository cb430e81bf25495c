// SPDX-License-Identifier: BSD-2-Clause
//
// Registers the workloads with Google Benchmark, and after its report prints
// quire beside the floor, from medians of the same run. Every option of Google
// Benchmark can be given; those below are defaults.
#include <benchmark/benchmark.h>

#include <cerrno>
#include <cstdio>
#include <cstring>
#include <map>
#include <mutex>
#include <string>
#include <vector>

#include "adapter.h"
#include "workloads.h"

namespace
{

// Interleaved, a drift of the machine's speed meets all alike.
const char *const default_options[] = {
	"--benchmark_enable_random_interleaving=true",
	"--benchmark_repetitions=21",
	"--benchmark_min_time=0.02",
	"--benchmark_report_aggregates_only=true",
};

const bench_adapter *const adapters[] = {
	&adapter_tls_stack,
	&adapter_quire_rseq,
	&adapter_quire_trylock,
	&adapter_quire_bound,
};

// Large enough for lists of every order; only reserved.
constexpr uint64_t arena_bytes = uint64_t(4) << 30;

// Threads of one run come in one by one: the first makes the allocator, the
// last out ends it. Google Benchmark's loop is a barrier at either end, so none
// leaves before all are in.
class session
{
      public:
	bool enter(const bench_adapter *adapter, unsigned thread,
		   unsigned threads)
	{
		const std::lock_guard<std::mutex> guard(lock_);

		if (inside_ == 0 && adapter->init(arena_bytes, threads) != 0)
			return false;
		if (adapter->thread_init && adapter->thread_init(thread) != 0) {
			if (inside_ == 0)
				adapter->fini();
			return false;
		}
		inside_++;
		return true;
	}

	void leave(const bench_adapter *adapter)
	{
		const std::lock_guard<std::mutex> guard(lock_);

		if (adapter->thread_fini)
			adapter->thread_fini();
		if (--inside_ == 0)
			adapter->fini();
	}

      private:
	std::mutex lock_;
	unsigned inside_ = 0;
};

session running;

void pair(benchmark::State &state, const bench_adapter *adapter, unsigned order)
{
	constexpr uint64_t batch = 1024;
	uint64_t failures = 0;

	if (!running.enter(adapter, unsigned(state.thread_index()),
			   unsigned(state.threads()))) {
		state.SkipWithError(std::strerror(errno));
		return;
	}
	workload_pair(adapter, order, batch);
	while (state.KeepRunningBatch(batch))
		failures += workload_pair(adapter, order, batch);
	if (failures != 0)
		state.SkipWithError("allocations failed");
	running.leave(adapter);
}

std::string name_of(const char *workload, const bench_adapter *adapter,
		    unsigned order)
{
	return std::string(workload) + "/" + adapter->name + "/" +
	       std::to_string(order);
}

// Whether a peer can be had here; if not, it is named.
bool usable(const bench_adapter *adapter)
{
	if (adapter->init(arena_bytes, 1) != 0) {
		std::printf("%s is skipped: %s\n", adapter->name,
			    std::strerror(errno));
		return false;
	}
	adapter->fini();
	return true;
}

void register_all()
{
	for (const auto *adapter : adapters) {
		if (!usable(adapter))
			continue;
		for (unsigned order = 0; order <= BENCH_MAX_ORDER; order++)
			benchmark::RegisterBenchmark(
				name_of("pair", adapter, order).c_str(), pair,
				adapter, order);
	}
}

// Google Benchmark's own report, with the medians kept: nanoseconds of CPU
// time, by benchmark.
class keeper : public benchmark::ConsoleReporter
{
      public:
	void ReportRuns(const std::vector<Run> &runs) override
	{
		for (const Run &run : runs)
			if (!run.error_occurred &&
			    run.aggregate_name == "median")
				medians[run.run_name.function_name] =
					run.GetAdjustedCPUTime();
		ConsoleReporter::ReportRuns(runs);
	}

	std::map<std::string, double> medians;
};

void print_pairs(const std::map<std::string, double> &medians)
{
	for (const auto *adapter : adapters) {
		if (adapter == &adapter_tls_stack)
			continue;
		for (unsigned order = 0; order <= BENCH_MAX_ORDER; order++) {
			const auto own =
				medians.find(name_of("pair", adapter, order));
			const auto floor = medians.find(
				name_of("pair", &adapter_tls_stack, order));

			if (own == medians.end() || floor == medians.end())
				continue;
			std::printf("%s order %u pair: %.2f ns, "
				    "thread-local stack: %.2f ns, "
				    "ratio %.2f\n",
				    adapter->name, order, own->second,
				    floor->second, own->second / floor->second);
		}
	}
}

} // namespace

int main(int argc, char **argv)
{
	std::vector<char *> args(1, argv[0]);

	for (const char *option : default_options)
		args.push_back(const_cast<char *>(option));
	args.insert(args.end(), argv + 1, argv + argc);
	args.push_back(nullptr);

	int count = int(args.size()) - 1;
	benchmark::Initialize(&count, args.data());
	if (benchmark::ReportUnrecognizedArguments(count, args.data()))
		return 2;
	register_all();

	keeper report;
	const size_t ran = benchmark::RunSpecifiedBenchmarks(&report);
	benchmark::Shutdown();
	if (!report.medians.empty()) {
		std::printf("\nMedians of one interleaved run, CPU time:\n");
		print_pairs(report.medians);
	}
	return ran == 0 ? 1 : 0;
}
