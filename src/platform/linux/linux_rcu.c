/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * RCU behind platform_rcu.h: liburcu's urcu-bp, in which a thread is registered
 * by its first section and leaves when it ends.
 *
 * Memory: urcu-bp keeps its readers in mappings of its own and calls no malloc.
 * A thread's first section sets a thread-specific value, for which glibc
 * allocates in a process with more than 32 keys.
 *
 * ThreadSanitizer does not see into liburcu: the edge from the end of a section
 * to the end of a grace period is told to it here.
 */
/* First: it says always_inline in a way of its own. */
#include <urcu-bp.h>

#include "platform/cc.h"
#include "platform/platform_rcu.h"

static char readers; /* stands for that edge */

void platform_rcu_read_lock(void)
{
	urcu_bp_read_lock();
}

void platform_rcu_read_unlock(void)
{
	tsan_release(&readers);
	urcu_bp_read_unlock();
}

void platform_rcu_synchronize(void)
{
	urcu_bp_synchronize_rcu();
	tsan_acquire(&readers);
}

void platform_rcu_before_fork(void)
{
	urcu_bp_before_fork();
}

void platform_rcu_after_fork_parent(void)
{
	urcu_bp_after_fork_parent();
}

void platform_rcu_after_fork_child(void)
{
	urcu_bp_after_fork_child();
}
