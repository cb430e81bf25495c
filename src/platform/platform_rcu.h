/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Read-copy-update, as services see it.
 *
 * What was unlinked before platform_rcu_synchronize() is reached by no thread
 * after it: every section that was open when it began has been left. Any thread
 * may read, and none registers. Readers and writers order their own stores and
 * loads of links; this only tells when a reader is gone.
 */
#ifndef QUIRE_PLATFORM_RCU_H
#define QUIRE_PLATFORM_RCU_H

/*
 * A section that reads. Sections nest and do not block: each holds up every
 * writer of the process. Leaving one is ordered before the return of a
 * synchronize() that waited for it.
 */
void platform_rcu_read_lock(void);
void platform_rcu_read_unlock(void);
/* Not inside a section, nor with a lock that a section takes. */
void platform_rcu_synchronize(void);

/*
 * Around a fork, by the thread that forks: no thread changes what RCU keeps for
 * itself meanwhile, and the child has no readers but this thread. The process
 * does so once for each fork: Linux's implementation has one set of locks for
 * all who use it.
 */
void platform_rcu_before_fork(void);
void platform_rcu_after_fork_parent(void);
void platform_rcu_after_fork_child(void);

#endif
