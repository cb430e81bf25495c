/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * General mallocs, asked for blocks of pages aligned to 4 KiB (not to their
 * size: the milder request).
 *
 * Each library is opened by itself, its names bound to itself first and seen by
 * nobody else, and what is called is checked to come from its file. A library
 * is never closed: none of them can be.
 */
#include "adapters.h"

#include <dlfcn.h>
#include <errno.h>
#include <malloc.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A sanitizer has to be everybody's malloc. */
#if defined(__SANITIZE_ADDRESS__) || defined(__SANITIZE_THREAD__)
static const bool sanitized = true;
#elif defined(__has_feature)
static const bool sanitized =
	__has_feature(address_sanitizer) || __has_feature(thread_sanitizer);
#else
static const bool sanitized = false;
#endif

struct library {
	const char *file;
	const char *alloc_name, *free_name;
	const char *trim_name; /* gives memory back to the system */
	void *handle;
	void *(*alloc)(size_t, size_t); /* its two arguments as it takes them */
	void (*free)(void *);
	void *trim;
};

/* A function of the library itself, not of one it depends on. */
static void *own_symbol(const struct library *library, const char *name)
{
	void *symbol = dlsym(library->handle, name);
	Dl_info info;

	if (!symbol || dladdr(symbol, &info) == 0 ||
	    !strstr(info.dli_fname, library->file)) {
		fprintf(stderr, "%s: %s is not its own\n", library->file, name);
		return NULL;
	}
	return symbol;
}

static int library_open(struct library *library)
{
	if (library->alloc)
		return 0;
	if (sanitized) {
		errno = ENOTSUP;
		return -1;
	}
	library->handle =
		dlopen(library->file, RTLD_NOW | RTLD_LOCAL | RTLD_DEEPBIND);
	if (!library->handle) {
		fprintf(stderr, "%s\n", dlerror());
		errno = ENOENT;
		return -1;
	}
	*(void **)&library->free = own_symbol(library, library->free_name);
	library->trim = own_symbol(library, library->trim_name);
	if (!library->free || !library->trim) {
		errno = ENOSYS;
		return -1;
	}
	*(void **)&library->alloc = own_symbol(library, library->alloc_name);
	if (!library->alloc)
		return -1;
	/* tbbmalloc's way to trim needs to have seen an allocation. */
	library->free(library->alloc(4096, 4096));
	return 0;
}

/* --- glibc --- */

static int glibc_init(uint64_t bytes, unsigned threads)
{
	(void)bytes;
	(void)threads;
	return 0;
}

static void glibc_fini(void)
{
	malloc_trim(0);
}

static void *glibc_alloc(unsigned order)
{
	return aligned_alloc(4096, (size_t)4096 << order);
}

static void glibc_free(void *block, unsigned order)
{
	(void)order;
	free(block);
}

/* --- the others --- */

static void jemalloc_trim(const struct library *library)
{
	int (*mallctl)(const char *, void *, size_t *, void *, size_t);

	*(void **)&mallctl = library->trim;
	/* 4096: MALLCTL_ARENAS_ALL */
	mallctl("arena.4096.purge", NULL, NULL, NULL, 0);
}

static void mimalloc_trim(const struct library *library)
{
	void (*collect)(_Bool);

	*(void **)&collect = library->trim;
	collect(1);
}

static void tcmalloc_trim(const struct library *library)
{
	void (*release)(void);

	*(void **)&release = library->trim;
	release();
}

static void tbbmalloc_trim(const struct library *library)
{
	int (*command)(int, void *);

	*(void **)&command = library->trim;
	/* 0: TBBMALLOC_CLEAN_ALL_BUFFERS */
	command(0, NULL);
}

#define ADAPTER(peer)                                                          \
	const struct quire_bench_adapter adapter_##peer = {                    \
		.struct_size = sizeof(struct quire_bench_adapter),             \
		.name = #peer,                                                 \
		.max_order = QUIRE_BENCH_MAX_ORDER,                            \
		.init = peer##_init,                                           \
		.fini = peer##_fini,                                           \
		.alloc = peer##_alloc,                                         \
		.free = peer##_free,                                           \
	}

/* ALIGNMENT and SIZE in the order in which the peer's function takes them. */
#define LIBRARY(peer, FILE_NAME, ALLOC, FIRST, SECOND, FREE, TRIM)             \
	static struct library peer = {                                         \
		.file = FILE_NAME,                                             \
		.alloc_name = ALLOC,                                           \
		.free_name = FREE,                                             \
		.trim_name = TRIM,                                             \
	};                                                                     \
	static int peer##_init(uint64_t bytes, unsigned threads)               \
	{                                                                      \
		(void)bytes;                                                   \
		(void)threads;                                                 \
		return library_open(&peer);                                    \
	}                                                                      \
	static void peer##_fini(void)                                          \
	{                                                                      \
		peer##_trim(&peer);                                            \
	}                                                                      \
	static void *peer##_alloc(unsigned order)                              \
	{                                                                      \
		return peer.alloc(FIRST, SECOND);                              \
	}                                                                      \
	static void peer##_free(void *block, unsigned order)                   \
	{                                                                      \
		(void)order;                                                   \
		peer.free(block);                                              \
	}                                                                      \
	ADAPTER(peer)

#define ALIGNMENT 4096
#define SIZE ((size_t)4096 << order)

ADAPTER(glibc);
LIBRARY(jemalloc, "libjemalloc.so.2", "aligned_alloc", ALIGNMENT, SIZE, "free",
	"mallctl");
LIBRARY(mimalloc, "libmimalloc.so.2", "mi_malloc_aligned", SIZE, ALIGNMENT,
	"mi_free", "mi_collect");
LIBRARY(tcmalloc, "libtcmalloc_minimal.so.4", "aligned_alloc", ALIGNMENT, SIZE,
	"free", "MallocExtension_ReleaseFreeMemory");
LIBRARY(tbbmalloc, "libtbbmalloc.so.2", "scalable_aligned_malloc", SIZE,
	ALIGNMENT, "scalable_aligned_free", "scalable_allocation_command");
