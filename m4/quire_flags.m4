dnl SPDX-License-Identifier: BSD-2-Clause

dnl QUIRE_TRY_FLAG(VARIABLE, FLAG, [LDFLAGS])
dnl Appends FLAG to VARIABLE if the compiler (third argument: the linker) takes
dnl it without a word.
AC_DEFUN([QUIRE_TRY_FLAG], [
	AS_VAR_PUSHDEF([cache], [quire_cv_$1_$2])
	AC_CACHE_CHECK([whether $CC takes $2], [cache], [
		quire_save_CFLAGS=$CFLAGS
		quire_save_LDFLAGS=$LDFLAGS
		m4_if([$3], [LDFLAGS], [LDFLAGS="$LDFLAGS $2"],
		      [CFLAGS="$CFLAGS -Werror $2"])
		AC_LINK_IFELSE([AC_LANG_PROGRAM()],
			[AS_VAR_SET([cache], [yes])],
			[AS_VAR_SET([cache], [no])])
		CFLAGS=$quire_save_CFLAGS
		LDFLAGS=$quire_save_LDFLAGS
	])
	AS_VAR_IF([cache], [yes], [AS_VAR_APPEND([$1], [" $2"])])
	AS_VAR_POPDEF([cache])
])

dnl QUIRE_WARNINGS
dnl Sets WARN_CFLAGS; --enable-werror makes warnings errors.
AC_DEFUN([QUIRE_WARNINGS], [
	AC_ARG_ENABLE([werror],
		[AS_HELP_STRING([--enable-werror],
			[stop at the first compiler warning])],
		[], [enable_werror=no])
	WARN_CFLAGS=
	m4_foreach_w([flag], [-Wall -Wextra -Wundef -Wconversion -Wshadow],
		[QUIRE_TRY_FLAG([WARN_CFLAGS], flag)])
	AS_IF([test "x$enable_werror" = xyes],
		[AS_VAR_APPEND([WARN_CFLAGS], [" -Werror"])])
	AC_SUBST([WARN_CFLAGS])
])

dnl QUIRE_DEBUG
dnl --enable-debug: assertions, lock ranks, conservation checks, and schedule
dnl points, which --enable-schedule-points gives alone. Definitions on the command
dnl line, for the core's sources do not read config.h.
AC_DEFUN([QUIRE_DEBUG], [
	AC_ARG_ENABLE([debug],
		[AS_HELP_STRING([--enable-debug],
			[assertions, lock ranks, conservation checks])],
		[], [enable_debug=no])
	DEBUG_CPPFLAGS=
	AS_IF([test "x$enable_debug" = xyes],
		[DEBUG_CPPFLAGS=-DQUIRE_DEBUG=1])
	AC_ARG_ENABLE([schedule-points],
		[AS_HELP_STRING([--enable-schedule-points],
			[pauses between steps, when a test asks for them])],
		[], [enable_schedule_points=no])
	AS_IF([test "x$enable_schedule_points" = xyes],
		[AS_VAR_APPEND([DEBUG_CPPFLAGS],
			[" -DQUIRE_SCHEDULE_POINTS=1"])])
	AC_SUBST([DEBUG_CPPFLAGS])
])

dnl QUIRE_SANITIZER
dnl Must come before LT_INIT: an instrumented static library helps nobody.
AC_DEFUN([QUIRE_SANITIZER], [
	AC_ARG_WITH([sanitizer],
		[AS_HELP_STRING([--with-sanitizer=KIND],
			[thread, address, undefined or address,undefined])],
		[], [with_sanitizer=no])
	SANITIZER_FLAGS=
	TEST_WRAPPER=
	AS_CASE([$with_sanitizer],
		[no], [],
		[thread|address|undefined|address,undefined|undefined,address], [
			SANITIZER_FLAGS="-fsanitize=$with_sanitizer -fno-omit-frame-pointer -g"
			AS_CASE([$with_sanitizer], [*undefined*],
				[AS_VAR_APPEND([SANITIZER_FLAGS],
					[" -fno-sanitize-recover=undefined"])])
			enable_static=no
			quire_save_CFLAGS=$CFLAGS
			CFLAGS="$CFLAGS $SANITIZER_FLAGS"
			AC_MSG_CHECKING([whether $CC links with -fsanitize=$with_sanitizer])
			AC_LINK_IFELSE([AC_LANG_PROGRAM()], [AC_MSG_RESULT([yes])],
				[AC_MSG_RESULT([no])
				 AC_MSG_ERROR([$CC cannot link with $SANITIZER_FLAGS])])
			CFLAGS=$quire_save_CFLAGS
		],
		[AC_MSG_ERROR([--with-sanitizer=$with_sanitizer: not thread, address, undefined or address,undefined])])
	# ThreadSanitizer's map of memory does not fit kernels that place
	# mappings with 32 random bits: its tests run without randomisation.
	AS_CASE([$with_sanitizer], [thread],
		[AS_IF([setarch `uname -m` -R true 2>/dev/null],
			[TEST_WRAPPER="setarch `uname -m` -R"])])
	AC_SUBST([SANITIZER_FLAGS])
	AC_SUBST([TEST_WRAPPER])
])
