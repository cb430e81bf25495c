/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Plain mmap and munmap: the kernel as the page allocator. Each hole between
 * mappings costs one of vm.max_map_count.
 */
#include "adapters.h"

#include <sys/mman.h>

static int init(uint64_t bytes, unsigned threads)
{
	(void)bytes;
	(void)threads;
	return 0;
}

static void fini(void)
{
}

static void *alloc(unsigned order)
{
	void *block = mmap(NULL, (size_t)4096 << order, PROT_READ | PROT_WRITE,
			   MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);

	return block == MAP_FAILED ? NULL : block;
}

static void free_block(void *block, unsigned order)
{
	munmap(block, (size_t)4096 << order);
}

const struct quire_bench_adapter adapter_mmap = {
	.struct_size = sizeof(struct quire_bench_adapter),
	.name = "mmap",
	.flags = QUIRE_BENCH_FEW_HOLES,
	.max_order = QUIRE_BENCH_MAX_ORDER,
	.init = init,
	.fini = fini,
	.alloc = alloc,
	.free = free_block,
};
