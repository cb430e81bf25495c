/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Memory policies (Linux: mm/mempolicy.c), each a node to start at and a mask
 * of nodes that may serve:
 *
 *	LOCAL		the CPU's node			all
 *	BIND		of `nodes` the nearest		`nodes`
 *	PREFERRED	of `nodes` the nearest		all
 *	INTERLEAVE	of `nodes` the next in turn	all
 *	WEIGHTED	the same, weight[n] times	all
 *
 * The nearest is the one that comes first in the zonelist of the CPU's node,
 * this node itself if it is named. From where it starts, a call goes on in the
 * order of that node's zonelist; so a node without memory may be named too.
 *
 * Turns. A policy's only state is a count of its calls. Of a turn, which is n
 * calls with INTERLEAVE and the sum of the weights with WEIGHTED, the count
 * modulo its length is the place; each node has a run of places as long as its
 * weight, from the lowest node up. So in any whole turn each node is chosen
 * exactly weight times, whichever threads make the calls: every value of the
 * count is had by one call. After 2^32 calls the count is 0 again. If the
 * length of a turn does not divide 2^32, the turn that was under way is cut
 * short then, and a new one begins: once in 2^32 calls some nodes are chosen
 * once less than the others.
 *
 * Locking: none. Everything but `turn` is constant while calls use a policy;
 * `turn` is an atomic that orders nothing else, so it is relaxed.
 */
#include "instance/policy.h"

#include "base/bits.h"

int policy_check(const struct quire_policy *policy, const struct nodes *ns,
		 enum quire_zone highest, const struct reporter *to)
{
	unsigned mode = (unsigned)policy->mode, nodes = policy->nodes;
	uint32_t memory = nodes_with_memory(ns, highest);

	if (mode > QUIRE_POLICY_WEIGHTED)
		return report_invalid(to, "policy mode %u: not 0 to %d", mode,
				      QUIRE_POLICY_WEIGHTED);
	if (mode == QUIRE_POLICY_LOCAL && nodes)
		return report_invalid(
			to, "policy mode %u, local: nodes 0x%x, not 0", mode,
			nodes);
	if (mode == QUIRE_POLICY_LOCAL)
		return 0;
	if (!nodes)
		return report_invalid(
			to, "policy mode %u: policy names no node", mode);
	if (nodes >> ns->nr)
		return report_invalid(
			to, "policy mode %u: nodes 0x%x name node %u of %u",
			mode, nodes, bits_highest(nodes), ns->nr);
	if (mode == QUIRE_POLICY_BIND && !(nodes & memory))
		return report_invalid(
			to,
			"policy mode %u, bind: nodes 0x%x have no memory in "
			"zone %d or below, only nodes 0x%x have",
			mode, nodes, (int)highest, memory);
	return 0;
}

/* Places in a turn. */
static unsigned places(const struct quire_policy *policy, unsigned node)
{
	if (policy->mode != QUIRE_POLICY_WEIGHTED || !policy->weight[node])
		return 1;
	return policy->weight[node];
}

static unsigned turn_next(struct quire_policy *policy)
{
	uint32_t place = __atomic_fetch_add(&policy->turn, 1, __ATOMIC_RELAXED);
	uint32_t length = 0, left = policy->nodes;

	for (uint32_t rest = left; rest; rest &= rest - 1)
		length += places(policy, bits_lowest(rest));
	place %= length;
	while (place >= places(policy, bits_lowest(left))) {
		place -= places(policy, bits_lowest(left));
		left &= left - 1;
	}
	return bits_lowest(left);
}

struct choice policy_choose_slow(struct quire_policy *policy,
				 const struct nodes *ns, unsigned local)
{
	uint32_t nodes = policy->nodes;

	assert_debug(nodes && !(nodes >> ns->nr) && local < ns->nr,
		     "policy mode %u, nodes 0x%x of %u, from node %u",
		     (unsigned)policy->mode, nodes, ns->nr, local);
	switch (policy->mode) {
	case QUIRE_POLICY_BIND:
		return (struct choice){ nodes_nearest(ns, local, nodes),
					nodes };
	case QUIRE_POLICY_PREFERRED:
		return (struct choice){ nodes_nearest(ns, local, nodes),
					NODES_ALL };
	default:
		return (struct choice){ turn_next(policy), NODES_ALL };
	}
}
