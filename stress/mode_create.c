/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * create: allocators come and go beside one that is under load. Now and then a
 * worker makes a small one of its own, of any shape, uses it, is refused its
 * destruction while a page is live, and destroys it. An extra thread does
 * nothing else.
 */
#include <errno.h>

#include "blocks.h"

enum { EVERY = 64, TAKES = 40 };

static void ignore(void *arg, const char *message)
{
	(void)arg, (void)message;
}

static struct quire *make(struct worker *w, uint64_t pick)
{
	struct quire_options o = QUIRE_OPTIONS_INIT;

	o.size = (1 + pick % 16) << 20;
	o.way = w->run->way;
	if (pick >> 8 & 1) {
		o.size += UINT64_C(4) << 20;
		o.zone_size[QUIRE_ZONE_DMA32] = UINT64_C(2) << 20;
	}
	o.cpus = (unsigned)(pick >> 16) % 5;
	o.renew = (unsigned)(pick >> 24) % (QUIRE_RENEW_MAX + 1);
	o.backing[0] = pick >> 32 & 1 ? QUIRE_BACKING_BASE : 0;
	if (pick >> 33 & 1) {
		o.flags = QUIRE_OFFSETS;
		o.offset = pick >> 40 << QUIRE_PAGE_SHIFT;
		o.backing[0] = 0;
	}
	/* What is refused on purpose is told to nobody. */
	o.report = ignore;
	return quire_create(&o);
}

/* From creation to destruction. */
static void cycle(struct worker *w, uint64_t pick)
{
	struct quire_page *page[TAKES];
	struct quire *q = make(w, pick);
	unsigned n = 0;

	/* Each in the bound way has a thread key, and there are 1,024. */
	if (!q && errno == EAGAIN)
		return;
	if (!q) {
		violation("thread %u: create 0x%llx: errno %d", w->number,
			  (unsigned long long)pick, errno);
		return;
	}
	while (n < TAKES && (page[n] = quire_alloc_pages(q, 0, 0)))
		n++;
	if (n < TAKES)
		violation("thread %u: a new allocator gave %u pages", w->number,
			  n);
	for (unsigned i = 1; i < n; i++)
		if (quire_free_pages(q, page[i], 0) != 0)
			violation("thread %u: a free was refused", w->number);
	if (quire_destroy(q) == 0 || errno != EBUSY) {
		violation("thread %u: destroyed with a live page", w->number);
		return;
	}
	if (quire_free_pages(q, page[0], 0) != 0 || quire_validate(q) != 0 ||
	    quire_destroy(q) != 0)
		violation("thread %u: not sound, or not destroyed: errno %d",
			  w->number, errno);
	count(&w->ops, 2 * n);
	count(&w->events, 1);
}

static void create_round(struct worker *w)
{
	for (unsigned i = 0; i < w->run->steps; i++) {
		blocks_step(w);
		if (i % EVERY == 0)
			cycle(w, rng_next(&w->rng));
	}
}

static void create_help(struct worker *w)
{
	while (run_busy(w->run))
		cycle(w, rng_next(&w->reply));
}

const struct mode mode_create = {
	.name = "create",
	.attacks = "Allocators of all shapes are made, used and destroyed "
		   "beside one that is under load. Finds what allocators share "
		   "and should not, and destruction that loses to live pages.",
	.events = "allocators",
	.promise = PROMISE_PAGES,
	.zones = 1,
	.round = create_round,
	.help = create_help,
};
