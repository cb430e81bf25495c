/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The restartable sequences of rseq.h in x86-64 assembly.
 *
 * Labels: 3 arms the descriptor and starts (again), 1 begins the range, 2 ends
 * it after the commit, 4 is the abort address, preceded by the signature that
 * glibc registered (RSEQ_SIG). A jump out of the range needs no disarming: the
 * kernel only looks at the descriptor when the instruction pointer is inside.
 *
 * The operations that return something are no asm goto: gcc before 12.4 takes
 * an asm goto with outputs for one that may be merged or dropped (its bug
 * 113921), and clang 14 loses outputs on the way to labels. They go to 6, which
 * says "refused" in the output itself, and on to 2.
 *
 * Offsets: of struct rseq, cpu_id 4 and rseq_cs 8; of struct cpu_stack, word 0,
 * low 8, high 10, slots 12.
 */
#ifndef QUIRE_RSEQ_X86_64_H
#define QUIRE_RSEQ_X86_64_H

#include <sys/rseq.h>

static inline bool rseq_thread_registered(void)
{
	int32_t cpu;

	if (__rseq_size == 0)
		return false;
	__asm__ volatile("movl %%fs:4(%1), %0" : "=r"(cpu) : "r"(rseq_area));
	return cpu >= 0;
}

/* clang-format off */

#define RSEQ_STR_(x) #x
#define RSEQ_STR(x) RSEQ_STR_(x)

/*
 * The descriptor, the abort handler and what is done on refusal; then: arm, and
 * begin the range.
 */
#define RSEQ_BEGIN(refused)						\
	".pushsection __rseq_cs, \"aw\"\n\t"				\
	".balign 32\n\t"						\
	"5: .long 0, 0\n\t"						\
	".quad 1f, 2f - 1f, 4f\n\t"					\
	".popsection\n\t"						\
	".pushsection __rseq_abort, \"ax\"\n\t"				\
	".byte 0x0f, 0xb9, 0x3d\n\t" /* ud1: the signature is its operand */ \
	".long " RSEQ_STR(RSEQ_SIG) "\n\t"				\
	"4: lock incq rseq_aborts(%%rip)\n\t"				\
	"jmp 3f\n\t"							\
	"6: " refused "\n\t"						\
	"jmp 2f\n\t"							\
	".popsection\n\t"						\
	"3: leaq 5b(%%rip), %%rax\n\t"					\
	"movq %%rax, %%fs:8(%[area])\n\t"				\
	"1:\n\t"

#define RSEQ_END							\
	"2:\n\t"

/* rax = this CPU's set; out if it has none */
#define RSEQ_FIND_SET(out)						\
	"movl %%fs:4(%[area]), %%eax\n\t"				\
	"cmpl %[nr], %%eax\n\t"						\
	"jae " out "\n\t"						\
	"shlq $" RSEQ_STR(CPU_SET_SHIFT) ", %%rax\n\t"			\
	"addq %[sets], %%rax\n\t"

/* out unless still on this CPU */
#define RSEQ_SAME_CPU(out)						\
	"cmpl %[cpu], %%fs:4(%[area])\n\t"				\
	"jne " out "\n\t"

/*
 * Pops the top item of this CPU's stack; false: empty, closed or no set.
 * UINT32_MAX is no item.
 */
static always_inline bool rseq_pop(char *sets, uint32_t nr, size_t stack,
				   uint32_t *item)
{
	uint32_t popped;

	__asm__ volatile(
		RSEQ_BEGIN("movl $-1, %[popped]")
		RSEQ_FIND_SET("6b")
		"movzwl 8(%%rax,%[stack]), %%edx\n\t"
		"movq (%%rax,%[stack]), %%rcx\n\t"
		"cmpw %%dx, %%cx\n\t"
		"jbe 6b\n\t"
		"movl 12(%%rax,%[stack]), %%edx\n\t"
		"movzwl %%cx, %[popped]\n\t"
		"addq %%rax, %%rdx\n\t"
		"movl -4(%%rdx,%q[popped],4), %[popped]\n\t"
		"addq $0xffff, %%rcx\n\t" /* count - 1, pops + 1 */
		"movq %%rcx, (%%rax,%[stack])\n\t"
		RSEQ_END
		: [popped] "=&r"(popped)
		: [area] "r"(rseq_area), [sets] "rm"(sets), [nr] "rm"(nr),
		  [stack] "r"(stack)
		: "rax", "rcx", "rdx", "memory", "cc");
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
		RSEQ_BEGIN("")
		RSEQ_FIND_SET("%l[out]")
		"movzwl 10(%%rax,%[stack]), %%edx\n\t"
		"movq (%%rax,%[stack]), %%rcx\n\t"
		"cmpw %%dx, %%cx\n\t"
		"jae %l[out]\n\t"
		"movl 12(%%rax,%[stack]), %%edx\n\t"
		"addq %%rax, %%rdx\n\t"
		"movzwl %%cx, %%esi\n\t"
		"movl %[item], (%%rdx,%%rsi,4)\n\t"
		"incq %%rcx\n\t"
		"movq %%rcx, (%%rax,%[stack])\n\t"
		RSEQ_END
		:
		: [area] "r"(rseq_area), [sets] "rm"(sets), [nr] "rm"(nr),
		  [stack] "r"(stack), [item] "r"(item)
		: "rax", "rcx", "rdx", "rsi", "memory", "cc"
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
		RSEQ_BEGIN("xorl %k[moved], %k[moved]")
		RSEQ_SAME_CPU("6b")
		"movzwl 8(%[set],%[stack]), %%edx\n\t"
		"movq (%[set],%[stack]), %%rax\n\t"
		"cmpw %%dx, %%ax\n\t"
		"jbe 6b\n\t"
		"movzwl %%ax, %%edx\n\t"
		"movl %%edx, %k[moved]\n\t"
		"cmpl %[n], %k[moved]\n\t"
		"cmova %[n], %k[moved]\n\t"
		"subl %k[moved], %%edx\n\t"
		"movl 12(%[set],%[stack]), %%esi\n\t"
		"addq %[set], %%rsi\n\t"
		"leaq (%%rsi,%%rdx,4), %%rsi\n\t"
		"movq %[items], %%rdi\n\t"
		"movl %k[moved], %%ecx\n\t"
		"rep movsl\n\t"
		"movq %[moved], %%rdx\n\t"
		"imulq %[each], %%rdx\n\t"
		"addq %%rdx, %%rax\n\t"
		"movq %%rax, (%[set],%[stack])\n\t"
		RSEQ_END
		: [moved] "=&r"(moved)
		: [area] "r"(rseq_area), [set] "r"(set), [cpu] "r"(cpu),
		  [stack] "r"(stack), [items] "m"(items), [n] "r"(n),
		  [each] "m"(each)
		: "rax", "rcx", "rdx", "rsi", "rdi", "memory", "cc");
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
		RSEQ_BEGIN("")
		RSEQ_SAME_CPU("%l[out]")
		"movzwl 10(%[set],%[stack]), %%esi\n\t"
		"movq (%[set],%[stack]), %%rax\n\t"
		"movzwl %%ax, %%edx\n\t"
		"leal (%%rdx,%q[n]), %%ecx\n\t"
		"cmpl %%esi, %%ecx\n\t"
		"ja %l[out]\n\t"
		"movl 12(%[set],%[stack]), %%edi\n\t"
		"addq %[set], %%rdi\n\t"
		"leaq (%%rdi,%%rdx,4), %%rdi\n\t"
		"movq %[items], %%rsi\n\t"
		"movl %[n], %%ecx\n\t"
		"rep movsl\n\t"
		"movl %[n], %%ecx\n\t"
		"addq %%rcx, %%rax\n\t"
		"movq %%rax, (%[set],%[stack])\n\t"
		RSEQ_END
		:
		: [area] "r"(rseq_area), [set] "r"(set), [cpu] "r"(cpu),
		  [stack] "r"(stack), [items] "m"(items), [n] "r"(n)
		: "rax", "rcx", "rdx", "rsi", "rdi", "memory", "cc"
		: out);
	return true;
out:
	return false;
}

/* clang-format on */

#endif
