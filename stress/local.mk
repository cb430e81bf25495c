# Links the library as its users do: by its headers alone.
noinst_PROGRAMS += stress/quire-stress
stress_quire_stress_SOURCES = \
	stress/quire-stress.c \
	stress/blocks.c stress/blocks.h \
	stress/mode.h \
	stress/mode_churn.c \
	stress/mode_create.c \
	stress/mode_drain.c \
	stress/mode_exact.c \
	stress/mode_exhaust.c \
	stress/mode_faults.c \
	stress/mode_fork.c \
	stress/mode_giveback.c \
	stress/mode_migrate.c \
	stress/mode_misuse.c \
	stress/mode_nodes.c \
	stress/mode_pass.c \
	stress/mode_pressure.c \
	stress/mode_signals.c \
	stress/mode_threads.c \
	stress/mode_wait.c \
	stress/report.c stress/report.h \
	stress/ring.h \
	stress/rng.h \
	stress/run.c stress/run.h \
	stress/stamp.c stress/stamp.h \
	stress/violation.c stress/violation.h
stress_quire_stress_LDADD = libquire.la

# A short run of every mode in every way.
stress_tests = stress/stress.sh stress/valgrind.sh
TESTS += $(stress_tests)
EXTRA_DIST += $(stress_tests) stress/soak.sh

# Ten minutes: every mode in every way, then with more CPUs than there are.
stress: stress/quire-stress$(EXEEXT)
	$(TEST_WRAPPER) stress/quire-stress --time 10
	$(TEST_WRAPPER) stress/quire-stress --time 5 --way bound --threads 64 \
		--cpus 64

# make soak HOURS=8
soak: stress/quire-stress$(EXEEXT)
	@top_builddir=. $(SHELL) $(srcdir)/stress/soak.sh '$(HOURS)'

# Planted bugs, each of which must be found: some minutes.
EXTRA_DIST += stress/mutants.sh stress/mutants
check-mutants:
	@$(AM_TESTS_ENVIRONMENT) CORE_CFLAGS='$(NUMA_CFLAGS) $(URCU_CFLAGS)' \
		CORE_LIBS='$(NUMA_LIBS) $(URCU_LIBS)' \
		$(SHELL) $(srcdir)/stress/mutants.sh $(MUTANTS)

.PHONY: stress soak check-mutants
