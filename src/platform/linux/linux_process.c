/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Linux behind platform_process.h.
 *
 * Threads and their keys are pthreads'. All signals are blocked while a thread
 * is started, so that it begins that way, and while a key is set. A join is no
 * point of cancellation: the caller may hold locks.
 */
#ifndef _GNU_SOURCE
#define _GNU_SOURCE 1
#endif
#include "platform/platform_process.h"

#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "platform/linux/linux.h"

/* Possible, not online: a CPU that is plugged in later has a set. */
unsigned platform_possible_cpus(void)
{
	long configured = sysconf(_SC_NPROCESSORS_CONF);
	unsigned highest;

	if (linux_highest("/sys/devices/system/cpu/possible", &highest))
		return highest + 1;
	return configured > 0 ? (unsigned)configured : 1;
}

int platform_key_create(unsigned *key, void (*exit_hook)(void *value))
{
	pthread_key_t made;
	int error;

	if (injected(FAULT_KEY, EAGAIN))
		return -1;
	error = pthread_key_create(&made, exit_hook);
	if (error) {
		errno = error;
		return -1;
	}
	*key = made;
	return 0;
}

void platform_key_delete(unsigned key)
{
	pthread_key_delete(key);
}

void *platform_key_get(unsigned key)
{
	return pthread_getspecific(key);
}

int platform_key_set(unsigned key, void *value)
{
	sigset_t all, before;
	int error;

	/* A handler between its two stores would see the key's last value. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = pthread_setspecific(key, value);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error)
		errno = error;
	return error ? -1 : 0;
}

static void *thread_main(void *arg)
{
	struct platform_thread *thread = arg;

	pthread_setname_np(pthread_self(), thread->name);
	thread->run(thread->arg);
	return NULL;
}

int platform_thread_start(struct platform_thread *thread,
			  void (*run)(void *arg), void *arg, const char *name)
{
	sigset_t all, before;
	pthread_t made;
	int error;

	thread->run = run;
	thread->arg = arg;
	snprintf(thread->name, sizeof(thread->name), "%s", name);
	/* A thread begins with the signals that its maker has blocked. */
	sigfillset(&all);
	pthread_sigmask(SIG_SETMASK, &all, &before);
	error = fault_hit(FAULT_KEY)
			? EAGAIN
			: pthread_create(&made, NULL, thread_main, thread);
	pthread_sigmask(SIG_SETMASK, &before, NULL);
	if (error) {
		errno = error;
		return -1;
	}
	thread->handle = (uintptr_t)made;
	return 0;
}

void platform_thread_join(struct platform_thread *thread)
{
	int before;

	pthread_setcancelstate(PTHREAD_CANCEL_DISABLE, &before);
	pthread_join((pthread_t)thread->handle, NULL);
	pthread_setcancelstate(before, &before);
}

int platform_on_fork(void (*prepare)(void), void (*parent)(void),
		     void (*child)(void))
{
	int error = pthread_atfork(prepare, parent, child);

	if (error)
		errno = error;
	return error ? -1 : 0;
}

const char *platform_env(const char *name)
{
	return getenv(name);
}
