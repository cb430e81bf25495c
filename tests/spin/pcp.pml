/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * A model, for spin, of the protocol of src/pcp/pcp.c in the rseq way.
 *
 * Two threads on two CPUs and as many pages as threads. Each thread allocates a
 * page, frees it, decays a set, again and again, or ends. At any step it may be
 * preempted, and go on later on either CPU while the other thread has run where
 * it was. Properties:
 *   no_page_twice     a page is with one caller, in one list or in the zone;
 *   none_lost         when the threads have ended all pages are somewhere;
 *   no_false_failure  a thread has one page at most, so there is one for each:
 *                     an allocation that has held all sets must get one;
 *   no deadlock       spin's invalid end states. Who waits for a lock does not
 *                     run again before it is free, so that a circle stands
 *                     still instead of being rescheduled for ever.
 *
 * Memory. The cells of mem[] are what both CPUs see. A CPU's stores go to its
 * buffer and reach memory in order, at any time; its loads look there first
 * (TSO, x86). Atomic instructions, a switch of threads and a membarrier empty
 * it. A buffer has DEPTH entries; a store to a full one waits for the oldest.
 * Loads are not reordered by the model: WORD_FIRST and OPEN_FIRST write down as
 * program what a weaker CPU could make of code without acquire or release.
 *
 * What stands for what:
 *   pop, push              rseq_pop, rseq_push (kind FAST) and the batches, one
 *                          step each: bound, word, slots, commit
 *   RESTARTED              an abort: the kernel's on a preemption (preempt), or
 *                          membarrier's (interrupt)
 *   fence                  platform_rseq_fence(); on all CPUs it is one
 *                          interrupt after the other
 *   alloc_slow, leave      set_share and pcp_set_leave. A share may be refused
 *                          freely: that covers LOCK_WANTED and RSEQ_SHARES
 *   gather, give_moved     pcp_refill_locked
 *   free_slow, trim_*      pcp_trim_locked
 *   alloc_last, ask        alloc_held in src/alloc/shortage.c, with the drain lock
 *   hold, drain, open      pcp_hold_all, set_drain, pcp_release_all; with
 *                          `decay` set_decay of one set
 *   mem[LOCK]              the polled lock; its release is a plain store
 *   zone_take, zone_give   zone_alloc, zone_free: one step, for the zone lock
 *                          is atomic instructions at both ends
 *
 * Left out: types, orders, renewal, bulk and QUIRE_NOLOCK calls, calls that
 * wait, the trylock and bound ways, several zones, owned blocks; the tally of
 * pops in the word; growth and shrinking of a list and pcp_set_start_locked
 * (sets are open from the start, capacity constant); whether a set is idle (a decay may drain any); failing
 * membarriers; the slots of a batch one by one; fairness: whether a waiter gets
 * its turn. A list takes CAPACITY blocks; a refill asks for one more.
 *
 * To run it: `make check-model`, or by hand
 *   spin -a pcp.pml && cc -DSAFETY -DCOLLAPSE -o pan pan.c
 *   ./pan -m6000000 -w25
 * A switch takes something out and must be found, for instance the shortest way
 * to a violation without the fence of a decay:
 *   spin -a -DNO_FENCE_DECAY -DSCRATCH= pcp.pml
 *   cc -DSAFETY -DCOLLAPSE -DBFS -o pan pan.c && ./pan
 *   spin -t -p -g -DNO_FENCE_DECAY -DSCRATCH= pcp.pml
 * The last replays pcp.pml.trail step by step, with the variables that change;
 * so does `./pan -r`. -DONLY=1 (twice), 2 (lost) or 3 (false failure) looks at
 * one property. Switches, and what each is: check-model.sh.
 */
#ifndef PAGES
#define PAGES 2
#endif
#ifndef CAPACITY
#define CAPACITY 1
#endif
#ifndef DEPTH
#define DEPTH 4
#endif

/* Not part of the state: of no meaning between steps. */
#ifndef SCRATCH
#define SCRATCH hidden
#endif

#define THREADS 2
#define CPUS 2
#define ALL ((1 << PAGES) - 1)
#define BATCH (CAPACITY + 1)
#define NONE 255
#define OFF CPUS

/* Memory that both CPUs see, by address. A store is (address, value). */
#define SET (4 + CAPACITY)
#define WORD(c) ((c) * SET)
#define LOW(c) ((c) * SET + 1)
#define HIGH(c) ((c) * SET + 2)
#define LOCK(c) ((c) * SET + 3)
#define SLOT(c, i) ((c) * SET + 4 + (i))
#define DRAIN (CPUS * SET)
#define CELLS (CPUS * SET + 1)
#define SHUT 7 /* above any count */
#define HELD 7
#define ENTRY(a, v) ((a) * 8 + (v))

byte mem[CELLS];
byte buf[CPUS * DEPTH]; /* oldest first */
byte used[CPUS];
byte zone = ALL; /* pages, one bit each; its lock is held for one step */

byte on[THREADS] = OFF; /* the CPU it runs on */
bool seq[THREADS];	/* is inside a sequence */
bool restart[THREADS];	/* and the kernel will restart it */
byte waits[THREADS];	/* 1 + the lock without which it does not run again */
byte ended;

/* What is checked; `held` is what callers have. */
byte held;
SCRATCH byte no_page_twice = 1, none_lost = 1, no_false_failure = 1;
#define TWICE 1
#define LOST 2
#define FALSE_FAILURE 3
#ifndef ONLY
#define CHECK(which, property, holds) property = (holds); assert(property)
#else
#define CHECK(which, property, holds) \
	property = (ONLY != which || (holds)); assert(property)
#endif

/* Used within one step only. */
SCRATCH byte i, j, x;

/* --- a CPU and its store buffer --- */

inline flush_one(cpu) {
	mem[buf[(cpu) * DEPTH] / 8] = buf[(cpu) * DEPTH] % 8;
	j = 1;
	do
	:: j < DEPTH -> buf[(cpu) * DEPTH + j - 1] = buf[(cpu) * DEPTH + j]; j++
	:: else -> break
	od;
	j = 0;
	buf[(cpu) * DEPTH + DEPTH - 1] = 0;
	used[cpu]--
}

inline flush(cpu) {
	do
	:: used[cpu] -> flush_one(cpu)
	:: else -> break
	od
}

inline store(a, v) {
	if
	:: used[on[t]] == DEPTH -> flush_one(on[t])
	:: else
	fi;
	buf[on[t] * DEPTH + used[on[t]]] = ENTRY(a, v);
	used[on[t]]++
}

inline load(a, value) {
	value = mem[a];
	j = 0;
	do
	:: j < used[on[t]] ->
		if
		:: buf[on[t] * DEPTH + j] / 8 == (a) ->
			value = buf[on[t] * DEPTH + j] % 8
		:: else
		fi;
		j++
	:: else -> break
	od;
	j = 0
}

/* A switch of threads is a full barrier. */
inline switch_out(who) {
	flush(on[who]);
	on[who] = OFF
}

inline interrupt(cpu) {
	i = 0;
	do
	:: i < THREADS ->
		if
		:: on[i] == (cpu) && seq[i] -> restart[i] = true
		:: else
		fi;
		i++
	:: else -> break
	od;
	i = 0
}

/* membarrier's rseq command on one CPU, platform_rseq_fence() */
inline fence(cpu) {
	flush(on[t]);
#ifndef FENCE_NO_BARRIER
	flush(cpu);
#endif
#ifndef FENCE_NO_RESTART
	interrupt(cpu);
#endif
}

/* --- the zone, under its lock --- */

inline zone_take(most, pages) {
	flush(on[t]);
	pages = 0;
	i = 0;
	x = 0;
	do
	:: i < PAGES && x < (most) ->
		if
		:: zone & (1 << i) -> pages = pages | (1 << i); x++
		:: else
		fi;
		i++
	:: else -> break
	od;
	CHECK(TWICE, no_page_twice, (held & pages) == 0);
	zone = zone & ~pages;
	i = 0;
	x = 0
}

inline zone_give(pages) {
	flush(on[t]);
	CHECK(TWICE, no_page_twice, ((held | zone) & (pages)) == 0);
	zone = zone | (pages)
}

inline hand_out(pages) {
	CHECK(TWICE, no_page_twice, (held & (pages)) == 0);
	held = held | (pages);
	mine = pages
}

/* The lowest of them. */
#define FIRST(pages) ((pages) & -(pages))

/* --- a thread --- */

/* One step: the thread runs, and is not to be restarted. */
#define RUNS (on[t] != OFF)
#define GOES_ON (on[t] != OFF && !restart[t])
#define RESTARTED (restart[t])

inline leave_sequence() {
	seq[t] = false;
	b = 0;
	w = 0
}

/* Where a sequence of this kind came from, and whether it takes all. */
#define FAST 0
#define REFILL 1
#define TRIM 2

proctype thread(byte t)
{
	byte mine;  /* the caller's page */
	byte moved; /* pages that a sequence moves */
	byte kept;  /* other pages in hand */
	byte c;	    /* the set in use */
	byte b, w;  /* a bound, a word */
	byte kind;
	byte last;  /* of the sets to be held; c is the first */
	bool decay;

again:
	atomic {
		RUNS;
		c = 0; kind = FAST; moved = 0; kept = 0; last = 0; decay = 0;
		if
		:: mine == 0 -> goto pop
		:: mine ->
			moved = mine;
			held = held & ~mine;
			mine = 0;
			goto push
#ifndef NO_DECAY
		:: mine == 0 -> decay = 1; goto hold
		:: mine == 0 -> c = 1; last = 1; decay = 1; goto hold
#endif
		:: mine == 0 ->
			switch_out(t);
			waits[t] = NONE;
			ended++;
			goto end
		fi
	}

	/* --- rseq_pop, rseq_pop_batch --- */
pop:
	atomic {
		RUNS;
		restart[t] = false;
		b = 0;
		w = 0;
		if
		:: kind == FAST -> c = on[t]
		:: kind != FAST && c == on[t]
		:: kind != FAST && c != on[t] ->
#ifdef NO_CPU_CHECK
			skip
#else
			goto pop_refused
#endif
		fi;
		seq[t] = true;
#ifdef WORD_FIRST
		d_step { load(WORD(c), w) }
#else
		d_step { load(LOW(c), b) }
#endif
	}
	if
	:: RESTARTED -> goto pop
	:: atomic {
		GOES_ON;
#ifdef WORD_FIRST
		d_step { load(LOW(c), b) }
#else
		d_step { load(WORD(c), w) }
#endif
		if
		:: w <= b -> goto pop_refused
		:: else -> b = 0
		fi
	   }
	fi;
	if
	:: RESTARTED -> moved = 0; goto pop
	:: d_step {
		GOES_ON;
		moved = 0;
		i = w;
		do
		:: i > (kind == TRIM -> 0 : w - 1) ->
			i--;
			load(SLOT(c, i), x);
			moved = moved | (1 << x)
		:: else -> break
		od;
		b = i;
		i = 0;
		x = 0
	   }
	fi;
	if
	:: RESTARTED -> moved = 0; goto pop
	:: atomic {
		GOES_ON;
		d_step {
			store(WORD(c), b);
			leave_sequence()
		}
		if
		:: kind == FAST -> d_step { hand_out(moved) }; goto again
		:: kind == REFILL -> d_step { kept = moved; moved = 0 };
			goto leave
		:: kind == TRIM -> goto trim_popped
		fi
	   }
	fi;

pop_refused:
	atomic {
		leave_sequence();
		moved = 0;
		if
		:: kind == FAST -> goto alloc_slow
		:: kind == REFILL -> goto gather
		:: kind == TRIM -> goto trim_empty
		fi
	}

	/* --- pcp_alloc_slow, refill --- */
alloc_slow:
	atomic {
		RUNS;
		flush(on[t]);
		c = on[t];
		if
		:: mem[LOCK(c)] != HELD ->
#ifndef NO_LOCK_REFILL
			mem[LOCK(c)] = mem[LOCK(c)] + 1;
#endif
			kind = REFILL;
			goto pop
		:: goto alloc_direct /* held, wanted, shared enough */
		fi
	}
gather:
	atomic {
		RUNS;
		d_step { zone_take(BATCH, moved) }
		if
		:: moved == 0 ->
#ifdef KEEP_SHARE
			kept = 0;
			goto alloc_last
#else
			goto leave
#endif
		:: else -> d_step { kept = FIRST(moved); moved = moved & ~kept }
			if
			:: moved -> goto push
			:: else -> goto leave
			fi
		fi
	}
	/* set_leave: what the caller gets is kept, or nothing is */
leave:
	atomic {
		RUNS;
		flush(on[t]);
		if
#ifdef NO_LOCK_REFILL
		:: kind == REFILL
#endif
#ifdef NO_LOCK_TRIM
		:: kind == TRIM
#endif
		:: else -> mem[LOCK(c)] = mem[LOCK(c)] - 1
		fi;
		if
		:: kind == TRIM -> goto again
		:: kind == REFILL && kept -> d_step { hand_out(kept) };
			goto again
		:: else -> goto alloc_last
		fi
	}
alloc_direct:
	atomic {
		RUNS;
		d_step { zone_take(1, moved) }
		if
		:: moved -> d_step { hand_out(moved) }; goto again
		:: else -> goto alloc_last
		fi
	}

	/* --- rseq_push, rseq_push_batch --- */
push:
	atomic {
		RUNS;
		restart[t] = false;
		b = 0;
		w = 0;
		if
		:: kind == FAST -> c = on[t]
		:: kind != FAST && c == on[t]
		:: kind != FAST && c != on[t] ->
#ifdef NO_CPU_CHECK
			skip
#else
			goto push_refused
#endif
		fi;
		seq[t] = true;
#ifdef WORD_FIRST
		d_step { load(WORD(c), w) }
#else
		d_step { load(HIGH(c), b) }
#endif
	}
	if
	:: RESTARTED -> goto push
	:: atomic {
		GOES_ON;
		d_step {
#ifdef WORD_FIRST
			load(HIGH(c), b);
#else
			load(WORD(c), w);
#endif
			x = 0;
			i = 0;
			do
			:: i < PAGES -> x = x + ((moved >> i) & 1); i++
			:: else -> break
			od;
			i = 0;
			b = (w + x > b -> NONE : w + x);
			x = 0
		}
		if
		:: b == NONE -> goto push_refused
		:: else
		fi
	   }
	fi;
	if
	:: RESTARTED -> goto push
	:: d_step {
		GOES_ON;
		x = w;
		i = 0;
		do
		:: i < PAGES ->
			if
			:: moved & (1 << i) -> store(SLOT(c, x), i); x++
			:: else
			fi;
			i++
		:: else -> break
		od;
		i = 0;
		x = 0
	   }
	fi;
	if
	:: RESTARTED -> goto push
	:: atomic {
		GOES_ON;
		d_step {
			store(WORD(c), b);
			leave_sequence();
			moved = 0
		}
		if
		:: kind == FAST -> goto again
		:: kind == REFILL -> goto leave
		:: kind == TRIM && kept -> goto trim_give
		:: kind == TRIM && !kept -> goto leave
		fi
	   }
	fi;

push_refused:
	atomic {
		leave_sequence();
		if
		:: kind == FAST -> goto free_slow
		:: kind == REFILL -> goto give_moved
		:: kind == TRIM && !kept -> kept = moved; moved = 0; goto pop
		:: kind == TRIM && kept ->
			moved = moved | kept;
			kept = 0;
			goto give_moved
		fi
	}

	/* refused: what was meant for the list goes to the zone */
give_moved:
	atomic {
		RUNS;
#ifndef FORGET_REFUSED
		d_step { zone_give(moved); moved = 0 }
#else
		moved = 0;
#endif
		goto leave
	}

	/* --- pcp_free_slow, trim --- */
free_slow:
	atomic {
		RUNS;
		flush(on[t]);
		c = on[t];
		if
		:: mem[LOCK(c)] != HELD ->
#ifndef NO_LOCK_TRIM
			mem[LOCK(c)] = mem[LOCK(c)] + 1;
#endif
			kind = TRIM;
			goto push
		:: d_step { zone_give(moved) }; goto again
		fi
	}
	/* The whole list is in moved, the page to be freed is kept. */
trim_popped:
	atomic {
		d_step {
			x = kept;
			kept = moved;
			moved = x;
			x = 0
		}
		goto push
	}
trim_empty:
	atomic {
		moved = kept;
		kept = 0;
		goto give_moved
	}
trim_give:
	atomic {
		RUNS;
		d_step { zone_give(kept); kept = 0 }
		goto leave
	}

	/* --- alloc_last, alloc_held --- */
alloc_last:
	atomic {
		RUNS;
		kind = FAST;
		moved = 0;
#ifndef LOCK_ORDER
		if
		:: mem[DRAIN] -> switch_out(t); waits[t] = 1 + DRAIN;
			goto alloc_last
		:: else -> flush(on[t]); mem[DRAIN] = HELD
		fi;
#endif
		c = 0;
		last = CPUS - 1
	}

	/* --- pcp_hold_all, set_decay: the sets from c to last --- */
hold:
	atomic {
		RUNS;
		flush(on[t]);
#ifdef LOCK_ORDER
		b = (t && !decay -> CPUS - 1 - c : c);
#else
		b = c;
#endif
		if
		:: mem[LOCK(b)] == 0 -> mem[LOCK(b)] = HELD
		:: mem[LOCK(b)] && decay -> goto again
		:: mem[LOCK(b)] && !decay -> switch_out(t);
			waits[t] = 1 + LOCK(b);
			b = 0;
			goto hold
		fi;
	}
#ifndef HIGH_STAYS
	d_step { RUNS; store(HIGH(b), 0) }
#endif
	d_step {
		RUNS;
#ifndef LOW_STAYS
		store(LOW(b), SHUT);
#endif
		b = 0
	}
	if
#ifndef ONE_BY_ONE
	:: c < last -> c++; goto hold
#endif
	:: else
	fi;
	/* One CPU after the other, as the interrupts arrive. */
	d_step {
		RUNS;
#ifndef ONE_BY_ONE
		c = (decay -> last : 0);
#endif
		if
#ifdef NO_FENCE_DECAY
		:: decay
#endif
#ifdef NO_FENCE_ALL
		:: !decay
#endif
		:: else ->
			x = (decay -> c : 0);
			fence(x)
		fi;
		x = 0
	}
	if
#ifndef NO_FENCE_ALL
	:: !decay -> d_step { RUNS; fence(1); x = 0 }
#endif
	:: else
	fi;

drain:
	/* --- set_drain --- */
	atomic { RUNS; d_step { load(WORD(c), w) } }
	if
	:: w == 0 -> goto drained
	:: else
	fi;
	d_step {
		RUNS;
		i = 0;
		do
		:: i < w ->
			load(SLOT(c, i), x);
			moved = moved | (1 << x);
			i++
		:: else -> break
		od;
		i = 0;
		x = 0;
		w = 0
	}
	d_step { RUNS; zone_give(moved); moved = 0; }
#ifdef OPEN_FIRST
	d_step { RUNS; store(LOW(c), 0) }
	d_step { RUNS; store(HIGH(c), CAPACITY) }
#endif
	d_step { RUNS; store(WORD(c), 0) }
drained:
#ifdef ONE_BY_ONE
	if
	:: c < last ->
		d_step { RUNS; store(LOW(c), 0) }
		d_step { RUNS; store(HIGH(c), CAPACITY) }
		d_step { RUNS; store(LOCK(c), 0); c++ }
		goto hold
	:: else
	fi;
	if
	:: decay -> goto open
	:: else
	fi;
#else
	if
	:: c < last -> c++; goto drain
	:: else
	fi;
	if
	:: decay -> goto open
	:: else -> c = 0
	fi;
#endif
#ifdef NO_ASK
	d_step { RUNS; CHECK(FALSE_FAILURE, no_false_failure, false) }
#elif !defined(ASK_AFTER)
	/* The zone once more, and all sets are held. */
	d_step {
		RUNS;
		zone_take(1, kept);
		CHECK(FALSE_FAILURE, no_false_failure, kept != 0)
	}
#endif

	/* --- pcp_release_all, pcp_set_open_stacks_locked --- */
open:
	atomic { RUNS; d_step { store(LOW(c), 0) } }
	d_step { RUNS; store(HIGH(c), CAPACITY) }
	d_step { RUNS; store(LOCK(c), 0) }
	if
	:: c < last -> c++; goto open
	:: else
	fi;
	atomic {
		RUNS;
		if
		:: decay -> goto again
		:: else
		fi;
		flush(on[t]);
		mem[DRAIN] = 0;
#ifdef ASK_AFTER
		d_step {
			zone_take(1, kept);
			CHECK(FALSE_FAILURE, no_false_failure, kept != 0)
		}
#endif
		if
		:: kept -> d_step { hand_out(kept) }
		:: else
		fi;
		goto again
	}
end:
	skip
}

/* --- the kernel, and time --- */

inline preempt(who) {
	on[who] != OFF;
#ifndef NO_RESTART
	if
	:: seq[who] -> restart[who] = true
	:: else
	fi;
#endif
	switch_out(who)
}

inline dispatch(who, cpu) {
	on[who] == OFF && on[1 - who] != cpu && waits[who] != NONE &&
		(waits[who] == 0 || mem[waits[who] - 1] == 0);
	waits[who] = 0;
	on[who] = cpu
}

init
{
	d_step {
		mem[HIGH(0)] = CAPACITY;
		mem[HIGH(1)] = CAPACITY
	}
	atomic {
		run thread(0);
		run thread(1)
	}
end:	do
	:: d_step { used[0] -> flush_one(0) }
	:: d_step { used[1] -> flush_one(1) }
	:: d_step { preempt(0) }
	:: d_step { preempt(1) }
	:: d_step { dispatch(0, 0) }
	:: d_step { dispatch(0, 1) }
	:: d_step { dispatch(1, 0) }
	:: d_step { dispatch(1, 1) }
	:: d_step {
		ended == THREADS;
		x = zone;
		i = 0;
		do
		:: i < CPUS ->
			j = 0;
			do
			:: j < mem[WORD(i)] ->
				CHECK(TWICE, no_page_twice,
				      !(x & (1 << mem[SLOT(i, j)])));
				x = x | (1 << mem[SLOT(i, j)]);
				j++
			:: else -> break
			od;
			i++
		:: else -> break
		od;
		CHECK(LOST, none_lost, x == ALL);
		x = 0;
		i = 0;
		j = 0
	   }
	   break
	od
}
