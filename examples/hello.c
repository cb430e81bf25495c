/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * An allocator of 256 MiB, one page of it, and back: the example at the top of
 * quire/quire.h, with its errors checked.
 *
 *	cc hello.c -o hello $(pkg-config --cflags --libs quire)
 */
#include <quire/quire.h>

#include <stdio.h>
#include <string.h>

static int fail(const char *what)
{
	perror(what);
	return 1;
}

int main(void)
{
	struct quire_options options = QUIRE_OPTIONS_INIT;
	options.size = 256ull << 20;
	struct quire *q = quire_create(&options);
	if (!q)
		return fail("quire_create");

	struct quire_page *page = quire_alloc_pages(q, 0, QUIRE_ZERO);
	if (!page)
		return fail("quire_alloc_pages");

	char *text = quire_page_to_virt(q, page);
	strcpy(text, "hello from a page of my own");
	puts(text);

	if (quire_free_pages(q, page, 0) != 0)
		return fail("quire_free_pages");
	if (quire_destroy(q) != 0)
		return fail("quire_destroy");
	return 0;
}
