# A check program or tests/*.sh is a test. Whatever it prints, scripts/as-tap
# makes TAP of it, so that every case is counted.
AM_TESTS_ENVIRONMENT = \
	unset QUIRE_CONF MAKEFLAGS MFLAGS MAKELEVEL; \
	: "$${QUIRE_TEST_SEED=`$(top_srcdir)/scripts/seed`}"; \
	export QUIRE_TEST_SEED; \
	top_srcdir='$(abs_top_srcdir)'; top_builddir='$(abs_top_builddir)'; \
	CC="$(CC)"; CXX='$(CXX)'; MAKE='$(MAKE)'; NM='$(NM)'; \
	SANITIZER_FLAGS='$(SANITIZER_FLAGS)'; TEST_WRAPPER='$(TEST_WRAPPER)'; \
	TEST_CFLAGS='$(CFLAGS)'; \
	CMOCKA_MESSAGE_OUTPUT=TAP; \
	TSAN_OPTIONS="second_deadlock_stack=1:$$TSAN_OPTIONS"; \
	UBSAN_OPTIONS="print_stacktrace=1:$$UBSAN_OPTIONS"; \
	export top_srcdir top_builddir CC CXX MAKE NM SANITIZER_FLAGS \
		TEST_WRAPPER TEST_CFLAGS CMOCKA_MESSAGE_OUTPUT TSAN_OPTIONS \
		UBSAN_OPTIONS;
tap_driver = env AM_TAP_AWK='$(AWK)' $(SHELL) \
	$(top_srcdir)/build-aux/tap-driver.sh
TEST_EXTENSIONS = .sh
LOG_DRIVER = $(tap_driver)
SH_LOG_DRIVER = $(tap_driver)
LOG_COMPILER = $(top_srcdir)/scripts/as-tap
SH_LOG_COMPILER = $(top_srcdir)/scripts/as-tap $(SHELL)

LDADD = libquire-core.la $(CMOCKA_LIBS)

# One per file of src/, which see the core from inside.
unit_tests = tests/arena tests/bits tests/buddy tests/conf tests/cpu_stack \
	tests/fault tests/give_back tests/holds tests/layout tests/lock \
	tests/memblock tests/memmap tests/mempool tests/names tests/node \
	tests/options tests/page_alloc tests/page_waiters tests/pcp \
	tests/platform tests/platform_memory tests/platform_process \
	tests/platform_rcu tests/policy tests/reclaim tests/reclaim_thread \
	tests/report tests/rseq tests/schedule tests/shortage tests/shrinker \
	tests/small tests/strain tests/topology tests/validate \
	tests/wait_queue tests/watermark tests/zone tests/zone_idle
# Of the whole, by what quire.h offers.
whole_tests = tests/api tests/exhaust tests/faults tests/fork tests/model \
	tests/no_malloc tests/nodes tests/pressure
# Of the library that is installed.
tests_no_malloc_LDADD = libquire.la $(CMOCKA_LIBS)

if HAVE_CMOCKA
check_PROGRAMS += $(unit_tests) $(whole_tests)
TESTS += $(unit_tests) $(whole_tests)
if HAVE_LIBARCHIVE
# Of the tools' own parts.
tools_tests = tests/fragmentation tests/replay tests/trace
check_PROGRAMS += $(tools_tests)
TESTS += $(tools_tests)
tests_fragmentation_LDADD = tools/libtools.la libquire-core.la $(CMOCKA_LIBS)
tests_replay_LDADD = tools/libtools.la libquire-core.la $(CMOCKA_LIBS)
tests_trace_LDADD = tools/libtools.la libquire-core.la $(CMOCKA_LIBS)
endif
endif
EXTRA_DIST += tests/settings.h tests/shrinkers.h tests/testing.h

script_tests = tests/ci.sh tests/floors.sh tests/format.sh tests/install.sh \
	tests/instructions.sh tests/mutate.sh tests/record.sh \
	tests/symbols.sh tests/tools.sh
TESTS += $(script_tests)
EXTRA_DIST += $(script_tests)

# The program whose instructions are counted, and the counts it is held to.
check_PROGRAMS += tests/instructions
# valgrind 3.19 gives up on what clang says for debuggers.
tests_instructions_LDADD = libquire-core.la
tests_instructions_LDFLAGS = $(AM_LDFLAGS) -Wl,--strip-debug
EXTRA_DIST += tests/instructions.tsv tests/instructions-raised.tsv

record-instructions: tests/instructions$(EXEEXT)
	@$(AM_TESTS_ENVIRONMENT) $(SHELL) $(srcdir)/tests/instructions.sh \
		--record

.PHONY: record-instructions
