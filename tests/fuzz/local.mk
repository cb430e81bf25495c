# The fuzz targets as plain programs, which replay the kept inputs and try random
# ones; `make fuzz SECONDS=60` runs them under clang's libFuzzer, `make fuzz-afl`
# under AFL++.
check_PROGRAMS += tests/fuzz/fuzz_alloc
tests_fuzz_fuzz_alloc_SOURCES = tests/fuzz/fuzz_alloc.c tests/fuzz/fuzz.h \
	tests/fuzz/main.c
tests_fuzz_fuzz_alloc_LDADD = libquire-core.la
if HAVE_LIBARCHIVE
check_PROGRAMS += tests/fuzz/fuzz_trace
tests_fuzz_fuzz_trace_SOURCES = tests/fuzz/fuzz_trace.c tests/fuzz/fuzz.h \
	tests/fuzz/main.c
tests_fuzz_fuzz_trace_CPPFLAGS = $(AM_CPPFLAGS) $(LIBARCHIVE_CFLAGS)
tests_fuzz_fuzz_trace_LDADD = tools/libtools.la libquire-core.la \
	$(LIBARCHIVE_LIBS)
endif

TESTS += tests/fuzz/fuzz.sh
EXTRA_DIST += tests/fuzz/fuzz.sh tests/fuzz/campaign.sh tests/fuzz/README.md \
	tests/fuzz/corpus-alloc tests/fuzz/corpus-trace

fuzz_run = top_srcdir='$(top_srcdir)' FUZZ_CC='$(FUZZ_CC)' \
	FUZZ_CFLAGS='-std=gnu11 -pthread $(DEFS) $(DEFAULT_INCLUDES) \
		$(AM_CPPFLAGS) $(NUMA_CFLAGS) $(URCU_CFLAGS) \
		$(LIBARCHIVE_CFLAGS)' \
	FUZZ_CORE='$(filter %.c,$(libquire_core_la_SOURCES))' \
	FUZZ_CORE_LIBS='$(NUMA_LIBS) $(URCU_LIBS)' \
	FUZZ_TOOLS='$(filter %.c,$(tools_libtools_la_SOURCES))' \
	FUZZ_LIBS='$(LIBARCHIVE_LIBS)' \
	$(SHELL) $(srcdir)/tests/fuzz/campaign.sh

fuzz: config.h
	@$(fuzz_run) libfuzzer $(or $(SECONDS),60)
fuzz-afl: config.h
	@$(fuzz_run) afl $(or $(SECONDS),60)

clean-local: clean-fuzz
clean-fuzz:
	rm -rf fuzz-libfuzzer fuzz-afl

.PHONY: fuzz fuzz-afl clean-fuzz
