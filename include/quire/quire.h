/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * quire: a page allocator for memory you own.
 *
 * An allocator (struct quire) manages one region of memory in pages of 4 KiB
 * and hands them out in naturally aligned blocks of 2^order pages, orders 0
 * (4 KiB) to 18 (1 GiB). Every page has a descriptor (struct quire_page)
 * outside the region; quire never writes into a page unless asked to
 * (QUIRE_ZERO, QUIRE_PREFAULT).
 *
 * Reading order: create, allocate, free; the rest when needed. The example
 * below is examples/hello.c:
 *
 *	struct quire_options options = QUIRE_OPTIONS_INIT;
 *	options.size = 256ull << 20;
 *	struct quire *q = quire_create(&options);
 *	struct quire_page *page = quire_alloc_pages(q, 0, QUIRE_ZERO);
 *	char *text = quire_page_to_virt(q, page);
 *	strcpy(text, "hello from a page of my own");
 *	puts(text);
 *	quire_free_pages(q, page, 0);
 *	quire_destroy(q);
 *
 * Unless a comment says otherwise:
 *  - errors: a function that returns a pointer returns NULL and one that
 *    returns int returns -1, with errno set; nothing has changed then. Misuse
 *    that would corrupt (a double free, a wrong order, a foreign pointer) is
 *    refused with EINVAL and a report that names every value;
 *  - threads: every function may be called by any thread at any time, except
 *    quire_destroy(), which must be the last call on its allocator;
 *  - signals: only allocations with QUIRE_NOLOCK, quire_free_pages_nolock(),
 *    the conversions and the page accessors (quire_page_*, quire_pfn_to_page,
 *    quire_virt_to_page, ...) may be called from a signal handler; page_put may
 *    not, for it can free;
 *  - units: sizes are bytes where the name says size or bytes, else pages;
 *  - fork: in the child of a fork, an allocator over memory that quire
 *    reserved, not hugetlb and not QUIRE_DONTFORK, goes on working as a copy.
 *    Of any other the child has only the tables: calls that would change or
 *    check it fail with EPERM, quire_stat() and the page accessors show the
 *    state at the fork. Blocks that other threads were just allocating or
 *    freeing stay live in a copy.
 */
#ifndef QUIRE_QUIRE_H
#define QUIRE_QUIRE_H

#include <stddef.h>
#include <stdint.h>

#ifdef __cplusplus
extern "C" {
#endif

#if defined(__GNUC__)
#define QUIRE_API __attribute__((visibility("default")))
#else
#define QUIRE_API
#endif

#define QUIRE_PAGE_SHIFT 12
#define QUIRE_PAGE_SIZE ((size_t)1 << QUIRE_PAGE_SHIFT)
/* Largest order, inclusive: 2^18 pages, 1 GiB. */
#define QUIRE_MAX_ORDER 18
#define QUIRE_NR_ORDERS (QUIRE_MAX_ORDER + 1)
/* Nodes of an allocator, and zones with pages of all its nodes together. */
#define QUIRE_MAX_NODES 16
#define QUIRE_MAX_ZONES 32

struct quire;
struct quire_page;

/* The zones that a node can have, from the bottom. */
enum quire_zone {
	QUIRE_ZONE_DMA32, /* an address window at the region's start */
	QUIRE_ZONE_NORMAL,
	QUIRE_ZONE_MOVABLE, /* movable pages only, so that it can be emptied */
	QUIRE_ZONE_DEVICE,  /* the caller's: only QUIRE_DEVICE takes from it */
};
#define QUIRE_NR_ZONES 4

/* Mobility: what a 2 MiB block is there for. */
enum quire_mobility {
	QUIRE_TYPE_UNMOVABLE,
	QUIRE_TYPE_MOVABLE,
	QUIRE_TYPE_RECLAIMABLE,
	QUIRE_TYPE_HIGHATOMIC, /* larger orders kept back for QUIRE_ATOMIC */
	QUIRE_TYPE_CMA,	       /* lent to who allows it: QUIRE_CMA */
	QUIRE_TYPE_ISOLATED,   /* its free pages are not handed out */
};
#define QUIRE_NR_TYPES 6

/* Which node an allocation comes from. */
enum quire_policy_mode {
	QUIRE_POLICY_LOCAL,	 /* that of the CPU, then by distance */
	QUIRE_POLICY_BIND,	 /* of `nodes` alone, the nearest first */
	QUIRE_POLICY_PREFERRED,	 /* of `nodes` the nearest, then by distance */
	QUIRE_POLICY_INTERLEAVE, /* of `nodes` in turn, then by distance */
	QUIRE_POLICY_WEIGHTED,	 /* as many in a turn as weight[node] says */
};

struct quire_policy {
	enum quire_policy_mode mode;
	uint32_t nodes;			 /* bit n: node n; 0 with LOCAL */
	uint8_t weight[QUIRE_MAX_NODES]; /* with WEIGHTED: 0 counts as 1 */
	uint32_t turn; /* quire's own; atomic: threads may share a policy */
};

/* ------------------------------------------------------------------ */
/* Creating                                                            */

/* What memory stands behind an arena. */
enum quire_backing {
	QUIRE_BACKING_DEFAULT = 0,
	QUIRE_BACKING_1G,     /* hugetlb pages of 1 GiB */
	QUIRE_BACKING_2M,     /* hugetlb pages of 2 MiB */
	QUIRE_BACKING_THP,    /* anonymous memory, transparent hugepages on */
	QUIRE_BACKING_BASE,   /* anonymous memory, base pages */
	QUIRE_BACKING_CALLER, /* reported only: the caller's region */
	QUIRE_BACKING_NONE,   /* reported only: offsets, mapped nowhere */
};

/* How a thread finds its per-CPU page lists; fixed for an allocator's life. */
enum quire_way {
	QUIRE_WAY_DEFAULT = 0, /* rseq where it works, else trylock */
	QUIRE_WAY_RSEQ,	       /* restartable sequences: no atomics, no lock */
	QUIRE_WAY_TRYLOCK,     /* the list of CPU number n, taken by trylock */
	QUIRE_WAY_BOUND,       /* threads stand in for CPUs: quire_cpu_bind() */
};

/* struct quire_options.flags */
#define QUIRE_OFFSETS                                                          \
	(1u << 0) /* region is [offset, offset + size), unmapped */
#define QUIRE_PREFAULT (1u << 1)   /* populate every page at creation */
#define QUIRE_MLOCK (1u << 2)	   /* mlock() the region */
#define QUIRE_DONTFORK (1u << 3)   /* keep the region out of children */
#define QUIRE_ZEROED (1u << 4)	   /* the caller's region is all zero now */
#define QUIRE_CHECK_RACE (1u << 5) /* catch two racing frees of one page */
#define QUIRE_LOCK_TIMES (1u << 6) /* measure how long zone locks are held */
/* Nodes are the machine's: memory is bound to them, CPUs and distances are
 * theirs. Needs libnuma, else the machine counts as one node. */
#define QUIRE_NUMA (1u << 7)
/* The memory is pinned or known to a device: it never goes back to the system.
 */
#define QUIRE_PINNED (1u << 8)

/* How free memory goes back to the system. */
enum quire_give_back {
	QUIRE_GIVE_NONE = 0, /* it does not */
	QUIRE_GIVE_DONTNEED, /* MADV_DONTNEED: at once; what quire reserved is
			      * known to be zero after */
	QUIRE_GIVE_FREE,     /* MADV_FREE: when the system needs it */
	QUIRE_GIVE_REMOVE,   /* MADV_REMOVE: punches a hole in a shared file */
};

/* struct quire_options.min_free: 4 * sqrt(KiB of memory) KiB, as Linux has it.
 */
#define QUIRE_MIN_FREE_AUTO UINT64_MAX

/*
 * Options. Start from QUIRE_OPTIONS_INIT; 0 means the default everywhere.
 *
 * Those with a key can be overridden by the environment,
 * QUIRE_CONF=key:value,... with the keys size, backing (1g, 2m, thp, base,
 * several joined by '+'), way (rseq, trylock, bound), cpus, decay_ms, renew,
 * prefault, mlock, dontfork, race, lock_times, numa, pinned (0 or 1), nodes,
 * distances (numbers joined by '+', row by row), dma32, movable, device, cma
 * (sizes), min_free (a size or auto), watermark_scale, wait_ms, policy (local,
 * interleave), give_back (none, dontneed, free, remove), give_delay_ms,
 * give_rate, give_floor, and debug (memblock, init, joined by '+'). Sizes take
 * K, M, G, T. An unknown key or value is reported and skipped, and so is the
 * size of a region that the caller brings, and prefault, mlock, dontfork and
 * give_back for QUIRE_OFFSETS.
 */
struct quire_options {
	size_t struct_size; /* sizeof(struct quire_options) of the caller */
	unsigned flags;	    /* QUIRE_OFFSETS ... */
	enum quire_way way;
	/*
	 * Bytes, 15 TiB at most. Reserved arenas are rounded up to 2 MiB.
	 * Regions of the caller keep their ends, trimmed inwards to whole
	 * pages.
	 */
	uint64_t size;
	void *address;	 /* region of the caller, or NULL: quire reserves */
	uint64_t offset; /* with QUIRE_OFFSETS: where the range starts */
	/* Tried in this order until one can be had for the whole arena;
	 * default: THP, then BASE. */
	enum quire_backing backing[4];
	/* Page list sets; default: possible CPUs, in the trylock way four
	 * times as many. */
	unsigned cpus;
	unsigned decay_ms; /* idle lists are given back after; default 1000 */
	/*
	 * Compaction by allocation: of every QUIRE_RENEW_MAX blocks that were
	 * freed on a CPU and could serve it next, how many go back to their
	 * zone first, for blocks out of its fullest 2 MiB. More of it leaves
	 * more 2 MiB blocks whole and makes pairs slower. Default 0: as the
	 * zone needs it; while its blocks are packed, what was freed last is
	 * handed out first.
	 */
	unsigned renew;
	/* Told every message (no newline); default: one line on stderr. Must
	 * not call back into the allocator. */
	void (*report)(void *arg, const char *message);
	void *report_arg;

	/*
	 * Nodes, each a part of the region: of node_size[] bytes, multiples of
	 * 2 MiB, the last one gets the rest; or, with no sizes, equal parts.
	 * Default 1, with QUIRE_NUMA those of the machine that have memory.
	 */
	unsigned nodes;
	uint64_t node_size[QUIRE_MAX_NODES];
	/* nodes x nodes, row by row, 10 from a node to itself, symmetric;
	 * copied. Default: 10 and 20, with QUIRE_NUMA the machine's. */
	const uint8_t *distances;
	/* The node of a CPU number; asked at creation, must be below `nodes`.
	 * Default: equal parts of the CPUs, with QUIRE_NUMA the machine's. */
	unsigned (*cpu_node)(void *arg, unsigned cpu);
	void *cpu_node_arg;
	/*
	 * Bytes of each zone but NORMAL, which gets the rest and is not empty;
	 * multiples of 2 MiB. DMA32 is the region's start and DEVICE its end,
	 * whatever nodes these are; MOVABLE is taken from all nodes' ends
	 * alike. Zones and nodes meet at 2 MiB boundaries of pfns: in a region
	 * that starts inside 2 MiB, the first gets up to the next one more.
	 */
	uint64_t zone_size[QUIRE_NR_ZONES];
	uint64_t
		cma_size; /* bytes of NORMAL, from its nodes' ends alike, CMA */
	/*
	 * Bytes that only QUIRE_ATOMIC, QUIRE_HIGH and QUIRE_MEMALLOC reach,
	 * over all zones but DEVICE in proportion. Default 0: every page can be
	 * had by every call.
	 */
	uint64_t min_free;
	/* low is this part of 10,000 of a zone above min, high as much above
	 * low; default 10, at most 3,000. */
	unsigned watermark_scale;
	/*
	 * Of each zone a share is kept from calls that could use a higher one
	 * too: the pages of the node's higher zones divided by this. Default
	 * 256 for DMA32, 32 for NORMAL; UINT32_MAX: nothing is kept.
	 */
	unsigned lowmem_ratio[QUIRE_NR_ZONES];
	struct quire_policy policy; /* of calls that name none */
	unsigned wait_ms;	    /* of QUIRE_WAIT; default 1000 */
	/*
	 * Free 2 MiB blocks that were not used for give_delay_ms (default
	 * 10,000) go back to the system in quire_maintain(), at most give_rate
	 * bytes a second (0: any), while free memory that has not gone is more
	 * than give_floor bytes. While blocks are on their way, calls with
	 * QUIRE_NORETRY or QUIRE_NOLOCK do not find them.
	 */
	enum quire_give_back give_back;
	unsigned give_delay_ms;
	uint64_t give_rate, give_floor;
};

#define QUIRE_RENEW_MAX 64

#define QUIRE_OPTIONS_INIT                                                     \
	{                                                                      \
		.struct_size = sizeof(struct quire_options)                    \
	}

/*
 * Creates an allocator. NULL options, or 0 as size without QUIRE_CONF, is
 * EINVAL. Cost does not depend on the size of the region. May call malloc; no
 * later call does, but for what libc does for threads.
 * Errors: EINVAL (options, each named), ENOMEM (no backing asked for can be
 * had, or no room for the tables), EPERM or ENOMEM (mlock), EACCES
 * (QUIRE_PREFAULT of a region that is not writable), ENOTSUP (a way that cannot
 * be had here), EAGAIN (QUIRE_WAY_BOUND: no thread key is left).
 */
QUIRE_API struct quire *quire_create(const struct quire_options *options);

/*
 * Destroys an allocator and unmaps what it reserved; a region of the caller is
 * left alone, but QUIRE_MLOCK and QUIRE_DONTFORK are undone, whatever was set
 * before. With live pages: EBUSY, the first of them are reported one a
 * line, and the allocator goes on working. It also does if membarrier fails and
 * the lists cannot be drained (membarrier's errno).
 */
QUIRE_API int quire_destroy(struct quire *q);

/* What was asked and what was got; constant for an allocator's life. */
struct quire_info {
	uint64_t pages;		    /* managed */
	void *address;		    /* of the first page; NULL with offsets */
	uint64_t offset;	    /* of the first page, with offsets */
	enum quire_backing backing; /* got for the whole region */
	enum quire_backing table_backing; /* THP or BASE */
	enum quire_way way;		  /* in use */
	unsigned cpus;			  /* page list sets */
	unsigned nodes;
	unsigned zones;	       /* with pages, of all nodes */
	uint64_t trimmed_head; /* bytes cut to reach a page's start */
	uint64_t trimmed_tail; /* bytes cut after the last whole page */
	uint64_t table_bytes;  /* reserved for tables, page list sets apart */
	uint64_t pcp_bytes;    /* reserved for page list sets */
	uint64_t first_pfn;    /* of the region */
};

/* info_size: sizeof(struct quire_info) of the caller. */
QUIRE_API int quire_info(const struct quire *q, struct quire_info *info,
			 size_t info_size);

/* "rseq", "2m", ... as QUIRE_CONF spells them. */
QUIRE_API const char *quire_way_name(enum quire_way way);
QUIRE_API const char *quire_backing_name(enum quire_backing backing);

/* ------------------------------------------------------------------ */
/* Allocating                                                          */

/* Flags of an allocation. Unknown bits, and those that contradict each other,
 * are EINVAL. */
#define QUIRE_ZERO (1u << 0)	/* pages read as zero (not with offsets) */
#define QUIRE_NORETRY (1u << 1) /* fail without draining other CPUs first */
/*
 * Neither blocks nor spins; what cannot be had so fails with EAGAIN, though
 * there may be free pages. May be used in a signal handler, which may have
 * interrupted any call of quire's.
 */
#define QUIRE_NOLOCK (1u << 2)
/*
 * Waits for pages to come back, in line with others who do, options.wait_ms at
 * most; then fails with ETIMEDOUT. What waiters want, to an eighth of a zone,
 * is not taken by calls without WAIT, ATOMIC or MEMALLOC. What no zone could
 * ever hold is EINVAL. Inside a shrinker nobody waits: ENOMEM.
 */
#define QUIRE_WAIT (1u << 3)
/*
 * Reclaims and waits until there are pages, for good if none come. Fails only,
 * with EINVAL, for what no zone could ever hold, and inside a shrinker, where
 * nobody waits, with ENOMEM.
 */
#define QUIRE_NOFAIL (1u << 4)
/*
 * May use some of what min_free keeps: HIGH one half, ATOMIC, which neither
 * reclaims nor waits, one fourth, both together five eighths, MEMALLOC all of
 * it. MEMALLOC is for who frees memory soon: shrinkers have it by themselves.
 */
#define QUIRE_HIGH (1u << 5)
#define QUIRE_ATOMIC (1u << 6)
#define QUIRE_MEMALLOC (1u << 7)
/* Mobility; default: unmovable. */
#define QUIRE_MOVABLE (1u << 8)	    /* can be moved: may lie in MOVABLE zones */
#define QUIRE_RECLAIMABLE (1u << 9) /* can be given up: caches */
/* With MOVABLE: blocks up to order 8 may lie in CMA; exact runs do not. */
#define QUIRE_CMA (1u << 10)
/* Zones; default: NORMAL, with QUIRE_MOVABLE MOVABLE, and those below it. */
#define QUIRE_DMA32 (1u << 11)	/* DMA32 alone */
#define QUIRE_DEVICE (1u << 12) /* DEVICE alone */
/* From this node; overrides the policy. With THISNODE from no other node than
 * that one, or the one that the policy chose. */
#define QUIRE_THISNODE (1u << 13)
#define QUIRE_NODE(n) (((unsigned)(n) + 1u) << 16)
#define QUIRE_NODE_MASK (0x1fu << 16)

/*
 * Allocates 2^order contiguous pages aligned to their size; returns the
 * descriptor of the first, the head. The caller holds one reference. Contents
 * (without QUIRE_ZERO) and the private word are unspecified; page flags are 0.
 * Errors: ENOMEM, after every CPU's lists were drained, shrinkers had their
 * turns and no run was left above what is reserved
 * (if membarrier fails lists are not drained, which is reported);
 * EINVAL (order, flags, node); ENOTSUP (QUIRE_ZERO with offsets or
 * QUIRE_DEVICE); EPERM (child of a fork); ETIMEDOUT (QUIRE_WAIT).
 */
QUIRE_API struct quire_page *quire_alloc_pages(struct quire *q, unsigned order,
					       unsigned flags);
/*
 * The same by a policy (NULL: the allocator's own) and, with QUIRE_WAIT, for
 * wait_ms milliseconds at most (0: options.wait_ms). EINVAL also for a policy
 * that names no node, or one that is not there; with BIND, no node with memory
 * for these flags.
 */
QUIRE_API struct quire_page *
quire_alloc_pages_with(struct quire *q, unsigned order, unsigned flags,
		       struct quire_policy *policy, unsigned wait_ms);

/*
 * Gives up the caller's reference to a block allocated with this order, and
 * frees the block unless quire_page_get() gave it other holders. Errors:
 * EINVAL and a report, if page is not the head of a live block of this order.
 */
QUIRE_API int quire_free_pages(struct quire *q, struct quire_page *page,
			       unsigned order);

/*
 * The same without blocking or spinning, for callers of QUIRE_NOLOCK, a signal
 * handler among them: if the block cannot be given back at once, the next call
 * that comes by its zone does it. A report, if it is refused, is made here: an
 * options.report must then be one that a signal handler may call.
 */
QUIRE_API int quire_free_pages_nolock(struct quire *q, struct quire_page *page,
				      unsigned order);

/* The same by address. With QUIRE_OFFSETS: ENOTSUP. */
QUIRE_API void *quire_alloc_addr(struct quire *q, unsigned order,
				 unsigned flags);
QUIRE_API int quire_free_addr(struct quire *q, void *addr, unsigned order);
/* Frees the block that starts at addr, whatever its order. */
QUIRE_API int quire_free_unsized(struct quire *q, void *addr);

/*
 * Allocates up to n blocks of 2^order pages into pages[0..n); returns how many
 * (with fewer than n, errno is ENOMEM, with QUIRE_NOLOCK EAGAIN, with
 * QUIRE_WAIT ETIMEDOUT: each block may wait for options.wait_ms; with 0 it can
 * be EINVAL or EPERM too).
 */
QUIRE_API size_t quire_alloc_pages_bulk(struct quire *q, unsigned order,
					unsigned flags, size_t n,
					struct quire_page **pages);
/*
 * Frees n blocks, each as quire_free_pages() does: one that is refused is
 * reported, the others are freed all the same. Returns how many were accepted;
 * with fewer than n, errno is EINVAL.
 */
QUIRE_API size_t quire_free_pages_bulk(struct quire *q, unsigned order,
				       size_t n, struct quire_page **pages);

/*
 * Allocates n contiguous pages, 1 <= n <= 2^18, aligned to n rounded up to a
 * power of two, as n independent pages of order 0: any of them may be freed
 * (order 0) by any thread, one by one or by quire_free_exact().
 */
QUIRE_API struct quire_page *quire_alloc_exact(struct quire *q, size_t n,
					       unsigned flags);
/*
 * Frees pages [page, page + n), each a live block of order 0 with one holder.
 * All n are checked before one is freed: on error (EINVAL) nothing is freed.
 */
QUIRE_API int quire_free_exact(struct quire *q, struct quire_page *page,
			       size_t n);

/* ------------------------------------------------------------------ */
/* Pages                                                               */

/*
 * Conversions between descriptor, page frame number, address and offset. They
 * only compute: pfn 0 is the region's start rounded down to 1 GiB. Pointers
 * need not be those of heads. Out of range, or an address with QUIRE_OFFSETS:
 * NULL or UINT64_MAX, errno EINVAL or ENOTSUP, without a report.
 */
QUIRE_API uint64_t quire_page_to_pfn(const struct quire *q,
				     const struct quire_page *page);
QUIRE_API struct quire_page *quire_pfn_to_page(const struct quire *q,
					       uint64_t pfn);
QUIRE_API void *quire_page_to_virt(const struct quire *q,
				   const struct quire_page *page);
QUIRE_API struct quire_page *quire_virt_to_page(const struct quire *q,
						const void *addr);
/* Offset from the region's start; with QUIRE_OFFSETS, in the caller's range. */
QUIRE_API uint64_t quire_page_to_offset(const struct quire *q,
					const struct quire_page *page);
QUIRE_API struct quire_page *quire_offset_to_page(const struct quire *q,
						  uint64_t offset);

/* Order of the live block that starts at page or addr; -1 if none does. */
QUIRE_API int quire_page_order(const struct quire *q,
			       const struct quire_page *page);
QUIRE_API int quire_addr_order(const struct quire *q, const void *addr);

/*
 * References. The page must be a live head on which the caller holds one.
 * quire_page_put() frees the block with the last; returns 1 if it did, 0 if
 * others hold it. Errors: EINVAL and a report (not a live head); get: EOVERFLOW
 * at 2^32 - 1 holders.
 */
QUIRE_API int quire_page_get(struct quire *q, struct quire_page *page);
QUIRE_API int quire_page_put(struct quire *q, struct quire_page *page);
/* Holders of a live head; 0 for any other page. A snapshot. */
QUIRE_API uint64_t quire_page_count(const struct quire *q,
				    const struct quire_page *page);

/*
 * Sixteen flags of the owner's, on a live head; atomic; 0 after allocation.
 * set and clear return the flags as they were before.
 */
QUIRE_API uint16_t quire_page_flags(const struct quire_page *page);
QUIRE_API uint16_t quire_page_set_flags(struct quire_page *page,
					uint16_t flags);
QUIRE_API uint16_t quire_page_clear_flags(struct quire_page *page,
					  uint16_t flags);

/*
 * The owner's private word, on a live head; not atomic, the owner's to order.
 * Errors of set: EINVAL and a report (not a live head: the words of others are
 * quire's). The word of what is no page of q is 0, with EINVAL.
 */
QUIRE_API uint64_t quire_page_private(const struct quire *q,
				      const struct quire_page *page);
QUIRE_API int quire_page_set_private(struct quire *q, struct quire_page *page,
				     uint64_t value);

/* ------------------------------------------------------------------ */
/* CPUs and upkeep                                                     */

/*
 * QUIRE_WAY_BOUND: the calling thread stands in for CPU n, 0 <= n < cpus, until
 * it unbinds or exits. Unbound threads work too, without page lists.
 * Errors: EBUSY (n has a thread, or the thread has an n), EINVAL (n), ENOTSUP
 * (another way is in use). Unbinding a thread that is not bound: EINVAL.
 */
QUIRE_API int quire_cpu_bind(struct quire *q, unsigned n);
QUIRE_API int quire_cpu_unbind(struct quire *q);

/*
 * Gives every CPU's parked pages and owned blocks back to the zones. Fails only
 * with EPERM, or with membarrier's errno if that fails.
 */
QUIRE_API int quire_drain_all(struct quire *q);

/*
 * Timed work that is due: page lists idle for decay_ms are drained, zones below
 * their low watermark reclaimed up to high, free memory given back. The slow
 * paths of other calls drain idle lists too, so calling it is needed only where
 * no calls happen, or for the rest. Returns how many CPUs' lists were drained,
 * in each zone.
 */
QUIRE_API int quire_maintain(struct quire *q);

/* ------------------------------------------------------------------ */
/* Policy: nodes, zones, mobility                                      */

/*
 * Distances between nodes, nodes x nodes, row by row; every node's zonelist is
 * built anew. Allocations that are walking the old ones go on. Errors: EINVAL
 * and a report (below 10, not 10 from a node to itself, not symmetric).
 */
QUIRE_API int quire_set_distances(struct quire *q, const uint8_t *distances);
QUIRE_API int quire_distance(const struct quire *q, unsigned from, unsigned to);
/* The node of a block, and that of the CPU the caller runs on. */
QUIRE_API int quire_page_node(const struct quire *q,
			      const struct quire_page *page);
QUIRE_API int quire_this_node(const struct quire *q);

/*
 * What the 2 MiB blocks of [pfn, pfn + pages) are there for from now on: CMA,
 * ISOLATED, or back to UNMOVABLE, MOVABLE or RECLAIMABLE. Both numbers are
 * multiples of 512. Live blocks stay; what is freed goes where the type says (a
 * page that another thread is freeing at this moment may be parked in a list
 * once more). Errors: EINVAL and a report (range, type), EBUSY and a report (a
 * live block of order 9 or more reaches in; or one was allocated meanwhile, or
 * a thread did not come to an end with a page: types are set then, call again).
 */
QUIRE_API int quire_set_mobility(struct quire *q, uint64_t pfn, uint64_t pages,
				 enum quire_mobility type);
/* Of the 2 MiB block of a pfn; -1: wholly free, of order 9 and more, or, with
 * EINVAL, not of this allocator. */
QUIRE_API int quire_mobility(const struct quire *q, uint64_t pfn);

QUIRE_API const char *quire_zone_name(enum quire_zone kind);
QUIRE_API const char *quire_mobility_name(enum quire_mobility type);

/* A zone, pages throughout. */
struct quire_zone_info {
	unsigned node;
	enum quire_zone kind;
	uint64_t first_pfn, pages;
	uint64_t free;			    /* parked pages are not */
	uint64_t free_type[QUIRE_NR_TYPES]; /* of them, in broken blocks */
	uint64_t free_whole;		    /* and in whole ones */
	uint64_t min, low, high;	    /* watermarks, boost left out */
	uint64_t boost;			    /* added to low and high */
	/* Kept from calls whose highest zone is that one. */
	uint64_t reserve[QUIRE_NR_ZONES];
	/* Blocks of other types that became another's, or lent it a run. */
	uint64_t claims, steals;
};

/* Zone n, 0 <= n < info.zones, by node and kind; info_size is the caller's. */
QUIRE_API int quire_zone_info(const struct quire *q, unsigned n,
			      struct quire_zone_info *info, size_t info_size);

/* ------------------------------------------------------------------ */
/* Pressure: shrinkers, reserves, giving back                          */

/* What a shrinker is told. */
struct quire_shrink {
	struct quire *q;
	unsigned node;	   /* pages are wanted there */
	unsigned order;	   /* of the allocation that falls short */
	uint64_t pages;	   /* wanted in all */
	unsigned priority; /* 12: a 4,096th of what there is, ... 0: all */
};

/*
 * Who can free pages when memory is short. The struct is the caller's and must
 * stay until quire_shrinker_unregister() returned. Both functions are called by
 * any thread, several at a time, never with a lock of quire's held; they may
 * allocate (what they get may come from the reserve, and no shrinker is called
 * for it) and free, but must not wait for a thread that allocates.
 */
struct quire_shrinker {
	const char *name;
	/* Pages it could free now; 0: none. */
	uint64_t (*count)(struct quire_shrinker *shrinker,
			  const struct quire_shrink *want);
	/* Frees about so many pages; returns how many, or QUIRE_SHRINK_STOP
	 * when it cannot go on now. */
	uint64_t (*scan)(struct quire_shrinker *shrinker,
			 const struct quire_shrink *want, uint64_t pages);
	void *arg;	/* the owner's */
	uint64_t batch; /* pages a scan at most; 0: 128 */
	void *state;	/* quire's own; NULL before it is registered */
};

#define QUIRE_SHRINK_STOP UINT64_MAX

/*
 * Errors: EEXIST (registered already), EINVAL (no count or scan), ENOMEM; of
 * unregister EINVAL (not registered), EBUSY (called by the shrinker itself, as
 * it runs). Unregister waits until no thread runs it; two shrinkers must not
 * unregister each other. Shrinkers are kept by liburcu-bp, around whose locks
 * quire forks: a program must not call urcu_bp_before_fork() itself.
 */
QUIRE_API int quire_shrinker_register(struct quire *q,
				      struct quire_shrinker *shrinker);
QUIRE_API int quire_shrinker_unregister(struct quire *q,
					struct quire_shrinker *shrinker);
/* Lets shrinkers free about so many pages of a node now; returns how many they
 * say they did, -1 with EINVAL for a node that is not there. */
QUIRE_API int64_t quire_reclaim(struct quire *q, unsigned node, uint64_t pages);
/*
 * A thread for each node that reclaims when one of its zones falls below low,
 * up to high, and calls quire_maintain() every decay_ms. Errors of start: EBUSY
 * (they run), EAGAIN; of stop: EINVAL (they do not), EBUSY (called by a
 * shrinker that one of them runs). quire_destroy() stops them. A child of a
 * fork has none.
 */
QUIRE_API int quire_reclaim_start(struct quire *q);
QUIRE_API int quire_reclaim_stop(struct quire *q);

/*
 * A reserve of `blocks` blocks for one purpose, so that it always gets on: an
 * allocation comes from the allocator while that has any at once, else from the
 * reserve; a freed block refills the reserve first. With QUIRE_WAIT an
 * allocation waits for blocks of the pool to come back (wait_ms; 0:
 * options.wait_ms, then fails with ETIMEDOUT), without fails with ENOMEM. The
 * flags of create are for all of the pool's allocations, any but WAIT, NOFAIL,
 * NOLOCK and NORETRY; those of alloc are ZERO and WAIT. Errors: EINVAL and a
 * report (no blocks, order, flags, a page that is not out), ENOMEM; of destroy
 * EBUSY, while blocks are out.
 */
struct quire_mempool;
QUIRE_API struct quire_mempool *quire_mempool_create(struct quire *q,
						     unsigned order,
						     unsigned flags,
						     unsigned blocks);
QUIRE_API int quire_mempool_destroy(struct quire_mempool *pool);
QUIRE_API struct quire_page *quire_mempool_alloc(struct quire_mempool *pool,
						 unsigned flags,
						 unsigned wait_ms);
QUIRE_API int quire_mempool_free(struct quire_mempool *pool,
				 struct quire_page *page);

/*
 * Gives free 2 MiB blocks back to the system now, larger free runs first, of
 * these the longest free, at most so many bytes; returns how many bytes went.
 * Errors: ENOTSUP (QUIRE_PINNED or QUIRE_MLOCK, offsets, give_back none, or a
 * backing that cannot).
 */
QUIRE_API int64_t quire_give_back(struct quire *q, uint64_t bytes);
/* Asks the system for hugepages again behind blocks in full use that went back
 * before (MADV_COLLAPSE); returns how many it gave. Errors: ENOTSUP. */
QUIRE_API int quire_collapse(struct quire *q);

/* ------------------------------------------------------------------ */
/* Counters                                                            */

/*
 * A snapshot, not atomic as a whole: exact when no other thread is inside a
 * call. Blocks are counted once whatever their order, an exact run of n pages
 * as n blocks.
 */
struct quire_stat {
	uint64_t pages;	       /* managed */
	uint64_t pages_free;   /* in the zones, owned blocks included */
	uint64_t pages_parked; /* in per-CPU lists */
	uint64_t pages_live;   /* with callers: the rest */
	uint64_t allocs;       /* blocks handed out */
	uint64_t frees;	       /* blocks taken back */
	uint64_t pcp_allocs; /* of allocs: from a per-CPU list, no zone lock */
	uint64_t pcp_frees;  /* of frees: to a per-CPU list, no zone lock */
	uint64_t refills;    /* batches moved from a zone to a list */
	uint64_t drains;     /* lists emptied or trimmed to a zone */
	/* Calls that got nothing: ENOMEM, EAGAIN, ETIMEDOUT, or EINVAL for
	 * what no zone could hold. */
	uint64_t failures;
	uint64_t refused;    /* frees, gets, puts, private words refused */
	uint64_t zone_locks; /* zone lock acquisitions, to alloc or free */
	uint64_t zeroed;     /* pages cleared for QUIRE_ZERO */
	uint64_t claims;    /* 2 MiB blocks that changed their type, to serve */
	uint64_t steals;    /* runs taken from a block of another type */
	uint64_t waits;	    /* calls that waited in line */
	uint64_t timeouts;  /* of them, those that got nothing */
	uint64_t reclaims;  /* calls that had shrinkers called */
	uint64_t reclaimed; /* pages shrinkers say they freed */
	uint64_t given_back; /* bytes that went back to the system */
	/*
	 * With QUIRE_LOCK_TIMES, else 0: ns that a zone's lock was held, of 999
	 * in 1000 holds at most (to an eighth), and the longest. A holder that
	 * lost its CPU meanwhile is in it.
	 */
	uint64_t zone_hold_p999_ns;
	uint64_t zone_hold_max_ns;
};

/* stat_size: sizeof(struct quire_stat) of the caller. */
QUIRE_API int quire_stat(const struct quire *q, struct quire_stat *stat,
			 size_t stat_size);

/*
 * Free runs per order, as /proc/buddyinfo counts them: runs[k] maximal aligned
 * free runs of exactly 2^k pages in the zones (parked pages are not free).
 * Scans the tables under the zone lock, a few pageblocks at a time.
 */
QUIRE_API int quire_free_runs(struct quire *q, uint64_t runs[QUIRE_NR_ORDERS]);

/*
 * Checks every invariant of the tables; each violation is reported. Returns
 * how many there are, 0 for a sound allocator. No other thread, and no signal
 * handler, may be inside a call on q.
 */
QUIRE_API int quire_validate(struct quire *q);

/* The library's version, "0.1.0". */
QUIRE_API const char *quire_version(void);

#ifdef __cplusplus
}
#endif

#endif
