# Tools read traces through libarchive; without it there are none. All but their
# main files is one convenience library, which their tests link too.
if HAVE_LIBARCHIVE
noinst_LTLIBRARIES += tools/libtools.la
tools_libtools_la_SOURCES = \
	tools/live.c tools/live.h \
	tools/player.c tools/player.h \
	tools/plot.c tools/plot.h \
	tools/progress.c tools/progress.h \
	tools/replay.c tools/replay.h \
	tools/report.c tools/report.h \
	tools/report_json.c \
	tools/sample.c tools/sample.h \
	tools/script.c tools/script.h \
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

bin_PROGRAMS += tools/quire-record tools/quire-replay
tools_quire_record_LDADD = tools/libtools.la libquire.la
tools_quire_replay_LDADD = tools/libtools.la libquire.la
endif
