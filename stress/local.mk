# Links the library as its users do: by quire.h alone.
noinst_PROGRAMS += stress/quire-stress
stress_quire_stress_SOURCES = \
	stress/quire-stress.c \
	stress/blocks.c stress/blocks.h \
	stress/mode.h \
	stress/mode_churn.c \
	stress/mode_drain.c \
	stress/mode_exhaust.c \
	stress/mode_fork.c \
	stress/mode_migrate.c \
	stress/mode_pass.c \
	stress/mode_threads.c \
	stress/report.c stress/report.h \
	stress/ring.h \
	stress/rng.h \
	stress/run.c stress/run.h \
	stress/stamp.c stress/stamp.h \
	stress/violation.c stress/violation.h
stress_quire_stress_LDADD = libquire.la

# A short run of every mode in every way.
stress_tests = stress/stress.sh
TESTS += $(stress_tests)
EXTRA_DIST += $(stress_tests)
