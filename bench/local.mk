# Benchmarks need a C++ compiler and Google Benchmark, the workloads only C.
quireinclude_HEADERS += include/quire/bench.h
dist_examples_DATA += bench/example-adapter.c

if HAVE_BENCHMARK
EXTRA_PROGRAMS += bench/quire-bench
EXTRA_LTLIBRARIES += bench/libtls-stack.la
CLEANFILES += bench/quire-bench$(EXEEXT)
bench_quire_bench_SOURCES = bench/bench.cc bench/bench.h \
	bench/adapters.c bench/adapters.h \
	bench/adapter-malloc.c \
	bench/adapter-mmap.c \
	bench/adapter-mutex-buddy.c \
	bench/adapter-quire.c \
	bench/adapter-tls-stack.c \
	bench/histogram.c bench/histogram.h bench/ticks.h \
	bench/progress.c \
	bench/report.c \
	bench/run.c bench/run.h \
	bench/workloads.c bench/workloads.h \
	bench/workload-bulk.c \
	bench/workload-create.c \
	bench/workload-cross.c \
	bench/workload-fragment.c \
	bench/workload-pair.c \
	bench/workload-slots.c
bench_quire_bench_CPPFLAGS = $(AM_CPPFLAGS) $(BENCHMARK_CFLAGS)
bench_quire_bench_LDADD = libquire.la bench/libtls-stack.la \
	$(BENCHMARK_LIBS) -ldl

# The floor is called through a shared library, as quire is; -rpath makes one
# of it though it is never installed.
bench_libtls_stack_la_SOURCES = bench/tls_stack.c bench/tls_stack.h
bench_libtls_stack_la_LDFLAGS = $(AM_LDFLAGS) $(LIB_LDFLAGS) -shared \
	-avoid-version -rpath $(abs_builddir)/bench

# Of two minutes, and all of it; the results are in bench-results/.
bench: bench/quire-bench$(EXEEXT)
	@$(srcdir)/scripts/bench-run $(builddir) $(BENCH_FLAGS)
bench-full: bench/quire-bench$(EXEEXT)
	@$(srcdir)/scripts/bench-run $(builddir) --full $(BENCH_FLAGS)
else
bench bench-full:
	@echo 'configure found no C++ compiler or no Google Benchmark' \
		'(Debian: g++ libbenchmark-dev)' >&2; exit 1
endif

clean-local: clean-bench
clean-bench:
	rm -rf bench-results

bench_tests = bench/adapters.sh
TESTS += $(bench_tests)
EXTRA_DIST += $(bench_tests)

.PHONY: bench bench-full clean-bench
