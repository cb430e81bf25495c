/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The restartable sequences of rseq.h in aarch64 assembly.
 *
 * Labels: 3 arms the descriptor and starts (again), 1 begins the range, 2 ends
 * it after the commit, 4 is the abort address, preceded by the signature that
 * glibc registered (RSEQ_SIG). A jump out of the range needs no disarming: the
 * kernel only looks at the descriptor when the program counter is inside.
 * 4 counts the abort first (7). x16 and x17 are among the scratch registers, so
 * that the linker may put a veneer into the branch from 4 to 3.
 *
 * The operations that return something are no asm goto, for rseq_x86_64.h's
 * reasons. Their output says "refused" from the start of the range on, and a
 * refusal goes to 2: conditional branches do not reach another section.
 *
 * Order. Between threads of one CPU program order is enough, whatever order
 * other CPUs see: a switch of threads is a full barrier. Thus slots and commit
 * are plain loads and stores. A remote drainer's fence is a full barrier on
 * this CPU between any commit before it and the drainer's reads. What remains
 * is the end of a drain, which has no fence: `low` or `high` is read first and
 * with acquire, which pairs with the release of cpu_stack_open(). Otherwise a
 * sequence that starts while the stack is closed could read the word from
 * before the drain, then the bound from after it, and commit the old word.
 *
 * Offsets: of struct rseq, cpu_id 4 and rseq_cs 8; of struct cpu_stack, word 0,
 * low 8, high 10, slots 12.
 */
#ifndef QUIRE_RSEQ_AARCH64_H
#define QUIRE_RSEQ_AARCH64_H

#include <sys/rseq.h>

static always_inline char *rseq_this_area(void)
{
	return (char *)__builtin_thread_pointer() + rseq_area;
}

static inline bool rseq_thread_registered(void)
{
	int32_t cpu;

	if (__rseq_size == 0)
		return false;
	__asm__ volatile("ldr %w0, [%1, #4]"
			 : "=r"(cpu)
			 : "r"(rseq_this_area()));
	return cpu >= 0;
}

/* clang-format off */

#define RSEQ_STR_(x) #x
#define RSEQ_STR(x) RSEQ_STR_(x)

/* The descriptor and the abort handler; then: arm, and begin the range. */
#define RSEQ_BEGIN							\
	".pushsection __rseq_cs, \"aw\"\n\t"				\
	".balign 32\n\t"						\
	"5: .long 0, 0\n\t"						\
	".quad 1f, 2f - 1f, 4f\n\t"					\
	".popsection\n\t"						\
	".pushsection __rseq_abort, \"ax\"\n\t"				\
	".inst " RSEQ_STR(RSEQ_SIG_CODE) "\n\t"				\
	"4: adrp x16, rseq_aborts\n\t"					\
	"add x16, x16, :lo12:rseq_aborts\n\t"				\
	"7: ldxr x9, [x16]\n\t"						\
	"add x9, x9, #1\n\t"						\
	"stxr w10, x9, [x16]\n\t"					\
	"cbnz w10, 7b\n\t"						\
	"b 3f\n\t"							\
	".popsection\n\t"						\
	"3: adrp x16, 5b\n\t"						\
	"add x16, x16, :lo12:5b\n\t"					\
	"str x16, [%[area], #8]\n\t"					\
	"1:\n\t"

#define RSEQ_END							\
	"2:\n\t"

/* x16 = this CPU's set, x17 = the stack; out if it has none */
#define RSEQ_FIND_STACK(out)						\
	"ldr w16, [%[area], #4]\n\t"					\
	"cmp w16, %w[nr]\n\t"						\
	"b.hs " out "\n\t"						\
	"add x16, %[sets], x16, lsl #" RSEQ_STR(CPU_SET_SHIFT) "\n\t"	\
	"add x17, x16, %[stack]\n\t"

/* x17 = the stack; out unless still on this CPU */
#define RSEQ_SAME_CPU(out)						\
	"ldr w16, [%[area], #4]\n\t"					\
	"cmp w16, %w[cpu]\n\t"						\
	"b.ne " out "\n\t"						\
	"add x17, %[set], %[stack]\n\t"

/* w10 = the bound at this offset, then x9 = the word */
#define RSEQ_LOAD(bound)						\
	"add x9, x17, #" RSEQ_STR(bound) "\n\t"				\
	"ldarh w10, [x9]\n\t"						\
	"ldr x9, [x17]\n\t"

/*
 * Pops the top item of this CPU's stack; false: empty, closed or no set.
 * UINT32_MAX is no item.
 */
static always_inline bool rseq_pop(char *sets, uint32_t nr, size_t stack,
				   uint32_t *item)
{
	uint32_t popped;

	__asm__ volatile(
		RSEQ_BEGIN
		"mov %w[popped], #-1\n\t"
		RSEQ_FIND_STACK("2f")
		RSEQ_LOAD(8)
		"cmp w10, w9, uxth\n\t"
		"b.hs 2f\n\t"
		"ldr w10, [x17, #12]\n\t"
		"add x16, x16, x10\n\t"
		"add x16, x16, w9, uxth #2\n\t"
		"ldur %w[popped], [x16, #-4]\n\t"
		"mov x10, #0xffff\n\t" /* count - 1, pops + 1 */
		"add x9, x9, x10\n\t"
		"str x9, [x17]\n\t"
		RSEQ_END
		: [popped] "=&r"(popped)
		: [area] "r"(rseq_this_area()), [sets] "r"(sets), [nr] "r"(nr),
		  [stack] "r"(stack)
		: "x9", "x10", "x16", "x17", "memory", "cc");
	if (popped == UINT32_MAX)
		return false;
	*item = popped;
	return true;
}

/* Pushes an item on this CPU's stack; false: full, closed or no set. */
static always_inline bool rseq_push(char *sets, uint32_t nr, size_t stack,
				    uint32_t item)
{
	__asm__ volatile goto(
		RSEQ_BEGIN
		RSEQ_FIND_STACK("%l[out]")
		RSEQ_LOAD(10)
		"cmp w10, w9, uxth\n\t"
		"b.ls %l[out]\n\t"
		"ldr w10, [x17, #12]\n\t"
		"add x16, x16, x10\n\t"
		"add x16, x16, w9, uxth #2\n\t"
		"str %w[item], [x16]\n\t"
		"add x9, x9, #1\n\t"
		"str x9, [x17]\n\t"
		RSEQ_END
		:
		: [area] "r"(rseq_this_area()), [sets] "r"(sets), [nr] "r"(nr),
		  [stack] "r"(stack), [item] "r"(item)
		: "x9", "x10", "x16", "x17", "memory", "cc"
		: out);
	return true;
out:
	return false;
}

/*
 * Moves up to n items off the top of `cpu`'s stack into items[], lowest first,
 * adding `each` to the word for each of them. Returns how many; 0: empty,
 * closed, or the thread is not on that CPU.
 */
static inline uint32_t rseq_pop_batch(char *set, uint32_t cpu, size_t stack,
				      uint32_t *items, uint32_t n,
				      uint64_t each)
{
	uint64_t moved;

	__asm__ volatile(
		RSEQ_BEGIN
		"mov %[moved], #0\n\t"
		RSEQ_SAME_CPU("2f")
		RSEQ_LOAD(8)
		"cmp w10, w9, uxth\n\t"
		"b.hs 2f\n\t"
		"uxth w10, w9\n\t"
		"cmp w10, %w[n]\n\t"
		"csel %w[moved], w10, %w[n], ls\n\t"
		"sub w10, w10, %w[moved]\n\t"
		"ldr w11, [x17, #12]\n\t"
		"add x11, %[set], x11\n\t"
		"add x11, x11, x10, lsl #2\n\t"
		"mov w10, %w[moved]\n\t"
		"6: cbz w10, 7f\n\t"
		"sub w10, w10, #1\n\t"
		"ldr w16, [x11, x10, lsl #2]\n\t"
		"str w16, [%[items], x10, lsl #2]\n\t"
		"b 6b\n\t"
		"7: madd x9, %[moved], %[each], x9\n\t"
		"str x9, [x17]\n\t"
		RSEQ_END
		: [moved] "=&r"(moved)
		: [area] "r"(rseq_this_area()), [set] "r"(set), [cpu] "r"(cpu),
		  [stack] "r"(stack), [items] "r"(items), [n] "r"(n),
		  [each] "r"(each)
		: "x9", "x10", "x11", "x16", "x17", "memory", "cc");
	return (uint32_t)moved;
}

/*
 * Moves n items, lowest first, onto the top of `cpu`'s stack. False, with
 * nothing moved: no room for all, closed, or the thread is not on that CPU.
 */
static inline bool rseq_push_batch(char *set, uint32_t cpu, size_t stack,
				   const uint32_t *items, uint32_t n)
{
	__asm__ volatile goto(
		RSEQ_BEGIN
		RSEQ_SAME_CPU("%l[out]")
		RSEQ_LOAD(10)
		"add w11, %w[n], w9, uxth\n\t"
		"cmp w11, w10\n\t"
		"b.hi %l[out]\n\t"
		"ldr w11, [x17, #12]\n\t"
		"add x11, %[set], x11\n\t"
		"add x11, x11, w9, uxth #2\n\t"
		"mov w10, %w[n]\n\t"
		"6: cbz w10, 7f\n\t"
		"sub w10, w10, #1\n\t"
		"ldr w16, [%[items], x10, lsl #2]\n\t"
		"str w16, [x11, x10, lsl #2]\n\t"
		"b 6b\n\t"
		"7: add x9, x9, %w[n], uxtw\n\t"
		"str x9, [x17]\n\t"
		RSEQ_END
		:
		: [area] "r"(rseq_this_area()), [set] "r"(set), [cpu] "r"(cpu),
		  [stack] "r"(stack), [items] "r"(items), [n] "r"(n)
		: "x9", "x10", "x11", "x16", "x17", "memory", "cc"
		: out);
	return true;
out:
	return false;
}

/* clang-format on */

#endif
