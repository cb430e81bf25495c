/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The replay's checks are alive: an allocator of this test's own stands in for
 * quire (so this program does not link it), sound or with one fault planted,
 * and the replay of a small trace must find each fault.
 */
#include "testing.h"

#include <errno.h>
#include <unistd.h>

#include "quire/quire.h"

#include "../tools/replay.h"

enum fault {
	FAULT_NONE,
	FAULT_TWICE,	 /* gives a page that is live */
	FAULT_UNALIGNED, /* a block of order 1 at an odd page */
	FAULT_OUTSIDE,	 /* a page behind the arena */
	FAULT_ERRNO,	 /* fails, but not for want of memory */
	FAULT_REFUSES,	 /* a good free */
	FAULT_LEAKS,	 /* forgets a freed page, and counts it live */
	FAULT_SUM,	 /* forgets a freed page altogether */
	FAULT_RUNS,	 /* tells of a free run that is not there */
	FAULT_VALIDATE,	 /* finds its own tables broken */
	FAULT_DESTROY,	 /* cannot be destroyed */
	FAULT_WRITES,	 /* into a page that is live */
	FAULT_DIRTY,	 /* gives a page that is not zero as zero */
	FAULTS,
};

enum { PAGES = 4096, NTH = 20 };

struct quire_page {
	unsigned char live;
};

struct quire {
	enum fault fault;
	pthread_mutex_t lock;
	struct quire_page page[PAGES + 2];
	unsigned calls;
	bool forgot; /* a page, once */
	uint64_t live, lost, failures;
	bool mapped;
	char *memory;
};

static struct quire the_quire = { .lock = PTHREAD_MUTEX_INITIALIZER };

/* ------------------------------------------------------------------ */
/* The stand-in: first fit                                             */

struct quire *quire_create(const struct quire_options *options)
{
	struct quire *q = &the_quire;

	memset(q->page, 0, sizeof(q->page));
	q->calls = 0;
	q->forgot = false;
	q->live = q->lost = q->failures = 0;
	q->mapped = !(options->flags & QUIRE_OFFSETS);
	q->memory = calloc(PAGES + 2, QUIRE_PAGE_SIZE);
	return q->memory ? q : NULL;
}

int quire_destroy(struct quire *q)
{
	free(q->memory);
	errno = EBUSY;
	return q->fault == FAULT_DESTROY ? -1 : 0;
}

int quire_info(const struct quire *q, struct quire_info *info, size_t size)
{
	(void)q;
	memset(info, 0, size);
	info->pages = PAGES;
	info->way = QUIRE_WAY_BOUND;
	return 0;
}

static bool fits(const struct quire *q, unsigned at, unsigned n)
{
	for (unsigned i = at; i < at + n; i++)
		if (q->page[i].live)
			return false;
	return true;
}

static unsigned choose(struct quire *q, unsigned n)
{
	bool now = ++q->calls >= NTH;
	unsigned at = 0;

	if (now && q->fault == FAULT_TWICE)
		while (at < PAGES && !q->page[at].live)
			at++;
	else if (now && q->fault == FAULT_OUTSIDE)
		at = PAGES;
	else
		while (at < PAGES && !fits(q, at, n))
			at += n;
	if (now && q->fault == FAULT_UNALIGNED && n == 2)
		at++;
	return at;
}

static struct quire_page *take(struct quire *q, unsigned n, unsigned flags)
{
	struct quire_page *page = NULL;
	unsigned at;

	pthread_mutex_lock(&q->lock);
	at = choose(q, n);
	if (q->fault == FAULT_ERRNO && q->calls == NTH) {
		errno = EPERM;
	} else {
		page = &q->page[at];
		q->live += n;
		for (unsigned i = at; i < at + n && i < PAGES + 2; i++)
			q->page[i].live = 1;
		if (flags & QUIRE_ZERO)
			memset(q->memory + at * QUIRE_PAGE_SIZE,
			       q->fault == FAULT_DIRTY, n * QUIRE_PAGE_SIZE);
	}
	pthread_mutex_unlock(&q->lock);
	return page;
}

struct quire_page *quire_alloc_pages(struct quire *q, unsigned order,
				     unsigned flags)
{
	return take(q, 1u << order, flags);
}

struct quire_page *quire_alloc_exact(struct quire *q, size_t n, unsigned flags)
{
	return take(q, (unsigned)n, flags);
}

int quire_free_exact(struct quire *q, struct quire_page *page, size_t n)
{
	bool now, forgets;
	int result = 0;

	pthread_mutex_lock(&q->lock);
	now = q->calls >= NTH;
	forgets = now && !q->forgot &&
		  (q->fault == FAULT_LEAKS || q->fault == FAULT_SUM);
	if (now && q->fault == FAULT_REFUSES) {
		errno = EINVAL;
		result = -1;
	} else if (forgets) {
		q->forgot = true;
		if (q->fault == FAULT_SUM) {
			q->live -= n;
			q->lost += n;
		}
	} else {
		q->live -= n;
		for (size_t i = 0; i < n; i++)
			page[i].live = 0;
	}
	pthread_mutex_unlock(&q->lock);
	return result;
}

int quire_free_pages(struct quire *q, struct quire_page *page, unsigned order)
{
	return quire_free_exact(q, page, (size_t)1 << order);
}

uint64_t quire_page_to_pfn(const struct quire *q, const struct quire_page *page)
{
	return (uint64_t)(page - q->page);
}

struct quire_page *quire_pfn_to_page(const struct quire *q, uint64_t pfn)
{
	return (struct quire_page *)&q->page[pfn];
}

void *quire_page_to_virt(const struct quire *q, const struct quire_page *page)
{
	return q->memory + (page - q->page) * (ptrdiff_t)QUIRE_PAGE_SIZE;
}

int quire_cpu_bind(struct quire *q, unsigned n)
{
	(void)q;
	(void)n;
	return 0;
}

int quire_drain_all(struct quire *q)
{
	(void)q;
	return 0;
}

int quire_stat(const struct quire *q, struct quire_stat *stat, size_t size)
{
	memset(stat, 0, size);
	stat->pages = PAGES;
	stat->pages_live = q->live;
	stat->pages_free = PAGES - q->live - q->lost;
	return 0;
}

/* Everything in runs of order 0: true as long as nobody looks closer. */
int quire_free_runs(struct quire *q, uint64_t runs[QUIRE_NR_ORDERS])
{
	memset(runs, 0, QUIRE_NR_ORDERS * sizeof(runs[0]));
	runs[0] = PAGES - q->live - q->lost;
	if (q->fault == FAULT_RUNS && q->calls >= NTH)
		runs[4]++;
	/* At a sample, where no thread is in its pages. */
	for (unsigned i = 0; q->fault == FAULT_WRITES && i < PAGES; i++)
		if (q->page[i].live)
			q->memory[i * QUIRE_PAGE_SIZE] ^= 1;
	return 0;
}

int quire_validate(struct quire *q)
{
	return q->fault == FAULT_VALIDATE;
}

const char *quire_way_name(enum quire_way way)
{
	(void)way;
	return "stand-in";
}

/* ------------------------------------------------------------------ */

/* A few CPUs that free each other's blocks of order 0 and 1, some in parts,
 * and leave some live. */
static struct script *make_script(void)
{
	char path[] = "/tmp/quire-replay-XXXXXX", error[SCRIPT_ERROR_SIZE];
	int fd = mkstemp(path);
	FILE *file = fd < 0 ? NULL : fdopen(fd, "w");
	struct script *script;

	assert_non_null(file);
	for (unsigned i = 0; i < 2000; i++) {
		fprintf(file,
			"t-1 [%u] 1.0: mm_page_alloc: pfn=%u order=%u "
			"gfp_flags=%s\n",
			i % 3, 2 * i, i % 2, i % 5 ? "X" : "__GFP_ZERO");
		if (i >= 50 && i % 10 != 1)
			fprintf(file,
				"t-1 [%u] 1.0: mm_page_free: pfn=%u order=%u\n",
				(i + 1) % 3, 2 * (i - 50), i % 10 ? i % 2 : 0);
	}
	assert_int_equal(fclose(file), 0);
	script = script_read(path, error);
	unlink(path);
	if (!script)
		fail_msg("%s", error);
	return script;
}

static uint64_t violations(enum fault fault, struct replay_options *options)
{
	struct script *script = make_script();
	struct replay_result result;
	char error[REPLAY_ERROR_SIZE];
	uint64_t n;

	the_quire.fault = fault;
	if (!replay_run(options, script, &result, error))
		fail_msg("%s", error);
	n = result.violations;
	assert_int_equal(result.nr_samples > 1, 1);
	replay_result_fini(&result);
	script_delete(script);
	return n;
}

static void test_sound(void **state)
{
	struct replay_options offsets = { .samples = 5 };
	struct replay_options touch = { .samples = 5,
					.mapped = true,
					.touch = true };

	(void)state;
	assert_int_equal(violations(FAULT_NONE, &offsets), 0);
	assert_int_equal(violations(FAULT_NONE, &touch), 0);
}

static void test_faults(void **state)
{
	struct replay_options offsets = { .samples = 5 };

	(void)state;
	for (enum fault fault = FAULT_TWICE; fault < FAULT_WRITES; fault++) {
		fprintf(stderr, "# planted fault %d:\n", (int)fault);
		if (violations(fault, &offsets) == 0)
			fail_msg("fault %d is not found", (int)fault);
	}
}

static void test_touched_faults(void **state)
{
	struct replay_options touch = { .samples = 5,
					.mapped = true,
					.touch = true };

	(void)state;
	for (enum fault fault = FAULT_WRITES; fault < FAULTS; fault++) {
		fprintf(stderr, "# planted fault %d:\n", (int)fault);
		if (violations(fault, &touch) == 0)
			fail_msg("fault %d is not found", (int)fault);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_sound),
		cmocka_unit_test(test_faults),
		cmocka_unit_test(test_touched_faults),
	};

	return cmocka_run_group_tests_name("replay", tests, NULL, NULL);
}
