/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * The process that quire is part of: the CPUs it may come to run on, its
 * threads, forks and environment. A kernel has little of this, so the floors up
 * to alloc ask for it only where they must. Functions that can fail return -1
 * with errno set.
 */
#ifndef QUIRE_PLATFORM_PROCESS_H
#define QUIRE_PLATFORM_PROCESS_H

#include <stdint.h>

/* No CPU that this system has, or is given later, has this number or more. */
unsigned platform_possible_cpus(void);

/* --- thread keys --- */

/* Calls exit_hook(value) when a thread ends that has set a value. */
int platform_key_create(unsigned *key, void (*exit_hook)(void *value));
void platform_key_delete(unsigned key);
void *platform_key_get(unsigned key);
int platform_key_set(unsigned key, void *value);

/* --- threads of the library's own --- */

/* Its place is the caller's, and stays where it is from start to join. */
struct platform_thread {
	uintptr_t handle;
	void (*run)(void *arg);
	void *arg;
	char name[16];
};

/*
 * Runs run(arg) in a thread in which all signals are blocked, so that no
 * handler of the user's runs there. Of the name, 15 characters count. EAGAIN:
 * no thread to be had.
 */
int platform_thread_start(struct platform_thread *thread,
			  void (*run)(void *arg), void *arg, const char *name);
/* Waits until run() has returned. Each that was started is joined once, and not
 * by a fork's child, which does not have it. No point of cancellation. */
void platform_thread_join(struct platform_thread *thread);

/* --- fork and environment --- */

/* Runs the three around every fork() of this process from now on. */
int platform_on_fork(void (*prepare)(void), void (*parent)(void),
		     void (*child)(void));

/* NULL: it is not set. */
const char *platform_env(const char *name);

#endif
