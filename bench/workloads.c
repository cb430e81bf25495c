/* SPDX-License-Identifier: BSD-2-Clause */
/* Which workloads there are, and with how many threads. */
#include "workloads.h"

#include <unistd.h>

static const struct workload *const workloads[] = {
	&workload_pair,
	&workload_bulk,
	&workload_random,
	&workload_refill,
	&workload_mixed,
	&workload_cross,
	&workload_touch,
	&workload_exhaust,
	&workload_create,
	&workload_fragment_bursts,
	&workload_fragment_balanced,
	NULL,
};

const struct workload *workload_at(unsigned i)
{
	return workloads[i];
}

unsigned workload_param(const struct workload *workload, unsigned param)
{
	return workload->param_value ? workload->param_value(param) : param;
}

enum { CROWD = 32 };

unsigned bench_cpus(void)
{
	long cpus = sysconf(_SC_NPROCESSORS_ONLN);

	return cpus > 0 ? (unsigned)cpus : 1;
}

unsigned bench_threads(unsigned i)
{
	unsigned most = 2 * bench_cpus();
	unsigned n = 1;

	for (; i != 0; i--) {
		if (n >= CROWD && n * 2 > most)
			return 0;
		n = n * 2 <= most ? n * 2 : CROWD;
	}
	return n;
}
