# Benchmarks need a C++ compiler and Google Benchmark, the workloads only C.
if HAVE_BENCHMARK
EXTRA_PROGRAMS += bench/quire-bench
EXTRA_LTLIBRARIES += bench/libtls-stack.la
CLEANFILES += bench/quire-bench$(EXEEXT)
bench_quire_bench_SOURCES = bench/bench.cc \
	bench/adapter-quire.c bench/adapter-tls-stack.c bench/adapter.h \
	bench/workloads.c bench/workloads.h
bench_quire_bench_CPPFLAGS = $(AM_CPPFLAGS) $(BENCHMARK_CFLAGS)
bench_quire_bench_LDADD = libquire.la bench/libtls-stack.la $(BENCHMARK_LIBS)

# The floor is called through a shared library, as quire is; -rpath makes one
# of it though it is never installed.
bench_libtls_stack_la_SOURCES = bench/tls_stack.c bench/tls_stack.h
bench_libtls_stack_la_LDFLAGS = $(AM_LDFLAGS) $(LIB_LDFLAGS) -shared \
	-avoid-version -rpath $(abs_builddir)/bench

bench: bench/quire-bench$(EXEEXT)
	bench/quire-bench$(EXEEXT)
else
bench:
	@echo 'configure found no C++ compiler or no Google Benchmark' \
		'(Debian: g++ libbenchmark-dev)' >&2; exit 1
endif

.PHONY: bench
