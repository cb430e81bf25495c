# Built here so that they always compile; installed as text to start from.
noinst_PROGRAMS += examples/hello examples/offsets
examples_hello_LDADD = libquire.la
examples_offsets_LDADD = libquire.la

examplesdir = $(docdir)/examples
dist_examples_DATA = examples/hello.c examples/offsets.c
EXTRA_DIST += examples/demo.trace.zst
