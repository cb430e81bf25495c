/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quire under strain, for tests of programs that use it, and for quire's own
 * stress suite. Everything here is of the whole process, may be called by any
 * thread at any time, and is off unless asked for. Not for production.
 */
#ifndef QUIRE_DEBUG_API_H
#define QUIRE_DEBUG_API_H

#include <quire/quire.h>

#ifdef __cplusplus
extern "C" {
#endif

/*
 * From now on each place where quire can fail does so once in `one_in`, drawn
 * at random: system calls of quire's own, early allocations, zones that find
 * nothing, page lists that cannot be had. What a call documents then happens,
 * and nothing else: no page is lost. 0: no more failures. Works in every build.
 * The same seed gives one thread's calls the same failures again.
 */
QUIRE_API void quire_debug_faults(unsigned one_in, uint64_t seed);
/* Failures injected so far. */
QUIRE_API uint64_t quire_debug_faults_total(void);

/*
 * From now on a thread loses its CPU once in `one_in` times that it is between
 * two steps of a slow path: rare interleavings become common. 0: no more. In
 * builds configured with --enable-debug or --enable-schedule-points; in others
 * -1, ENOTSUP.
 */
QUIRE_API int quire_debug_pauses(unsigned one_in, uint64_t seed);

/* Restartable sequences of quire's that the kernel restarted so far. */
QUIRE_API uint64_t quire_debug_rseq_aborts(void);

#ifdef __cplusplus
}
#endif

#endif
