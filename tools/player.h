/* SPDX-License-Identifier: BSD-2-Clause */
/* Does what a script says, and checks every page on the way. */
#ifndef TOOLS_PLAYER_H
#define TOOLS_PLAYER_H

#include "replay.h"
#include "script.h"
#include "shadow.h"
#include "slot.h"
#include "violation.h"

#include <quire/quire.h>

/* What the players of one replay share; constant while they play. */
struct stage {
	struct quire *q;
	uint64_t first_pfn, pages;
	enum replay_types types;
	bool touch; /* stamp pages, check the stamps */
	struct slot *slots;
	struct shadow *shadow;
	struct violations *violations;
};

/* One thread's own. */
struct player {
	const struct stage *stage;
	uint64_t failures[SCRIPT_NR_ORDERS];
	uint64_t skipped_frees;
};

void player_run(struct player *p, const script_op *ops, uint32_t n);

#endif
