/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The bound way: threads stand in for CPUs.
 *
 * Each CPU has one seat. The thread in it is that CPU wherever a CPU number
 * counts: for the page lists (pcp.c) and for the node that a call starts at. A
 * thread finds its seat by a thread key, of which each allocator has its own;
 * the key's exit hook frees the seat of a thread that ends while it is bound.
 *
 * Locking: none. A seat is taken by one compare-and-swap (acquire) and left by
 * one store (release), so its next thread sees what the last one did to the
 * CPU's lists. A thread writes only its own key, so that it sits in one seat of
 * an allocator at most.
 */
#include <errno.h>

#include "base/report.h"
#include "instance/allocator.h"
#include "platform/platform_process.h"

static void leave_seat(void *value)
{
	struct pcp_seat *seat = value;

	/* release: with the acquire in quire_cpu_bind(). */
	atomic_store_explicit(&seat->taken, 0, memory_order_release);
}

int bind_init(struct quire *q, struct pcp_seat *seats, uint32_t nr_seats)
{
	if (platform_key_create(&q->key, leave_seat) != 0) {
		report(&q->reporter,
		       "way bound cannot be had: no thread key (errno %d)",
		       errno);
		return -1;
	}
	q->seats = seats;
	for (uint32_t cpu = 0; cpu < nr_seats; cpu++)
		seats[cpu].cpu = cpu;
	return 0;
}

void bind_fini(struct quire *q)
{
	platform_key_delete(q->key);
}

struct pcp_seat *bind_seat(const struct quire *q)
{
	return platform_key_get(q->key);
}

void bind_forget_threads(struct quire *q)
{
	const struct pcp_seat *mine = bind_seat(q);

	for (uint32_t cpu = 0; cpu < q->nr_cpus; cpu++)
		if (&q->seats[cpu] != mine)
			atomic_store_explicit(&q->seats[cpu].taken, 0,
					      memory_order_relaxed);
}

int quire_cpu_bind(struct quire *q, unsigned n)
{
	uint32_t nobody = 0;

	if (q->way != QUIRE_WAY_BOUND) {
		report(&q->reporter, "cpu_bind: CPU %u: the way in use is %s",
		       n, quire_way_name(q->way));
		errno = ENOTSUP;
		return -1;
	}
	if (allocator_check_fork(q) != 0)
		return -1;
	if (n >= q->nr_cpus)
		return report_invalid(&q->reporter, "cpu_bind: CPU %u of %u", n,
				      q->nr_cpus);
	/* acquire: with the release in leave_seat(). */
	if (bind_seat(q) ||
	    !atomic_compare_exchange_strong_explicit(
		    &q->seats[n].taken, &nobody, 1, memory_order_acquire,
		    memory_order_relaxed)) {
		errno = EBUSY;
		return -1;
	}
	if (platform_key_set(q->key, &q->seats[n]) != 0) {
		leave_seat(&q->seats[n]);
		return -1;
	}
	return 0;
}

int quire_cpu_unbind(struct quire *q)
{
	struct pcp_seat *seat;

	if (q->way != QUIRE_WAY_BOUND) {
		errno = ENOTSUP;
		return -1;
	}
	seat = bind_seat(q);
	if (!seat) {
		errno = EINVAL;
		return -1;
	}
	platform_key_set(q->key, NULL);
	leave_seat(seat);
	return 0;
}
