/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Today's library beside the one that bench/baseline.sh builds from history: a
 * line for each case of baseline-X of which quire-X was measured too. As in
 * reach.c the i-th repetitions are divided by each other, for what the machine
 * did in that minute is in both.
 */
#include "results.h"

#include <string.h>

struct line {
	const struct results *now, *then;
	struct ratios ratios;
};

/* NULL: the baseline has none. */
static const struct results *results_then(const struct results *now)
{
	struct bench_case c = now->c;

	for (unsigned i = 0; (c.adapter = adapter_at(i)) != NULL; i++)
		if (c.adapter != now->c.adapter &&
		    adapter_today(c.adapter) == now->c.adapter)
			return results_find(&c);
	return NULL;
}

/* The i-th results' line, if there is something to divide. */
static int line_at(unsigned i, struct line *line)
{
	line->now = results_at(i);
	line->then = results_then(line->now);
	if (!line->then)
		return 0;
	line->ratios = results_ratios(line->now, line->then,
				      offsetof(struct bench_result, ns));
	return line->ratios.count != 0;
}

static void put_head(FILE *out)
{
	fputs("\nBeside the baseline: ns/op, and today's divided by the "
	      "baseline's, the i-th\n"
	      "repetition's by the i-th's. Below 1 today's library is "
	      "faster.\n",
	      out);
	fprintf(out, "%-18s%-8s%8s %8s %8s %8s  %s\n", "", "way", "threads",
		"today", "baseline", "ratio", "middle half");
}

static void put_line(FILE *out, const struct line *line)
{
	const struct bench_case *c = &line->now->c;
	const struct workload *workload = c->workload;
	char text[32];

	if (workload->params > 1)
		snprintf(text, sizeof(text), "%s, %s %u", workload->name,
			 workload->param, workload_param(workload, c->param));
	else
		snprintf(text, sizeof(text), "%s", workload->name);
	fprintf(out, "%-18s%-8s%8u", text, strchr(c->adapter->name, '-') + 1,
		c->threads);
	report_ns(out, MEDIAN(line->now, ns));
	report_ns(out, MEDIAN(line->then, ns));
	fprintf(out, " %8.3f  %.3f to %.3f\n", line->ratios.median,
		line->ratios.low, line->ratios.high);
}

void baseline_text(FILE *out)
{
	struct line line;
	int headed = 0;

	for (unsigned i = 0; results_at(i); i++) {
		if (!line_at(i, &line))
			continue;
		if (!headed++)
			put_head(out);
		put_line(out, &line);
	}
}

void baseline_values(FILE *out)
{
	struct line line;

	fputs("workload\tadapter\tparam\tthreads\tns\tbaseline_ns\tratio\t"
	      "ratio_low\tratio_high\tpairs\n",
	      out);
	for (unsigned i = 0; results_at(i); i++) {
		const struct bench_case *c = &results_at(i)->c;

		if (!line_at(i, &line))
			continue;
		fprintf(out,
			"%s\t%s\t%u\t%u\t%.4g\t%.4g\t%.4f\t%.4f\t%.4f\t%u\n",
			c->workload->name, c->adapter->name,
			workload_param(c->workload, c->param), c->threads,
			MEDIAN(line.now, ns), MEDIAN(line.then, ns),
			line.ratios.median, line.ratios.low, line.ratios.high,
			line.ratios.count);
	}
}
