/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Restartable sequences over a per-CPU stack.
 *
 * The kernel restarts a registered instruction range from its abort address
 * when the thread is preempted, migrated or signalled inside it; so a read of
 * the CPU number, reads of that CPU's data and one final store happen as if no
 * other thread of that CPU existed, without an atomic instruction.
 *
 * Each operation below is one such range whose last instruction, the commit,
 * is a single 8-byte store of the stack's word. What is stored before it (slots
 * above the count) is not part of the stack until then, so an abort needs no
 * undo: the range is simply entered again. Other threads of the CPU find the
 * slot stores before the commit without a fence: a switch of threads is one.
 *
 * Each compares the count against `low` or `high` inside the range: a remote
 * thread that has written the closed values into both and then issued
 * membarrier's rseq command knows that every later range takes the way out.
 * Each reads `low` or `high` before `word`, in this order: the remote thread
 * writes `word` before it opens the stack again (release), so a range that
 * finds it open finds the new word. The other way round, a range could read the
 * old word, find the stack open again and commit what is no longer true.
 *
 * struct cpu_stack is at `sets + (cpu << CPU_SET_SHIFT) + stack`, its slots at
 * `sets + (cpu << CPU_SET_SHIFT) + slots`. The CPU number is compared unsigned
 * with the number of sets: an unregistered thread reads -1.
 */
#ifndef QUIRE_RSEQ_H
#define QUIRE_RSEQ_H

#include <stdatomic.h>
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "platform/cc.h"

/* log2 of the distance of two CPUs' sets: 16 KiB */
#define CPU_SET_SHIFT 14

#if (defined(__x86_64__) || defined(__aarch64__)) && defined(__has_include)
#if __has_include(<sys/rseq.h>)
#define QUIRE_HAVE_RSEQ 1
#endif
#endif
#ifndef QUIRE_HAVE_RSEQ
#define QUIRE_HAVE_RSEQ 0
#endif

/*
 * Where the thread's struct rseq lies, from the thread pointer. Tests point it
 * at an area of their own. It is read at each alloc and free, right after the
 * store to a descriptor's word; at 8 modulo 16 it never has the same offset in
 * 4 KiB as that, which would hold it up.
 */
extern __attribute__((visibility("hidden"))) ptrdiff_t rseq_areas[2];
#define rseq_area (rseq_areas[1])

/* Sequences that the kernel restarted, in all threads: each counts itself at
 * its abort address. */
extern __attribute__((visibility("hidden"))) _Atomic uint64_t rseq_aborts;

#if !QUIRE_HAVE_RSEQ
#include "platform/rseq/rseq_none.h"
#elif defined(__x86_64__)
#include "platform/rseq/rseq_x86_64.h"
#else
#include "platform/rseq/rseq_aarch64.h"
#endif

#endif
