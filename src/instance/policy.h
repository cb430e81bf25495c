/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Policies: which node a call starts at, and which it may use.
 */
#ifndef QUIRE_POLICY_H
#define QUIRE_POLICY_H

#include <stdint.h>

#include "base/report.h"
#include "platform/cc.h"
#include "quire/quire.h"
#include "zone/node.h"

/* What zone_walk_first() wants. */
struct choice {
	unsigned node;	/* where the walk starts */
	uint32_t nodes; /* those it may visit */
};

/*
 * 0; or -1 with EINVAL and a report, for calls whose highest zone is `highest`.
 * The lists were built.
 */
int policy_check(const struct quire_policy *policy, const struct nodes *ns,
		 enum quire_zone highest, const struct reporter *to);

struct choice policy_choose_slow(struct quire_policy *policy,
				 const struct nodes *ns, unsigned local);

/* For a policy that was checked, and a call on a CPU of node `local`. */
static inline struct choice policy_choose(struct quire_policy *policy,
					  const struct nodes *ns,
					  unsigned local)
{
	if (likely(policy->mode == QUIRE_POLICY_LOCAL))
		return (struct choice){ local, NODES_ALL };
	return policy_choose_slow(policy, ns, local);
}

#endif
