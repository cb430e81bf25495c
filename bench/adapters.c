/* SPDX-License-Identifier: BSD-2-Clause */
/* See adapters.h. */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "bench.h"

#include <dirent.h>
#include <dlfcn.h>
#include <errno.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

enum { MAX_ADAPTERS = 64 };

static const struct quire_bench_adapter *adapters[MAX_ADAPTERS + 1] = {
	&adapter_tls_stack,    &adapter_quire_rseq, &adapter_quire_trylock,
	&adapter_quire_bound,  &adapter_quire_base, &adapter_mutex_buddy,
	&adapter_dpdk_mempool, &adapter_mmap,	    &adapter_glibc,
	&adapter_jemalloc,     &adapter_mimalloc,   &adapter_tcmalloc,
	&adapter_tbbmalloc,
};

const struct quire_bench_adapter *adapter_at(unsigned i)
{
	return adapters[i];
}

const struct quire_bench_adapter *
adapter_today(const struct quire_bench_adapter *adapter)
{
	static const char then[] = "baseline-", now[] = "quire-";
	const char *way = adapter->name + sizeof(then) - 1;

	if (strncmp(adapter->name, then, sizeof(then) - 1) != 0)
		return adapter;
	for (unsigned i = 0; adapters[i]; i++)
		if (strncmp(adapters[i]->name, now, sizeof(now) - 1) == 0 &&
		    strcmp(adapters[i]->name + sizeof(now) - 1, way) == 0)
			return adapters[i];
	return adapter;
}

struct bench_case bench_today(const struct bench_case *c)
{
	return (struct bench_case){ c->workload, adapter_today(c->adapter),
				    c->param, c->threads };
}

int adapter_usable(const struct quire_bench_adapter *adapter)
{
	errno = 0;
	if (adapter->init((uint64_t)64 << 20, 1) != 0) {
		fprintf(stderr, "%s is skipped: %s\n", adapter->name,
			errno ? strerror(errno) : "it cannot be had here");
		return 0;
	}
	adapter->fini();
	return 1;
}

/* Why a table cannot be used, or NULL. */
static const char *adapter_fault(const struct quire_bench_adapter *adapter)
{
	if (adapter->struct_size != sizeof(*adapter))
		return "made for another version of quire/bench.h";
	if (!adapter->name || !adapter->init || !adapter->fini ||
	    !adapter->alloc || !adapter->free)
		return "name, init, fini, alloc and free are needed";
	if (adapter->name[0] == '\0' || strpbrk(adapter->name, " /\t\n"))
		return "its name is empty, or has spaces or slashes";
	for (unsigned i = 0; adapters[i]; i++)
		if (strcmp(adapters[i]->name, adapter->name) == 0)
			return "its name is taken";
	return NULL;
}

const char *adapter_add(const struct quire_bench_adapter *adapter)
{
	const char *fault = adapter_fault(adapter);
	unsigned count = 0;

	while (adapters[count])
		count++;
	if (!fault && count == MAX_ADAPTERS)
		fault = "there are too many adapters";
	if (!fault)
		adapters[count] = adapter;
	return fault;
}

static const char *load(const char *path)
{
	const struct quire_bench_adapter *adapter;
	const char *fault;
	void *library = dlopen(path, RTLD_NOW | RTLD_LOCAL);

	if (!library)
		return dlerror();
	adapter = dlsym(library, "quire_bench_plugin");
	fault = adapter ? adapter_add(adapter)
			: "it does not define quire_bench_plugin";
	if (fault)
		dlclose(library);
	return fault;
}

static int is_library(const struct dirent *entry)
{
	const char *dot = strrchr(entry->d_name, '.');

	return dot && strcmp(dot, ".so") == 0;
}

int adapters_load(const char *folder)
{
	struct dirent **entries;
	int loaded = 0;
	int count = scandir(folder, &entries, is_library, alphasort);

	for (int i = 0; i < count; i++) {
		char *path = NULL;
		const char *fault = "no memory";

		if (asprintf(&path, "%s%s/%s", folder[0] == '/' ? "" : "./",
			     folder, entries[i]->d_name) >= 0) {
			fault = load(path);
			free(path);
		}
		if (fault)
			fprintf(stderr, "%s is skipped: %s\n",
				entries[i]->d_name, fault);
		else
			loaded++;
		free(entries[i]);
	}
	if (count >= 0)
		free(entries);
	return count < 0 ? -1 : loaded;
}
