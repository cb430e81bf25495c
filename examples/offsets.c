/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Pages of memory that this process cannot see: a device's, say, of which only
 * the range of offsets is known. quire hands out offsets and never touches what
 * lies behind them.
 *
 *	cc offsets.c -o offsets $(pkg-config --cflags --libs quire)
 */
#include <quire/quire.h>

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

enum { ORDER = 4, BUFFERS = 3 };

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(void)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;
	options.flags = QUIRE_OFFSETS;
	options.offset = 0x180000000;
	options.size = 96 << 20;
	struct quire *q = quire_create(&options);
	if (!q)
		return fail("quire_create");

	struct quire_page *buffer[BUFFERS];
	for (unsigned i = 0; i < BUFFERS; i++) {
		buffer[i] = quire_alloc_pages(q, ORDER, 0);
		if (!buffer[i])
			return fail("quire_alloc_pages");
		quire_page_set_private(q, buffer[i], i);
		printf("buffer %u: 64 KiB at device offset 0x%" PRIx64 "\n", i,
		       quire_page_to_offset(q, buffer[i]));
	}

	/* A completion names an offset; its page knows the rest. */
	uint64_t done = quire_page_to_offset(q, buffer[1]);
	struct quire_page *page = quire_offset_to_page(q, done);
	if (!page)
		return fail("quire_offset_to_page");
	printf("offset 0x%" PRIx64 " is buffer %" PRIu64 ", order %d\n", done,
	       quire_page_private(q, page), quire_page_order(q, page));

	if (!quire_page_to_virt(q, page) && errno == ENOTSUP)
		puts("it has no address: it is mapped nowhere");

	for (unsigned i = 0; i < BUFFERS; i++)
		if (quire_free_pages(q, buffer[i], ORDER) != 0)
			return fail("quire_free_pages");
	if (quire_destroy(q) != 0)
		return fail("quire_destroy");
	return 0;
}
