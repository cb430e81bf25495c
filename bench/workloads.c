/* SPDX-License-Identifier: BSD-2-Clause */
/* See workloads.h. */
#include "workloads.h"

#include <stddef.h>

uint64_t workload_pair(const struct bench_adapter *adapter, unsigned order,
		       uint64_t n)
{
	/* In registers: the table is not read again between the calls. */
	void *(*const alloc)(unsigned) = adapter->alloc;
	void (*const free_block)(void *, unsigned) = adapter->free;
	uint64_t failures = 0;

	for (uint64_t i = 0; i < n; i++) {
		void *block = alloc(order);

		if (__builtin_expect(block == NULL, 0)) {
			failures++;
			continue;
		}
		free_block(block, order);
	}
	return failures;
}
