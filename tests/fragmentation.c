/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What quire-fragmentation compares with is what it says it is: first fit
 * against a search through an array, the LIFO buddy by what Linux's lists
 * would do, and a repeated script by its own invariants.
 */
#include "testing.h"

#include "../tools/first_fit.h"
#include "../tools/lifo_buddy.h"
#include "../tools/reference.h"
#include "../tools/script_repeat.h"

enum { PAGES = 5 * 512 + 77, HELD = 600, STEPS = 40000 };

struct held {
	uint32_t page;
	unsigned order;
};

static bool live[PAGES];

static void mark(uint32_t page, unsigned order, bool to)
{
	for (uint32_t i = page; i < page + (1u << order); i++) {
		assert_true(i < PAGES && live[i] != to);
		live[i] = to;
	}
}

static uint32_t count_whole(void)
{
	uint32_t n = 0, used;

	for (uint32_t page = 0; page + 512 <= PAGES; page += 512) {
		used = 0;
		for (uint32_t i = page; i < page + 512; i++)
			used += live[i];
		n += used == 0;
	}
	return n;
}

static uint32_t search(unsigned order)
{
	uint32_t run = 1u << order, used;

	for (uint32_t page = 0; page + run <= PAGES; page += run) {
		used = 0;
		for (uint32_t i = page; i < page + run; i++)
			used += live[i];
		if (used == 0)
			return page;
	}
	return REFERENCE_NONE;
}

/* Random calls; `exact`: the page must be the one that search() finds. */
static void check_policy(const struct reference *r, bool exact)
{
	struct test_rng rng = test_seed();
	void *policy = r->create(PAGES);
	struct held held[HELD];
	unsigned n = 0;

	assert_non_null(policy);
	memset(live, 0, sizeof(live));
	for (unsigned step = 0; step < STEPS; step++) {
		if (n < HELD && test_below(&rng, 2)) {
			unsigned order = (unsigned)test_below(&rng, 12);
			uint32_t page;

			order = order > 10 ? 9 : order > 3 ? 0 : order;
			page = r->alloc(policy, order);
			if (exact)
				assert_int_equal(page, search(order));
			if (page == REFERENCE_NONE)
				continue;
			assert_int_equal(page % (1u << order), 0);
			mark(page, order, true);
			held[n++] = (struct held){ page, order };
		} else if (n) {
			unsigned at = (unsigned)test_below(&rng, n);

			mark(held[at].page, held[at].order, false);
			assert_true(
				r->free(policy, held[at].page, held[at].order));
			held[at] = held[--n];
		}
		if (step % 16 == 0)
			assert_int_equal(r->whole(policy), count_whole());
	}
	r->destroy(policy);
}

static void test_first_fit(void **state)
{
	(void)state;
	check_policy(&references[REFERENCE_FIRST_FIT], true);
}

static void test_lifo_buddy(void **state)
{
	(void)state;
	check_policy(&references[REFERENCE_LIFO_BUDDY], false);
}

/* A block may go back in parts; what is free may not go back. */
static void test_bad_frees(void **state)
{
	(void)state;
	for (unsigned i = 0; i < NR_REFERENCES; i++) {
		const struct reference *r = &references[i];
		void *policy = r->create(1024);
		uint32_t page = r->alloc(policy, 3);

		assert_int_not_equal(page, REFERENCE_NONE);
		assert_false(r->free(policy, page + 1, 1));
		assert_true(r->free(policy, page + 2, 1));
		assert_false(r->free(policy, page + 2, 1));
		assert_false(r->free(policy, page, 3));
		assert_true(r->free(policy, page, 1));
		assert_false(r->free(policy, page, 2));
		assert_true(r->free(policy, page + 4, 2));
		assert_int_equal(r->whole(policy), 2);
		assert_false(r->free(policy, 1024, 0));
		r->destroy(policy);
	}
}

/* What was freed last comes first; first fit takes the lowest. */
static void test_order_of_use(void **state)
{
	static const uint32_t after[] = {
		[REFERENCE_FIRST_FIT] = 1, [REFERENCE_LIFO_BUDDY] = 5
	};

	(void)state;
	for (unsigned i = 0; i < NR_REFERENCES; i++) {
		const struct reference *r = &references[i];
		void *policy = r->create(512);

		for (unsigned n = 0; n < 8; n++)
			r->alloc(policy, 0);
		assert_true(r->free(policy, 1, 0));
		assert_true(r->free(policy, 5, 0));
		assert_int_equal(r->alloc(policy, 0), after[i]);
		r->destroy(policy);
	}
}

/* ------------------------------------------------------------------ */
/* Repeating                                                           */

enum { PASSES = 4 };

static struct script *demo(void)
{
	const char *top = getenv("top_srcdir");
	char path[4096], error[SCRIPT_ERROR_SIZE];
	struct script *s;

	snprintf(path, sizeof(path), "%s/examples/demo.trace.zst",
		 top ? top : "..");
	s = script_read(path, error);
	if (!s)
		fail_msg("%s", error);
	return s;
}

static bool is_alloc(script_op op)
{
	return script_op_kind(op) <= SCRIPT_ALLOC_EXACT;
}

/* Pages still held of each slot; what is freed was allocated before. */
static void check_order(const struct script *s, uint64_t peak)
{
	uint32_t *pages = calloc(s->nr_slots + 1, sizeof(*pages));
	struct script_walk *walk = calloc(1, sizeof(*walk));
	uint64_t held = 0, most = 0;
	unsigned round = 0, cpu;
	script_op op;

	walk->script = s;
	while (script_walk_next(walk, &op, &cpu)) {
		uint32_t n = 1u << script_op_order(op);
		uint32_t *of = &pages[script_op_slot(op)];

		if (is_alloc(op)) {
			assert_int_equal(*of, 0);
			*of = n;
			held += n;
		} else {
			assert_true(*of >= n);
			*of -= n;
			held -= n;
		}
		most = held > most ? held : most;
		if (script_walk_at(walk, round)) {
			assert_int_equal(held, s->rounds[round].live);
			while (round < s->nr_rounds &&
			       script_walk_at(walk, round))
				round++;
		}
	}
	assert_int_equal(round, s->nr_rounds);
	assert_int_equal(held, s->counts.live_pages);
	assert_true(most <= peak);
	for (uint32_t i = 0; i < s->tail.nr; i++)
		pages[script_op_slot(s->tail.ops[i])] -=
			1u << script_op_order(s->tail.ops[i]);
	for (uint32_t i = 0; i < s->nr_slots; i++)
		assert_int_equal(pages[i], 0);
	free(pages);
	free(walk);
}

static void test_repeat(void **state)
{
	struct script *s = demo();

	(void)state;
	check_order(s, s->counts.peak_pages);
	for (uint64_t burst = 1; burst < 1000; burst *= 30) {
		struct script *again = script_repeat(s, PASSES, burst, 7);
		struct script *one;

		assert_non_null(again);
		assert_int_equal(again->counts.events,
				 PASSES * s->counts.events);
		assert_int_equal(again->nr_rounds, PASSES * s->nr_rounds);
		/* A round's turns are others: at most its own pages more. */
		check_order(again, s->counts.peak_pages * 11 / 10);
		one = script_merge(again);
		assert_non_null(one);
		assert_int_equal(one->nr_cpus, 1);
		assert_int_equal(one->nr_turns, again->nr_turns);
		check_order(one, again->counts.peak_pages);
		script_delete(one);
		script_delete(again);
	}
	script_delete(s);
}

/* The same seed, the same script; another, another. */
static void test_seeds(void **state)
{
	struct script *s = demo();
	struct script *a = script_repeat(s, 2, 16, 1);
	struct script *b = script_repeat(s, 2, 16, 1);
	struct script *c = script_repeat(s, 2, 16, 2);

	(void)state;
	assert_true(a->nr_turns == b->nr_turns && a->nr_turns == c->nr_turns);
	assert_memory_equal(a->turns, b->turns,
			    a->nr_turns * sizeof(*a->turns));
	assert_memory_not_equal(a->turns, c->turns,
				a->nr_turns * sizeof(*a->turns));
	script_delete(a);
	script_delete(b);
	script_delete(c);
	script_delete(s);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_first_fit),
		cmocka_unit_test(test_lifo_buddy),
		cmocka_unit_test(test_bad_frees),
		cmocka_unit_test(test_order_of_use),
		cmocka_unit_test(test_repeat),
		cmocka_unit_test(test_seeds),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
