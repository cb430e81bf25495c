dnl SPDX-License-Identifier: BSD-2-Clause

dnl QUIRE_WAYS
dnl What the report says about ways to be a CPU. The choice itself is made in
dnl src/platform/ by the compiler's macros and at run time.
AC_DEFUN([QUIRE_WAYS], [
	AC_CHECK_HEADERS([linux/membarrier.h])
	AC_CHECK_DECL([__rseq_offset], [quire_rseq_glibc=yes],
		[quire_rseq_glibc=no], [#include <sys/rseq.h>])
	quire_ways="trylock bound"
	AS_CASE([$host_cpu:$quire_rseq_glibc:$ac_cv_header_linux_membarrier_h],
		[x86_64:yes:yes|aarch64:yes:yes], [quire_ways="rseq $quire_ways"])
])
