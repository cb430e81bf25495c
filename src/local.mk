# The library. All of src/ is one convenience library, which the unit tests
# link to reach what libquire.so hides.
noinst_LTLIBRARIES += libquire-core.la
libquire_core_la_SOURCES = \
	src/platform/backoff.h \
	src/platform/cc.h \
	src/platform/fault.c \
	src/platform/fault.h \
	src/platform/linux/linux.c \
	src/platform/linux/linux.h \
	src/platform/linux/linux_memory.c \
	src/platform/linux/linux_process.c \
	src/platform/linux/linux_rcu.c \
	src/platform/linux/numa.c \
	src/platform/odds.h \
	src/platform/platform.h \
	src/platform/platform_memory.h \
	src/platform/platform_process.h \
	src/platform/platform_rcu.h \
	src/platform/rseq.h \
	src/platform/rseq/rseq_aarch64.h \
	src/platform/rseq/rseq_none.h \
	src/platform/rseq/rseq_x86_64.h \
	src/base/bits.h \
	src/base/cpu_stack.h \
	src/base/holds.c \
	src/base/holds.h \
	src/base/lock.c \
	src/base/lock.h \
	src/base/names.c \
	src/base/report.c \
	src/base/report.h \
	src/base/schedule.c \
	src/base/schedule.h \
	src/base/wait_queue.c \
	src/base/wait_queue.h \
	src/boot/arena.c \
	src/boot/arena.h \
	src/boot/memblock.c \
	src/boot/memblock.h \
	src/map/memmap.c \
	src/map/memmap.h \
	src/map/page.h \
	src/map/pageblock.h \
	src/zone/buddy.c \
	src/zone/buddy.h \
	src/zone/node.c \
	src/zone/node.h \
	src/zone/watermark.c \
	src/zone/watermark.h \
	src/zone/zone.c \
	src/zone/zone.h \
	src/zone/zone_alloc.c \
	src/zone/zone_blocks.c \
	src/zone/zone_free.c \
	src/zone/zone_idle.c \
	src/zone/zone_impl.h \
	src/zone/zone_pick.c \
	src/zone/zone_validate.c \
	src/pcp/pcp.c \
	src/pcp/pcp.h \
	src/pcp/pcp_drain.c \
	src/pcp/pcp_refill.c \
	src/pcp/pcp_set.c \
	src/pcp/pcp_set.h \
	src/instance/allocator.c \
	src/instance/allocator.h \
	src/instance/bind.c \
	src/instance/conf.c \
	src/instance/conf.h \
	src/instance/create.c \
	src/instance/fork.c \
	src/instance/layout.c \
	src/instance/layout.h \
	src/instance/options.c \
	src/instance/options.h \
	src/instance/policy.c \
	src/instance/policy.h \
	src/alloc/exact.c \
	src/alloc/page_alloc.c \
	src/alloc/page_alloc.h \
	src/alloc/page_api.c \
	src/alloc/page_free.c \
	src/alloc/shortage.c \
	src/alloc/shortage.h \
	src/alloc/want.c \
	src/alloc/want.h \
	src/service/give_back.c \
	src/service/give_back.h \
	src/service/maintain.c \
	src/service/mempool.c \
	src/service/mempool.h \
	src/service/reclaim.c \
	src/service/reclaim.h \
	src/service/reclaim_thread.c \
	src/service/shrinker.c \
	src/service/shrinker.h \
	src/service/small.c \
	src/service/small.h \
	src/service/stat.c \
	src/service/strain.c \
	src/service/topology.c \
	src/service/validate.c
libquire_core_la_CFLAGS = $(AM_CFLAGS) $(URCU_CFLAGS) \
	-fvisibility=hidden
libquire_core_la_LIBADD = $(NUMA_LIBS) $(URCU_LIBS)

lib_LTLIBRARIES = libquire.la
libquire_la_SOURCES =
libquire_la_LIBADD = libquire-core.la
libquire_la_LDFLAGS = $(AM_LDFLAGS) $(LIB_LDFLAGS) -version-info 0:0:0 \
	-Wl,--version-script=$(top_srcdir)/src/libquire.map
EXTRA_libquire_la_DEPENDENCIES = src/libquire.map
EXTRA_DIST += src/libquire.map src/FLOORS

quireincludedir = $(includedir)/quire
quireinclude_HEADERS = include/quire/quire.h include/quire/debug.h
