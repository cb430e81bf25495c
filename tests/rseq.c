/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The restartable sequences, twice.
 *
 * Over a pretend rseq area, whose CPU number the test sets: every operation
 * does what its twin of cpu_stack.h does, and refuses when it must.
 *
 * For real: threads move numbered items between their hands and the stacks,
 * while timers interrupt them (the handler uses the very stack), another
 * thread moves them from CPU to CPU, and a third closes and drains the stacks
 * behind the fence. It goes on until sequences have really been aborted: a
 * signal that finds the thread at an abort address tells. In the end every item
 * is in one place, and the words' tallies are the pops that succeeded.
 */
#include "testing.h"

#include "base/cpu_stack.h"
#include "platform/platform.h"
#include "platform/platform_process.h"
#include "platform/rseq.h"

#if QUIRE_HAVE_RSEQ

#include <sched.h>
#include <signal.h>
#include <sys/rseq.h>
#include <sys/syscall.h>
#include <time.h>
#include <ucontext.h>
#include <unistd.h>

/* A stack and its slots, where the sequences look for them in a set. */
enum { STACK = 64, ITEMS = 256, SLOTS = 48, SETS = 3 };
#define SET_BYTES ((size_t)1 << CPU_SET_SHIFT)

static struct cpu_stack *stack_at(char *set)
{
	return (struct cpu_stack *)(void *)(set + STACK);
}

static uint32_t *items_at(char *set)
{
	return (uint32_t *)(void *)(set + ITEMS);
}

static void open_set(char *set, uint16_t high)
{
	stack_at(set)->slots = ITEMS;
	cpu_stack_open(stack_at(set), high);
}

/* --- over a pretend area --- */

static _Thread_local volatile struct {
	uint32_t start, cpu;
	uint64_t descriptor;
	uint64_t rest[2];
} __attribute__((aligned(32))) area;

static char sets[SETS << CPU_SET_SHIFT] __attribute__((aligned(4096)));
static char twin[1 << CPU_SET_SHIFT] __attribute__((aligned(4096)));

static uintptr_t thread_pointer(void)
{
#if defined(__x86_64__)
	uintptr_t pointer;

	__asm__("movq %%fs:0, %0" : "=r"(pointer));
	return pointer;
#else
	return (uintptr_t)__builtin_thread_pointer();
#endif
}

static void pretend(uint32_t cpu)
{
	rseq_area = (ptrdiff_t)((uintptr_t)&area - thread_pointer());
	area.cpu = cpu;
}

static void pretend_no_more(void)
{
	rseq_area = __rseq_offset;
}

static char *set_of(uint32_t cpu)
{
	return sets + cpu * SET_BYTES;
}

static int setup(void **state)
{
	(void)state;
	memset(sets, 0, sizeof(sets));
	memset(twin, 0, sizeof(twin));
	for (uint32_t cpu = 0; cpu < SETS; cpu++)
		open_set(set_of(cpu), SLOTS);
	open_set(twin, SLOTS);
	pretend(0);
	return 0;
}

static void refuses_all(uint32_t cpu)
{
	static char before[sizeof(sets)];
	char *set = set_of(cpu < SETS ? cpu : 0);
	uint32_t items[4] = { 5, 6, 7, 8 }, item = 9;

	memcpy(before, sets, sizeof(sets));
	assert_false(rseq_push(sets, SETS, STACK, 1));
	assert_false(rseq_pop(sets, SETS, STACK, &item));
	assert_false(rseq_push_batch(set, cpu, STACK, items, 4));
	assert_int_equal(
		rseq_pop_batch(set, cpu, STACK, items, 4, CPU_STACK_POPPED), 0);
	assert_int_equal(item, 9);
	assert_int_equal(items[0], 5);
	assert_memory_equal(before, sets, sizeof(sets));
}

static void test_own_set_only(void **state)
{
	static char zero[1 << CPU_SET_SHIFT];
	uint32_t item;

	(void)state;
	for (uint32_t cpu = 0; cpu < SETS; cpu++) {
		setup(NULL);
		memset(sets, 0, sizeof(sets));
		open_set(set_of(cpu), SLOTS);
		pretend(cpu);
		for (uint32_t i = 0; i < SLOTS; i++)
			assert_true(rseq_push(sets, SETS, STACK, 10 + i));
		assert_false(rseq_push(sets, SETS, STACK, 1));
		for (uint32_t other = 0; other < SETS; other++)
			if (other != cpu)
				assert_memory_equal(set_of(other), zero,
						    sizeof(zero));
		for (uint32_t i = SLOTS; i-- > 0;) {
			assert_true(rseq_pop(sets, SETS, STACK, &item));
			assert_int_equal(item, 10 + i);
		}
		assert_false(rseq_pop(sets, SETS, STACK, &item));
		assert_true(cpu_stack_word(stack_at(set_of(cpu))) ==
			    (uint64_t)SLOTS << 16);
	}
}

static void test_no_such_cpu(void **state)
{
	static const uint32_t none[] = {
		SETS, SETS + 1, 1000, 0x7fffffff, (uint32_t)-2, (uint32_t)-1
	};

	(void)state;
	for (size_t i = 0; i < TEST_LENGTH(none); i++) {
		uint32_t item;

		pretend(none[i]);
		assert_false(rseq_push(sets, SETS, STACK, 1));
		assert_false(rseq_pop(sets, SETS, STACK, &item));
	}
	pretend(1);
	assert_true(rseq_push(sets, 2, STACK, 1));
	assert_false(rseq_push(sets, 1, STACK, 1));
	assert_false(rseq_push(sets, 0, STACK, 1));
}

/* A batch names its CPU: on any other it refuses. */
static void test_batch_on_other_cpu(void **state)
{
	uint32_t items[4] = { 1, 2, 3, 4 };

	(void)state;
	assert_true(rseq_push_batch(set_of(0), 0, STACK, items, 4));
	for (uint32_t cpu = 1; cpu < 4; cpu++) {
		pretend(cpu == 3 ? (uint32_t)-1 : cpu);
		assert_false(rseq_push_batch(set_of(0), 0, STACK, items, 1));
		assert_int_equal(rseq_pop_batch(set_of(0), 0, STACK, items, 4,
						CPU_STACK_POPPED),
				 0);
	}
	pretend(0);
	assert_int_equal(
		rseq_pop_batch(set_of(0), 0, STACK, items, 4, CPU_STACK_POPPED),
		4);
}

static void test_closed(void **state)
{
	uint32_t item;

	(void)state;
	for (uint32_t n = 0; n <= SLOTS; n += SLOTS / 2) {
		setup(NULL);
		for (uint32_t i = 0; i < n; i++)
			assert_true(rseq_push(sets, SETS, STACK, i));
		cpu_stack_close(stack_at(set_of(0)));
		refuses_all(0);
		cpu_stack_open(stack_at(set_of(0)), SLOTS);
		assert_int_equal(rseq_pop(sets, SETS, STACK, &item), n > 0);
	}
	/* Zero-filled memory is closed. */
	memset(sets, 0, sizeof(sets));
	refuses_all(0);
}

static void test_full_and_empty(void **state)
{
	uint32_t items[SLOTS + 1] = { 0 };

	(void)state;
	for (uint16_t high = 1; high <= SLOTS; high++) {
		setup(NULL);
		open_set(set_of(0), high);
		assert_int_equal(rseq_pop_batch(set_of(0), 0, STACK, items, 4,
						CPU_STACK_POPPED),
				 0);
		assert_false(
			rseq_push_batch(set_of(0), 0, STACK, items, high + 1u));
		assert_true(
			rseq_push_batch(set_of(0), 0, STACK, items, high - 1u));
		assert_false(rseq_push_batch(set_of(0), 0, STACK, items, 2));
		assert_true(rseq_push_batch(set_of(0), 0, STACK, items, 1));
		assert_false(rseq_push(sets, SETS, STACK, 1));
		assert_false(rseq_push_batch(set_of(0), 0, STACK, items, 1));
		assert_int_equal(rseq_pop_batch(set_of(0), 0, STACK, items,
						UINT16_MAX, CPU_STACK_MOVED),
				 high);
	}
}

/* One random operation on the set by a sequence and on the twin in C. */
static void both(struct test_rng *rng)
{
	struct cpu_stack *stack = stack_at(twin);
	uint32_t items[SLOTS + 8], mine[SLOTS + 8] = { 0 },
						its[SLOTS + 8] = { 0 };
	uint32_t n = 1 + (uint32_t)test_below(rng, 12);
	uint64_t each = test_below(rng, 2) ? CPU_STACK_POPPED : CPU_STACK_MOVED;

	for (uint32_t i = 0; i < n; i++)
		items[i] = (uint32_t)test_random(rng);
	switch (test_below(rng, 5)) {
	case 0:
		assert_int_equal(rseq_push(sets, SETS, STACK, items[0]),
				 cpu_stack_push(twin, stack, items[0]));
		break;
	case 1:
		assert_int_equal(rseq_pop(sets, SETS, STACK, mine),
				 cpu_stack_pop(twin, stack, its));
		break;
	case 2:
		assert_int_equal(rseq_push_batch(set_of(0), 0, STACK, items, n),
				 cpu_stack_push_batch(twin, stack, items, n));
		break;
	case 3:
		assert_int_equal(
			rseq_pop_batch(set_of(0), 0, STACK, mine, n, each),
			cpu_stack_pop_batch(twin, stack, its, n, each));
		break;
	default:
		cpu_stack_open(stack, (uint16_t)(SLOTS - n));
		cpu_stack_open(stack_at(set_of(0)), (uint16_t)(SLOTS - n));
		break;
	}
	assert_memory_equal(mine, its, sizeof(its));
}

static void test_as_twin(void **state)
{
	struct test_rng rng = test_seed();

	(void)state;
	for (int i = 0; i < (TEST_SANITIZED ? 20000 : 300000); i++) {
		both(&rng);
		assert_true(cpu_stack_word(stack_at(set_of(0))) ==
			    cpu_stack_word(stack_at(twin)));
		assert_memory_equal(items_at(set_of(0)), items_at(twin),
				    SLOTS * sizeof(uint32_t));
	}
}

/* What the kernel will be told, by the bytes of every descriptor. */
struct descriptor {
	uint32_t version, flags;
	uint64_t start, length, abort;
};

extern struct descriptor __start___rseq_cs[], __stop___rseq_cs[];
extern char __start___rseq_abort[], __stop___rseq_abort[];

static void test_descriptors(void **state)
{
	uint32_t item, n = 0;

	(void)state;
	for (struct descriptor *d = __start___rseq_cs; d < __stop___rseq_cs;
	     d++, n++) {
		const char *before = (const char *)(uintptr_t)d->abort;
		uint32_t signature;

		memcpy(&signature, before - 4, 4);
		assert_int_equal(signature, RSEQ_SIG);
		assert_true(before >= __start___rseq_abort &&
			    before < __stop___rseq_abort);
		assert_int_equal(d->version, 0);
		assert_int_equal(d->flags, 0);
		assert_true(d->length > 8 && d->length < 256);
	}
	assert_true(n >= 4);
	area.descriptor = 0;
	assert_false(rseq_pop(sets, SETS, STACK, &item));
	assert_true(area.descriptor >= (uintptr_t)__start___rseq_cs &&
		    area.descriptor < (uintptr_t)__stop___rseq_cs);
}

/* --- for real --- */

enum {
	WORKERS = 3,
	EACH = 32, /* items a set, of SLOTS */
	MAX_ITEMS = 4096,
	ENOUGH_OPS = TEST_SANITIZED ? 40000 : 1000000, /* each worker */
	ENOUGH_ABORTS = 50,
	ENOUGH_MOVES = 3000,
	DRAINS = 8, /* for each move */
	TICK_NS = 50000,
};

struct hand {
	uint32_t n;
	uint32_t items[MAX_ITEMS];
};

struct worker {
	struct arena_of_sets *a;
	pthread_t thread;
	pid_t tid;
	struct test_rng rng;
	struct hand hand;
	uint64_t ops, pops;
	/* the handler's */
	struct hand caught;
	uint64_t caught_pops, signals;
};

struct arena_of_sets {
	char *sets;
	uint32_t nr, nr_items;
	cpu_set_t allowed;
	uint64_t enough_ops; /* of each worker */
	_Atomic bool stop;
	_Atomic uint32_t ready, finished;
	_Atomic uint64_t aborts;
	uint64_t moves, drains;
	struct worker workers[WORKERS];
	struct hand drained;
};

static _Thread_local struct worker *self;

static bool give_one(struct arena_of_sets *a, struct hand *hand)
{
	if (hand->n == 0 ||
	    !rseq_push(a->sets, a->nr, STACK, hand->items[hand->n - 1]))
		return false;
	hand->n--;
	return true;
}

static uint64_t take_one(struct arena_of_sets *a, struct hand *hand)
{
	if (!rseq_pop(a->sets, a->nr, STACK, &hand->items[hand->n]))
		return 0;
	hand->n++;
	return 1;
}

static bool is_abort(uintptr_t ip)
{
	for (struct descriptor *d = __start___rseq_cs; d < __stop___rseq_cs;
	     d++)
		if (d->abort == ip)
			return true;
	return false;
}

static uintptr_t interrupted_at(const ucontext_t *at)
{
#if defined(__x86_64__)
	return (uintptr_t)at->uc_mcontext.gregs[REG_RIP];
#else
	return at->uc_mcontext.pc;
#endif
}

/* Whoever is interrupted in mid-sequence finds its stack changed. */
static void on_tick(int signal, siginfo_t *info, void *context)
{
	uintptr_t ip = interrupted_at(context);
	struct worker *w = self;

	(void)signal;
	(void)info;
	if (!w)
		return;
	w->signals++;
	if (is_abort(ip))
		atomic_fetch_add(&w->a->aborts, 1);
	w->caught_pops += take_one(w->a, &w->caught);
	w->caught_pops += take_one(w->a, &w->caught);
	give_one(w->a, &w->caught);
	if (w->signals % 2)
		give_one(w->a, &w->caught);
}

static void work_batch(struct worker *w, bool push)
{
	uint32_t cpu = platform_cpu();
	uint32_t n = 1 + (uint32_t)test_below(&w->rng, 16), got;
	struct hand *hand = &w->hand;
	char *set = w->a->sets + cpu * SET_BYTES;

	if (push) {
		if (n > hand->n)
			n = hand->n;
		if (n && rseq_push_batch(set, cpu, STACK,
					 hand->items + hand->n - n, n))
			hand->n -= n;
		return;
	}
	got = rseq_pop_batch(set, cpu, STACK, hand->items + hand->n, n,
			     CPU_STACK_POPPED);
	hand->n += got;
	w->pops += got;
}

static void *work(void *arg)
{
	struct worker *w = arg;
	struct arena_of_sets *a = w->a;
	struct sigevent event = { .sigev_notify = SIGEV_THREAD_ID,
				  .sigev_signo = SIGUSR1 };
	const long ns = (long)test_setting("QUIRE_TEST_TICK_NS", TICK_NS);
	const struct itimerspec tick = { { 0, ns }, { 0, ns } };
	timer_t timer;

	w->tid = (pid_t)syscall(SYS_gettid);
	event._sigev_un._tid = w->tid;
	self = w;
	if (timer_create(CLOCK_MONOTONIC, &event, &timer) ||
	    timer_settime(timer, 0, &tick, NULL))
		abort();
	atomic_fetch_add(&a->ready, 1);
	while (!atomic_load(&a->stop)) {
		switch (test_below(&w->rng, 6)) {
		case 0:
			work_batch(w, true);
			break;
		case 1:
			work_batch(w, false);
			break;
		case 2:
		case 3:
			give_one(a, &w->hand);
			break;
		default:
			w->pops += take_one(a, &w->hand);
		}
		if (++w->ops == a->enough_ops)
			atomic_fetch_add(&a->finished, 1);
	}
	timer_delete(timer);
	return NULL;
}

/* Closes every stack, takes from some and adds to others, opens again. */
static void drain_all(struct arena_of_sets *a)
{
	struct hand *hand = &a->drained;

	for (uint32_t cpu = 0; cpu < a->nr; cpu++)
		cpu_stack_close(stack_at(a->sets + cpu * SET_BYTES));
	if (platform_rseq_fence(-1) != 0)
		abort();
	for (uint32_t cpu = 0; cpu < a->nr; cpu++) {
		char *set = a->sets + cpu * SET_BYTES;
		struct cpu_stack *stack = stack_at(set);
		uint64_t word = cpu_stack_word(stack);
		uint32_t n = cpu_stack_count(word), half = n / 2;

		memcpy(hand->items + hand->n, items_at(set) + n - half,
		       half * sizeof(uint32_t));
		hand->n += half;
		cpu_stack_set_word(stack, word - half);
		if (hand->n > 8) {
			hand->n -= 4;
			memcpy(items_at(set) + n - half, hand->items + hand->n,
			       4 * sizeof(uint32_t));
			cpu_stack_set_word(stack, word - half + 4);
		}
	}
	for (uint32_t cpu = 0; cpu < a->nr; cpu++)
		cpu_stack_open(stack_at(a->sets + cpu * SET_BYTES), SLOTS);
	a->drains++;
}

static uint32_t random_cpu(const cpu_set_t *allowed, struct test_rng *rng)
{
	uint32_t cpu;

	do
		cpu = (uint32_t)test_below(rng, CPU_SETSIZE);
	while (!CPU_ISSET(cpu, allowed));
	return cpu;
}

static void storm(struct arena_of_sets *a)
{
	const uint64_t enough = test_setting("QUIRE_TEST_ROUNDS", ENOUGH_MOVES);
	struct test_rng rng = test_seed();

	while (atomic_load(&a->ready) < WORKERS)
		sched_yield();
	while (atomic_load(&a->finished) < WORKERS ||
	       atomic_load(&a->aborts) < ENOUGH_ABORTS || a->moves < enough) {
		uint32_t cpu = random_cpu(&a->allowed, &rng);
		cpu_set_t one;

		CPU_ZERO(&one);
		CPU_SET(cpu, &one);
		if (sched_setaffinity(a->workers[a->moves % WORKERS].tid,
				      sizeof(one), &one) != 0)
			abort();
		a->moves++;
		for (int i = 0; i < DRAINS; i++)
			drain_all(a);
	}
	atomic_store(&a->stop, true);
}

static void collect(uint8_t *seen, const uint32_t *items, uint32_t n,
		    uint32_t nr_items)
{
	for (uint32_t i = 0; i < n; i++) {
		assert_true(items[i] < nr_items);
		assert_int_equal(seen[items[i]]++, 0);
	}
}

static void check_conserved(struct arena_of_sets *a)
{
	static uint8_t seen[MAX_ITEMS];
	uint64_t pops = 0, tally = 0;

	memset(seen, 0, sizeof(seen));
	collect(seen, a->drained.items, a->drained.n, a->nr_items);
	for (int i = 0; i < WORKERS; i++) {
		struct worker *w = &a->workers[i];

		collect(seen, w->hand.items, w->hand.n, a->nr_items);
		collect(seen, w->caught.items, w->caught.n, a->nr_items);
		pops += w->pops + w->caught_pops;
		assert_true(w->signals > 0);
	}
	for (uint32_t cpu = 0; cpu < a->nr; cpu++) {
		char *set = a->sets + cpu * SET_BYTES;
		uint64_t word = cpu_stack_word(stack_at(set));

		assert_true(cpu_stack_count(word) <= SLOTS);
		collect(seen, items_at(set), cpu_stack_count(word),
			a->nr_items);
		tally += cpu_stack_pops(word);
	}
	for (uint32_t i = 0; i < a->nr_items; i++)
		assert_int_equal(seen[i], 1);
	assert_int_equal(tally, pops);
}

static void test_real(void **state)
{
	static struct arena_of_sets a;
	const struct sigaction action = { .sa_sigaction = on_tick,
					  .sa_flags = SA_SIGINFO | SA_RESTART };
	const uint64_t before = atomic_load(&rseq_aborts);

	(void)state;
	pretend_no_more();
	if (!platform_rseq_usable())
		skip();
	a.enough_ops = test_setting("QUIRE_TEST_OPS", ENOUGH_OPS);
	a.nr = platform_possible_cpus();
	a.nr_items = a.nr * EACH < MAX_ITEMS ? a.nr * EACH : MAX_ITEMS;
	a.sets = aligned_alloc(4096, a.nr * SET_BYTES);
	assert_non_null(a.sets);
	memset(a.sets, 0, a.nr * SET_BYTES);
	for (uint32_t cpu = 0; cpu < a.nr; cpu++)
		open_set(a.sets + cpu * SET_BYTES, SLOTS);
	for (uint32_t i = 0; i < a.nr_items; i++)
		a.workers[i % WORKERS]
			.hand.items[a.workers[i % WORKERS].hand.n++] = i;
	assert_int_equal(sched_getaffinity(0, sizeof(a.allowed), &a.allowed),
			 0);
	sigaction(SIGUSR1, &action, NULL);
	for (unsigned i = 0; i < WORKERS; i++) {
		a.workers[i].a = &a;
		a.workers[i].rng.state = i;
		assert_int_equal(pthread_create(&a.workers[i].thread, NULL,
						work, &a.workers[i]),
				 0);
	}
	storm(&a);
	for (int i = 0; i < WORKERS; i++)
		pthread_join(a.workers[i].thread, NULL);
	/* One abort may be found by several signals, many by none. */
	assert_true(atomic_load(&rseq_aborts) > before + ENOUGH_ABORTS / 10);
	printf("# %llu sequences aborted, %llu seen by signals, %llu moves, "
	       "%llu drains\n",
	       (unsigned long long)atomic_load(&rseq_aborts),
	       (unsigned long long)atomic_load(&a.aborts),
	       (unsigned long long)a.moves, (unsigned long long)a.drains);
	check_conserved(&a);
	free(a.sets);
}

static void test_registered(void **state)
{
	(void)state;
	pretend_no_more();
	if (!platform_rseq_usable())
		skip();
	assert_true(rseq_thread_registered());
	assert_int_equal(platform_rseq_fence(-1), 0);
	assert_int_equal(platform_rseq_fence((int)platform_cpu()), 0);
	pretend((uint32_t)-1);
	assert_false(rseq_thread_registered());
	pretend(0);
	assert_true(rseq_thread_registered());
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test_setup(test_own_set_only, setup),
		cmocka_unit_test_setup(test_no_such_cpu, setup),
		cmocka_unit_test_setup(test_batch_on_other_cpu, setup),
		cmocka_unit_test_setup(test_closed, setup),
		cmocka_unit_test_setup(test_full_and_empty, setup),
		cmocka_unit_test_setup(test_as_twin, setup),
		cmocka_unit_test_setup(test_descriptors, setup),
		cmocka_unit_test(test_registered),
		cmocka_unit_test(test_real),
	};

	return cmocka_run_group_tests_name("rseq", tests, NULL, NULL);
}

#else

static void test_none(void **state)
{
	(void)state;
	assert_false(platform_rseq_usable());
	skip();
}

int main(void)
{
	const struct CMUnitTest tests[] = { cmocka_unit_test(test_none) };

	return cmocka_run_group_tests_name("rseq", tests, NULL, NULL);
}

#endif
