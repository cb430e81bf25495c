dnl SPDX-License-Identifier: BSD-2-Clause

dnl QUIRE_NUMA
dnl --with-numa: memory nodes through libnuma. NUMA_CFLAGS defines HAVE_LIBNUMA,
dnl for the core's sources do not read config.h.
AC_DEFUN([QUIRE_NUMA], [
	AC_ARG_WITH([numa],
		[AS_HELP_STRING([--with-numa=WHEN],
			[memory nodes through libnuma: yes, no or auto])],
		[], [with_numa=auto])
	AS_CASE([$with_numa], [yes|no|auto], [],
		[AC_MSG_ERROR([--with-numa=$with_numa: not yes, no or auto])])
	NUMA_CFLAGS=
	NUMA_LIBS=
	AS_IF([test "$with_numa" != no],
		[AC_CHECK_HEADER([numa.h],
			[AC_CHECK_LIB([numa], [numa_available],
				[NUMA_LIBS=-lnuma])])])
	AS_IF([test -n "$NUMA_LIBS"], [
		NUMA_CFLAGS=-DHAVE_LIBNUMA=1
		quire_numa=`$PKG_CONFIG --modversion numa 2>/dev/null` ||
			quire_numa=found
	], [test "$with_numa" = yes],
		[AC_MSG_ERROR([libnuma cannot be had (Debian: libnuma-dev)])],
	[test "$with_numa" = no], [quire_numa="no: not asked for, one node"],
		[quire_numa="no: one node (Debian: libnuma-dev)"])
	AC_SUBST([NUMA_CFLAGS])
	AC_SUBST([NUMA_LIBS])
])
