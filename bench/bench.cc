// SPDX-License-Identifier: BSD-2-Clause
//
// Registers the cases with Google Benchmark: every option of it can be given;
// those below are defaults. An iteration is a round, of which the C part says
// how long it took. After the run come the tables, what quire promises and
// whether it keeps it, and quire beside the baseline and beside the floor.
#include <benchmark/benchmark.h>

#include <algorithm>
#include <cerrno>
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <iterator>
#include <list>
#include <map>
#include <regex>
#include <string>
#include <vector>

#include <sys/stat.h>
#include <unistd.h>

#include "bench.h"

namespace
{

const char *const usage =
	"usage: quire-bench [OPTION]...\n"
	"  --full             all cases (default: those of two minutes)\n"
	"  --adapters=FOLDER  measure every adapter in FOLDER/*.so too\n"
	"  --out=FOLDER       write bench.json, bench.txt and *.tsv there\n"
	"  --filter=REGEX     only cases whose name this finds; a - before "
	"it:\n"
	"                     only others\n"
	"  --repetitions=N    of each case, interleaved (default 3, or 9 "
	"where\n"
	"                     a promise needs it; full 9)\n"
	"  --slice-ms=N       how long a stream goes on (default 20, full "
	"100)\n"
	"  --arena-gib=N      where time grows with it (default 4; mallocs "
	"and\n"
	"                     mmap 1, full 4)\n"
	"  --list             print the names of the cases\n"
	"  --benchmark_...    an option of Google Benchmark\n";

struct options {
	bool full = false, list = false;
	unsigned repetitions = 0, slice_ms = 0, arena_gib = 0;
	std::string out, filter;
	std::vector<std::string> adapters;
	std::vector<std::string> others; // Google Benchmark's
};

struct planned_case {
	bench_case c;
	std::string name;
	bench_settings settings;
	unsigned timings; // passes with timed calls that are left
};

// An allocator that is opened late needs room for its thread-local variables,
// which the loader sets aside only at the start.
void make_room_for_libraries(char **argv)
{
	const char *const room = "glibc.rtld.optional_static_tls=16384";
	const char *const old = std::getenv("GLIBC_TUNABLES");

	if (old && std::strstr(old, "optional_static_tls"))
		return;
	const std::string value =
		old && *old ? std::string(old) + ":" + room : room;
	setenv("GLIBC_TUNABLES", value.c_str(), 1);
	execv("/proc/self/exe", argv);
}

// The value of --name=VALUE, or nullptr.
const char *value_of(const char *arg, const char *name)
{
	const size_t n = std::strlen(name);

	return std::strncmp(arg, name, n) == 0 && arg[n] == '=' ? arg + n + 1
								: nullptr;
}

bool parse_own(options *o, const char *arg)
{
	if (std::strcmp(arg, "--full") == 0)
		o->full = true;
	else if (std::strcmp(arg, "--list") == 0)
		o->list = true;
	else if (const char *folder = value_of(arg, "--adapters"))
		o->adapters.push_back(folder);
	else if (const char *out = value_of(arg, "--out"))
		o->out = out;
	else if (const char *regex = value_of(arg, "--filter"))
		o->filter = regex;
	else if (const char *same = value_of(arg, "--benchmark_filter"))
		o->filter = same;
	else if (const char *n = value_of(arg, "--repetitions"))
		o->repetitions = unsigned(std::strtoul(n, nullptr, 10));
	else if (const char *times = value_of(arg, "--benchmark_repetitions"))
		o->repetitions = unsigned(std::strtoul(times, nullptr, 10));
	else if (const char *gib = value_of(arg, "--arena-gib"))
		o->arena_gib = unsigned(std::strtoul(gib, nullptr, 10));
	else if (const char *ms = value_of(arg, "--slice-ms"))
		o->slice_ms = unsigned(std::strtoul(ms, nullptr, 10));
	else
		return false;
	return true;
}

options parse(int argc, char **argv)
{
	options o;

	for (int i = 1; i < argc; i++) {
		const std::string arg = argv[i];

		if (arg == "--help") {
			std::fputs(usage, stdout);
			std::exit(0);
		}
		if (arg == "--adapters" && i + 1 < argc)
			o.adapters.push_back(argv[++i]);
		else if (!parse_own(&o, argv[i]))
			o.others.push_back(arg);
	}
	if (o.slice_ms == 0)
		o.slice_ms = o.full ? 100 : 20;
	return o;
}

void measure(benchmark::State &state, planned_case *planned)
{
	bench_result result = {};

	for (auto _ : state) {
		progress_next(&planned->c);
		planned->settings.latency = planned->timings > 0;
		if (const char *fault = bench_measure(
			    &planned->c, &planned->settings, &result)) {
			state.SkipWithError(fault);
			return;
		}
		if (planned->timings > 0)
			planned->timings--;
		state.SetIterationTime(result.wall);
		results_add(&planned->c, &result);
	}
	state.counters["ns_per_op"] = result.ns;
	state.counters["ops_per_s"] = result.throughput;
	if (result.latencies[3] > 0) {
		state.counters["p50_ns"] = result.latencies[0];
		state.counters["p99_ns"] = result.latencies[1];
		state.counters["p99.9_ns"] = result.latencies[2];
		state.counters["max_ns"] = result.latencies[3];
	}
	if (result.phases[1] > 0) {
		state.counters["alloc_ns"] = result.phases[0];
		state.counters["free_ns"] = result.phases[1];
	}
	if (planned->c.workload->extra)
		state.counters[planned->c.workload->extra] = result.extra;
	if (result.holds[1] > 0) {
		state.counters["hold_p99.9_ns"] = result.holds[0];
		state.counters["hold_max_ns"] = result.holds[1];
	}
	if (result.parked > 0)
		state.counters["parked_pages"] = result.parked;
	if (result.overhead > 0)
		state.counters["table_bytes_per_gib"] = result.overhead;
}

std::string name_of(const bench_case &c)
{
	std::string name =
		std::string(c.workload->name) + "/" + c.adapter->name;

	if (c.workload->params > 1)
		name += std::string("/") + c.workload->param + ":" +
			std::to_string(workload_param(c.workload, c.param));
	return name + "/threads:" + std::to_string(c.threads);
}

class name_filter
{
      public:
	explicit name_filter(const std::string &text)
	    : inverted_(!text.empty() && text[0] == '-'),
	      regex_(inverted_ ? text.substr(1) : text)
	{
	}

	bool wants(const std::string &name) const
	{
		return std::regex_search(name, regex_) != inverted_;
	}

      private:
	bool inverted_;
	std::regex regex_;
};

// In the short version each case has few; those that need more get them all the
// same.
unsigned usual_repetitions(const options &o)
{
	if (o.repetitions != 0)
		return o.repetitions;
	return o.full ? 9 : 3;
}

unsigned repetitions_of(const bench_case &c, const options &o)
{
	return std::max(usual_repetitions(o),
			o.repetitions != 0 ? 0 : reach_repetitions(&c));
}

// Timing the calls of a pass takes as long as the pass.
unsigned timings_of(const bench_case &c, const options &o)
{
	return c.workload->flags & WORKLOAD_STREAM ? usual_repetitions(o) : 1;
}

// Who asks the system for each page needs a second for a GiB.
unsigned arena_gib_of(const bench_case &c, const options &o)
{
	const unsigned own = QUIRE_BENCH_BOUNDED | QUIRE_BENCH_THREAD_LOCAL;

	if (o.arena_gib != 0)
		return o.arena_gib;
	return o.full || c.adapter->flags & own ? 4 : 1;
}

void plan_workload(std::list<planned_case> *cases, const options &o,
		   const name_filter &filter, bench_case c)
{
	for (c.param = 0; c.param < c.workload->params; c.param++)
		for (unsigned i = 0; (c.threads = bench_threads(i)) != 0; i++) {
			const std::string name = name_of(c);

			if (bench_planned(&c, o.full) && filter.wants(name))
				cases->push_back(
					{ c,
					  name,
					  { o.slice_ms, arena_gib_of(c, o), 0 },
					  timings_of(c, o) });
		}
}

// By workload, then by adapter: peers are measured close together in time.
std::list<planned_case> plan(const options &o)
{
	const name_filter filter(o.filter);
	std::list<planned_case> cases;
	bench_case c = {};

	for (unsigned w = 0; (c.workload = workload_at(w)) != nullptr; w++)
		for (unsigned a = 0; (c.adapter = adapter_at(a)) != nullptr;
		     a++)
			plan_workload(&cases, o, filter, c);
	return cases;
}

// Peers that cannot be had here are named, once, if they were asked for.
void drop_unusable(std::list<planned_case> *cases)
{
	std::map<const quire_bench_adapter *, bool> usable;

	for (auto i = cases->begin(); i != cases->end();) {
		const auto *adapter = i->c.adapter;

		if (usable.find(adapter) == usable.end())
			usable[adapter] = adapter_usable(adapter);
		i = usable[adapter] ? std::next(i) : cases->erase(i);
	}
}

void register_all(std::list<planned_case> *cases, const options &o)
{
	for (auto &planned : *cases) {
		const unsigned repetitions = repetitions_of(planned.c, o);

		benchmark::RegisterBenchmark(planned.name.c_str(), measure,
					     &planned)
			->UseManualTime()
			->Unit(benchmark::kMillisecond)
			->Repetitions(int(repetitions));
		progress_plan(&planned.c, repetitions);
	}
}

// Google Benchmark's own console shows rounds; only what failed is of interest.
class quiet : public benchmark::BenchmarkReporter
{
      public:
	bool ReportContext(const Context &) override
	{
		return true;
	}

	void ReportRuns(const std::vector<Run> &runs) override
	{
		for (const Run &run : runs)
			if (run.error_occurred)
				std::fprintf(stderr, "%s is skipped: %s\n",
					     run.run_name.function_name.c_str(),
					     run.error_message.c_str());
	}
};

int init_google_benchmark(const options &o)
{
	// It keeps a pointer to its own name, for the JSON.
	static std::vector<std::string> texts = {
		"quire-bench",
		// Interleaved, a drift of the machine's speed meets all alike.
		"--benchmark_enable_random_interleaving=true",
		"--benchmark_min_time=0.0001",
		"--benchmark_report_aggregates_only=true",
	};
	if (!o.out.empty()) {
		texts.push_back("--benchmark_out=" + o.out + "/bench.json");
		texts.push_back("--benchmark_out_format=json");
	}
	texts.insert(texts.end(), o.others.begin(), o.others.end());

	std::vector<char *> args;
	for (auto &text : texts)
		args.push_back(&text[0]);
	int count = int(args.size());
	args.push_back(nullptr);
	benchmark::Initialize(&count, args.data());
	if (benchmark::ReportUnrecognizedArguments(count, args.data())) {
		std::fputs(usage, stderr);
		return 2;
	}
	return 0;
}

// Each pair of quire's beside the same of the floor's.
void print_pairs(const std::list<planned_case> &cases)
{
	for (const auto &planned : cases) {
		const bench_case &c = planned.c;
		bench_case beside = c;

		beside.adapter = &adapter_tls_stack;
		if (std::strcmp(c.workload->name, "pair") != 0 ||
		    std::strncmp(c.adapter->name, "quire-", 6) != 0 ||
		    c.threads != 1)
			continue;
		const double own = results_ns(&c);
		const double floor = results_ns(&beside);
		if (own > 0 && floor > 0)
			std::printf("%s order %u pair: %.2f ns, "
				    "thread-local stack: %.2f ns, "
				    "ratio %.2f\n",
				    c.adapter->name, c.param, own, floor,
				    own / floor);
	}
}

void write_text(FILE *out)
{
	report_text(out);
	reach_text(out);
	baseline_text(out);
}

bool write_files(const options &o)
{
	const struct {
		const char *name;
		void (*write)(FILE *);
	} files[] = { { "/bench.txt", write_text },
		      { "/bench.tsv", report_values },
		      { "/reach.tsv", reach_values },
		      { "/baseline.tsv", baseline_values } };

	for (const auto &file : files) {
		const std::string path = o.out + file.name;
		FILE *const out = std::fopen(path.c_str(), "w");

		if (out)
			file.write(out);
		if (!out || std::fclose(out) != 0) {
			std::perror(path.c_str());
			return false;
		}
	}
	return true;
}

} // namespace

int main(int argc, char **argv)
{
	make_room_for_libraries(argv);

	const options o = parse(argc, argv);
	for (const auto &folder : o.adapters)
		if (adapters_load(folder.c_str()) < 0) {
			std::perror(folder.c_str());
			return 2;
		}
	if (!o.out.empty() && mkdir(o.out.c_str(), 0777) != 0 &&
	    errno != EEXIST) {
		std::perror(o.out.c_str());
		return 2;
	}
	if (const int status = init_google_benchmark(o))
		return status;

	auto cases = plan(o);
	if (o.list) {
		for (const auto &planned : cases)
			std::printf("%s\n", planned.name.c_str());
		return 0;
	}
	drop_unusable(&cases);
	register_all(&cases, o);
	quiet report;
	const size_t ran = benchmark::RunSpecifiedBenchmarks(&report);
	benchmark::Shutdown();
	progress_end();
	write_text(stdout);
	std::printf("\n");
	print_pairs(cases);
	return ran != 0 && (o.out.empty() || write_files(o)) ? 0 : 1;
}
