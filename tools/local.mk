# Tools read traces through libarchive; without it there are none. All but their
# main files is one convenience library, which their tests link too.
if HAVE_LIBARCHIVE
noinst_LTLIBRARIES += tools/libtools.la
tools_libtools_la_SOURCES = \
	tools/first_fit.c tools/first_fit.h \
	tools/fragmentation.c tools/fragmentation.h \
	tools/fragmentation_plot.c \
	tools/fragmentation_report.c \
	tools/gnuplot.c tools/gnuplot.h \
	tools/json.c tools/json.h \
	tools/lifo_buddy.c tools/lifo_buddy.h \
	tools/live.c tools/live.h \
	tools/player.c tools/player.h \
	tools/plot.c tools/plot.h \
	tools/progress.c tools/progress.h \
	tools/reference.c tools/reference.h \
	tools/replay.c tools/replay.h \
	tools/replay_argp.c tools/replay_argp.h \
	tools/report.c tools/report.h \
	tools/report_json.c \
	tools/sample.c tools/sample.h \
	tools/script.c tools/script.h \
	tools/script_repeat.c tools/script_repeat.h \
	tools/shadow.c tools/shadow.h \
	tools/sink.c tools/sink.h \
	tools/slot.c tools/slot.h \
	tools/text.c tools/text.h \
	tools/trace.c tools/trace.h \
	tools/trace_line.c tools/trace_line.h \
	tools/tracefs.c tools/tracefs.h \
	tools/violation.c tools/violation.h
tools_libtools_la_CPPFLAGS = $(AM_CPPFLAGS) $(LIBARCHIVE_CFLAGS)
tools_libtools_la_LIBADD = $(LIBARCHIVE_LIBS)

bin_PROGRAMS += tools/quire-fragmentation tools/quire-record tools/quire-replay
tools_quire_fragmentation_LDADD = tools/libtools.la libquire.la
tools_quire_record_LDADD = tools/libtools.la libquire.la
tools_quire_replay_LDADD = tools/libtools.la libquire.la
endif
