/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What was measured, as medians over repetitions: of each figure by itself,
 * but of the longest call the longest.
 */
#include "results.h"

#include "ticks.h"

enum { MAX_COLUMNS = 10 };

/* --- tab-separated values --- */

void report_values(FILE *out)
{
	const struct results *e;

	fputs("workload\tadapter\tparam\tthreads\tns\tphase1_ns\tphase2_ns\t"
	      "ops_per_s\tp50_ns\tp99_ns\tp999_ns\tmax_ns\textra\t"
	      "overhead_per_gib\thold_p999_ns\thold_max_ns\tparked_pages\n",
	      out);
	for (unsigned i = 0; (e = results_at(i)) != NULL; i++)
		fprintf(out,
			"%s\t%s\t%u\t%u\t%.4g\t%.4g\t%.4g\t%.6g\t%.4g\t%.4g\t"
			"%.4g\t%.4g\t%.4g\t%.6g\t%.4g\t%.4g\t%.6g\n",
			e->c.workload->name, e->c.adapter->name,
			workload_param(e->c.workload, e->c.param), e->c.threads,
			MEDIAN(e, ns), MEDIAN(e, phases[0]),
			MEDIAN(e, phases[1]), MEDIAN(e, throughput),
			MEDIAN(e, latencies[0]), MEDIAN(e, latencies[1]),
			MEDIAN(e, latencies[2]), MOST(e, latencies[3]),
			MEDIAN(e, extra), MEDIAN(e, overhead),
			MEDIAN(e, holds[0]), MOST(e, holds[1]),
			MEDIAN(e, parked));
}

/* --- text --- */

void report_ns(FILE *out, double ns)
{
	if (ns <= 0)
		fprintf(out, " %8s", "-");
	else if (ns < 100)
		fprintf(out, " %8.1f", ns);
	else if (ns < 1e5)
		fprintf(out, " %8.0f", ns);
	else if (ns < 1e7)
		fprintf(out, " %6.0fus", ns / 1e3);
	else
		fprintf(out, " %6.0fms", ns / 1e6);
}

static const struct results *
results_of(const struct workload *workload,
	   const struct quire_bench_adapter *adapter, unsigned param,
	   unsigned threads)
{
	const struct bench_case c = { workload, adapter, param, threads };

	return results_find(&c);
}

static int measured(const struct workload *workload, unsigned param,
		    unsigned threads)
{
	const struct results *e;

	for (unsigned i = 0; (e = results_at(i)) != NULL; i++)
		if (e->c.workload == workload && e->c.param == param &&
		    e->c.threads == threads)
			return 1;
	return 0;
}

/* What the columns of a table are. */
struct columns {
	const struct workload *workload;
	unsigned by_param;
	unsigned count, fixed; /* the other of param and threads */
	unsigned values[MAX_COLUMNS];
};

static const struct results *cell(const struct columns *columns,
				  const struct quire_bench_adapter *adapter,
				  unsigned column)
{
	unsigned value = columns->values[column];

	return columns->by_param ? results_of(columns->workload, adapter, value,
					      columns->fixed)
				 : results_of(columns->workload, adapter,
					      columns->fixed, value);
}

static const struct results *
first_cell(const struct columns *columns,
	   const struct quire_bench_adapter *adapter)
{
	for (unsigned i = 0; i < columns->count; i++)
		if (cell(columns, adapter, i))
			return cell(columns, adapter, i);
	return NULL;
}

static int has_phases(const struct workload *workload)
{
	const struct results *e;

	for (unsigned i = 0; (e = results_at(i)) != NULL; i++)
		if (e->c.workload == workload && MEDIAN(e, phases[1]) > 0)
			return 1;
	return 0;
}

static int has_holds(const struct workload *workload)
{
	const struct results *e;

	for (unsigned i = 0; (e = results_at(i)) != NULL; i++)
		if (e->c.workload == workload && MOST(e, holds[1]) > 0)
			return 1;
	return 0;
}

static void put_details(FILE *out, const struct columns *columns,
			const struct results *e)
{
	if (!columns->by_param)
		for (unsigned i = 0; i < columns->count; i++) {
			const struct results *at =
				cell(columns, e->c.adapter, i);

			if (at)
				fprintf(out, " %8.4g",
					MEDIAN(at, throughput) / 1e6);
			else
				fprintf(out, " %8s", "-");
		}
	report_ns(out, MEDIAN(e, latencies[0]));
	report_ns(out, MEDIAN(e, latencies[1]));
	report_ns(out, MEDIAN(e, latencies[2]));
	report_ns(out, MOST(e, latencies[3]));
	if (has_phases(columns->workload)) {
		report_ns(out, MEDIAN(e, phases[0]));
		report_ns(out, MEDIAN(e, phases[1]));
	}
	if (columns->workload->extra)
		fprintf(out, " %8.3f", MEDIAN(e, extra));
	if (has_holds(columns->workload)) {
		fputs("  ", out);
		report_ns(out, MEDIAN(e, holds[0]));
		report_ns(out, MOST(e, holds[1]));
	}
	fputc('\n', out);
}

static void put_head(FILE *out, const struct columns *columns)
{
	const struct workload *workload = columns->workload;
	const int width = (int)(9 * columns->count);

	fprintf(out, "%-16s %*s", "", width - 1, "ns/op");
	if (!columns->by_param)
		fprintf(out, "%*s", width, "Mop/s");
	fprintf(out, "%36s\n", "latency of a call, ns");
	fprintf(out, "%-16s", columns->by_param ? workload->param : "threads");
	for (unsigned twice = columns->by_param; twice < 2; twice++)
		for (unsigned i = 0; i < columns->count; i++)
			fprintf(out, " %8u",
				columns->by_param
					? workload_param(workload,
							 columns->values[i])
					: columns->values[i]);
	fprintf(out, " %8s %8s %8s %8s", "p50", "p99", "p99.9", "max");
	if (has_phases(workload))
		fprintf(out, " %8s %8s", "alloc", "free");
	if (workload->extra)
		fprintf(out, " %8s", workload->extra);
	if (has_holds(workload))
		fprintf(out, " %10s %8s", "hold p99.9", "hold max");
	fputc('\n', out);
}

static void put_table(FILE *out, const struct columns *columns)
{
	const struct quire_bench_adapter *adapter;

	put_head(out, columns);
	for (unsigned a = 0; (adapter = adapter_at(a)) != NULL; a++) {
		const struct results *first = first_cell(columns, adapter);

		if (!first)
			continue;
		fprintf(out, "%-16s", adapter->name);
		for (unsigned i = 0; i < columns->count; i++) {
			const struct results *e = cell(columns, adapter, i);

			report_ns(out, e ? MEDIAN(e, ns) : 0);
		}
		put_details(out, columns, first);
	}
}

static void put_by_threads(FILE *out, const struct workload *workload,
			   unsigned param)
{
	struct columns columns = { .workload = workload, .fixed = param };
	unsigned threads;

	for (unsigned i = 0; (threads = bench_threads(i)) != 0; i++)
		if (measured(workload, param, threads) &&
		    columns.count < MAX_COLUMNS)
			columns.values[columns.count++] = threads;
	if (columns.count == 0 || (workload->params > 1 && columns.count == 1))
		return;
	fprintf(out, "\n%s", workload->name);
	if (workload->params > 1)
		fprintf(out, ", %s %u", workload->param,
			workload_param(workload, param));
	fprintf(out, ": %s\n", workload->text);
	put_table(out, &columns);
}

static void put_by_param(FILE *out, const struct workload *workload)
{
	struct columns columns = { .workload = workload,
				   .by_param = 1,
				   .fixed = 1 };

	for (unsigned param = 0; param < workload->params; param++)
		if (measured(workload, param, 1) && columns.count < MAX_COLUMNS)
			columns.values[columns.count++] = param;
	if (columns.count == 0)
		return;
	fprintf(out, "\n%s, 1 thread: %s\n", workload->name, workload->text);
	put_table(out, &columns);
}

static void put_overhead(FILE *out)
{
	const struct quire_bench_adapter *adapter;
	const struct results *e;
	int headed = 0;

	for (unsigned a = 0; (adapter = adapter_at(a)) != NULL; a++)
		for (unsigned i = 0; (e = results_at(i)) != NULL; i++) {
			double bytes = MEDIAN(e, overhead);

			if (e->c.adapter != adapter || bytes <= 0)
				continue;
			if (!headed++)
				fputs("\nTables, bytes per GiB managed\n", out);
			fprintf(out, "%-16s %8.0f (%.3f %%)\n", adapter->name,
				bytes, bytes / (double)(1u << 30) * 100);
			break;
		}
}

void report_text(FILE *out)
{
	const struct workload *workload;
	const struct ticks_info *ticks = ticks_info();

	if (!results_at(0))
		return;
	fprintf(out,
		"Medians of repetitions. An operation is an allocation and "
		"its free.\n"
		"  ns/op    CPU time of all threads, divided by operations\n"
		"  Mop/s    million operations a second, all threads together\n"
		"  latency  of one alloc or one free, for the first column; "
		"timed in a second pass\n"
		"           by the %s, whose own %.0f ns are taken off\n"
		"  hold     how long a zone's lock was held, in that pass\n",
		ticks->clock, (double)ticks->cost * ticks->ns);
	for (unsigned i = 0; (workload = workload_at(i)) != NULL; i++) {
		if (workload->params > 1)
			put_by_param(out, workload);
		for (unsigned param = 0; param < workload->params; param++)
			put_by_threads(out, workload, param);
	}
	put_overhead(out);
}
