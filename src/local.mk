# The library. All of src/ is one convenience library, which the unit tests
# link to reach what libquire.so hides.
noinst_LTLIBRARIES += libquire-core.la
libquire_core_la_SOURCES = \
	src/allocator.c src/allocator.h \
	src/arena.c src/arena.h \
	src/bits.h \
	src/buddy.c src/buddy.h \
	src/cpu_stack.h \
	src/debug.c src/debug.h \
	src/descriptor.c \
	src/fork.c \
	src/give_back.c src/give_back.h \
	src/layout.c src/layout.h \
	src/line.c src/line.h \
	src/holds.c src/holds.h \
	src/lock.c src/lock.h \
	src/maintain.c \
	src/memblock.c src/memblock.h \
	src/memmap.c src/memmap.h \
	src/mempool.c src/mempool.h \
	src/node.c src/node.h \
	src/options.c src/options.h \
	src/page.h \
	src/page_alloc.c src/page_alloc.h \
	src/pageblock.h \
	src/pcp.c src/pcp.h \
	src/policy.c src/policy.h \
	src/quire.c \
	src/reclaim.c src/reclaim.h \
	src/shortage.c src/shortage.h \
	src/stat.c \
	src/strain.c \
	src/topology.c \
	src/validate.c \
	src/want.c src/want.h \
	src/watermark.c src/watermark.h \
	src/zone.c src/zone.h \
	src/zone_idle.c \
	src/zone_validate.c \
	src/platform/cc.h \
	src/platform/linux.c src/platform/linux.h \
	src/platform/numa.c \
	src/platform/platform.h \
	src/platform/rseq.h \
	src/platform/rseq_aarch64.h \
	src/platform/rseq_none.h \
	src/platform/rseq_x86_64.h
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
