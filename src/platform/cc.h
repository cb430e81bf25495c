/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * What we ask of the compiler, by name.
 */
#ifndef QUIRE_CC_H
#define QUIRE_CC_H

#define likely(x) __builtin_expect(!!(x), 1)
#define unlikely(x) __builtin_expect(!!(x), 0)
#define always_inline inline __attribute__((__always_inline__))
#define noinline __attribute__((__noinline__))
/* Slow paths: out of line, away from the hot text. */
#define cold __attribute__((__cold__, __noinline__))
/* Runs when the library is loaded, before anybody can call it. */
#define at_load __attribute__((__constructor__))
/* The builtin leaves the line shared unless the CPU was promised to have this
 * instruction; those that have not take it for none. */
#if defined(__x86_64__)
#define prefetch_to_write(p)                                                   \
	__asm__ volatile("prefetchw %0" : : "m"(*(const char *)(p)))
#else
#define prefetch_to_write(p) __builtin_prefetch((p), 1)
#endif
/* Found without a call, so in a signal handler too. */
#define thread_local_in_handlers                                               \
	_Thread_local __attribute__((tls_model("initial-exec")))
#define cacheline_aligned __attribute__((aligned(64)))
#define printf_like(fmt, args) __attribute__((format(printf, fmt, args)))

/* Whether counting bits is an instruction or two, not a function call. */
#if defined(__POPCNT__) || defined(__aarch64__)
#define CC_HAS_POPCOUNT 1
#else
#define CC_HAS_POPCOUNT 0
#endif

#if defined(__SANITIZE_THREAD__)
#define QUIRE_TSAN 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer)
#define QUIRE_TSAN 1
#endif
#endif
#ifndef QUIRE_TSAN
#define QUIRE_TSAN 0
#endif

/*
 * ThreadSanitizer does not see stores and loads made in assembly: these name
 * the edge that the assembly makes.
 */
#if QUIRE_TSAN
void __tsan_acquire(void *addr);
void __tsan_release(void *addr);
#define tsan_acquire(addr) __tsan_acquire(addr)
#define tsan_release(addr) __tsan_release(addr)
#else
#define tsan_acquire(addr) ((void)(addr))
#define tsan_release(addr) ((void)(addr))
#endif

#endif
