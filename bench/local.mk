# Benchmarks need a C++ compiler and Google Benchmark, the workloads only C.
quireinclude_HEADERS += include/quire/bench.h
dist_examples_DATA += bench/example-adapter.c

if HAVE_BENCHMARK
EXTRA_PROGRAMS += bench/quire-bench
EXTRA_LTLIBRARIES += bench/libadapter-dpdk.la bench/libtls-stack.la
CLEANFILES += bench/quire-bench$(EXEEXT)
bench_parts = bench/bench.h \
	bench/adapters.c bench/adapters.h \
	bench/adapter-malloc.c \
	bench/adapter-mmap.c \
	bench/adapter-mutex-buddy.c \
	bench/adapter-quire.c \
	bench/adapter-tls-stack.c \
	bench/baseline.c \
	bench/histogram.c bench/histogram.h bench/ticks.h \
	bench/plan.c \
	bench/progress.c \
	bench/reach.c \
	bench/report.c \
	bench/results.c bench/results.h \
	bench/run.c bench/run.h \
	bench/workloads.c bench/workloads.h \
	bench/workload-bulk.c \
	bench/workload-create.c \
	bench/workload-cross.c \
	bench/workload-fragment.c \
	bench/workload-pair.c \
	bench/workload-slots.c
bench_quire_bench_SOURCES = bench/bench.cc $(bench_parts)
bench_quire_bench_CPPFLAGS = $(AM_CPPFLAGS) $(BENCHMARK_CFLAGS)
bench_quire_bench_LDADD = libquire.la bench/libtls-stack.la \
	bench/libadapter-dpdk.la \
	$(BENCHMARK_LIBS) -ldl

# What reach.c says of results that keep what is promised, and that do not.
check_PROGRAMS += bench/reach-test
TESTS += bench/reach-test
bench_reach_test_SOURCES = bench/reach-test.c $(bench_parts)
bench_reach_test_LDADD = libquire.la bench/libtls-stack.la \
	bench/libadapter-dpdk.la -ldl

# What baseline.c makes of results, and which cases the baseline is asked for.
check_PROGRAMS += bench/baseline-test
TESTS += bench/baseline-test
bench_baseline_test_SOURCES = bench/baseline-test.c $(bench_parts)
bench_baseline_test_LDADD = libquire.la bench/libtls-stack.la \
	bench/libadapter-dpdk.la -ldl

# The floor is called through a shared library, as quire is; -rpath makes one
# of it though it is never installed.
bench_libtls_stack_la_SOURCES = bench/tls_stack.c bench/tls_stack.h
bench_libtls_stack_la_LDFLAGS = $(AM_LDFLAGS) $(LIB_LDFLAGS) -shared \
	-avoid-version -rpath $(abs_builddir)/bench

# DPDK's flags choose a processor: for this file only.
bench_libadapter_dpdk_la_SOURCES = bench/adapter-dpdk.c
bench_libadapter_dpdk_la_CFLAGS = $(AM_CFLAGS) $(DPDK_CFLAGS)
bench_libadapter_dpdk_la_LIBADD = $(DPDK_LIBS)

# Of two minutes, and all of it; the results are in bench-results/. Where the
# baseline cannot be built, the rest is measured.
bench: bench/quire-bench$(EXEEXT)
	@$(build_baseline) || :
	@$(srcdir)/scripts/bench-run $(builddir) $(BENCH_FLAGS)
bench-full: bench/quire-bench$(EXEEXT)
	@$(build_baseline) || :
	@$(srcdir)/scripts/bench-run $(builddir) --full $(BENCH_FLAGS)
# Only today's library and the baseline.
bench-baseline: bench/quire-bench$(EXEEXT)
	@$(build_baseline)
	@$(srcdir)/scripts/bench-baseline $(builddir) $(BENCH_FLAGS)
else
bench bench-full bench-baseline:
	@echo 'configure found no C++ compiler or no Google Benchmark' \
		'(Debian: g++ libbenchmark-dev)' >&2; exit 1
endif

# The library as it was at one commit, and adapters for it.
BASELINE = bench/baseline
build_baseline = top_srcdir='$(abs_top_srcdir)' CC="$(CC)" \
	CFLAGS='$(CPPFLAGS) $(CFLAGS)' LDFLAGS='$(LDFLAGS)' \
	WARN_CFLAGS='$(WARN_CFLAGS)' DEBUG_CPPFLAGS='$(DEBUG_CPPFLAGS)' \
	SANITIZER_FLAGS='$(SANITIZER_FLAGS)' CK_CFLAGS='$(CK_CFLAGS)' \
	NUMA_CFLAGS='$(NUMA_CFLAGS)' NUMA_LIBS='$(NUMA_LIBS)' \
	URCU_CFLAGS='$(URCU_CFLAGS)' URCU_LIBS='$(URCU_LIBS)' \
	$(SHELL) $(srcdir)/bench/baseline.sh '$(BASELINE)'
baseline:
	@$(build_baseline)

EXTRA_DIST += bench/adapter-baseline.c bench/baseline.sh

clean-local: clean-bench
clean-bench:
	rm -rf bench-results bench-results-baseline bench/baseline \
		bench/baseline.part
	$(LIBTOOL) $(AM_LIBTOOLFLAGS) --mode=clean rm -f $(EXTRA_LTLIBRARIES)

bench_tests = bench/adapters.sh
TESTS += $(bench_tests)
EXTRA_DIST += $(bench_tests)

.PHONY: baseline bench bench-baseline bench-full clean-bench
