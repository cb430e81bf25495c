/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Does what a script says, and checks every page on the way.
 *
 * A block from the allocator must lie in the arena, aligned to its size, and
 * every page of it is claimed in the shadow map before its slot is filled; a
 * page is released there before it is freed. So a page given twice is found by
 * the second claim, whoever has it. A block that fails a check is not used and
 * not freed: the damage stays where it was found.
 *
 * With touch, each page also carries its slot's number while it is live, at
 * both ends: that finds overlaps the allocator's own arithmetic would hide
 * from a map kept by page number, such as two descriptors of one address.
 */
#ifdef HAVE_CONFIG_H
#include "config.h"
#endif

#include "player.h"

#include <errno.h>
#include <string.h>

#define WORDS (QUIRE_PAGE_SIZE / sizeof(uint64_t))

static uint64_t stamp(uint32_t slot, uint64_t offset)
{
	return ((uint64_t)slot + 1) << 32 | offset;
}

static void touch_alloc(struct player *p, struct quire_page *page, script_op op)
{
	uint64_t *words = quire_page_to_virt(p->stage->q, page);
	uint64_t i, n = 1ull << script_op_order(op);
	uint32_t slot = script_op_slot(op);

	for (i = 0; i < n; i++, words += WORDS) {
		uint64_t sum = 0;
		unsigned w;

		for (w = 0; op & SCRIPT_ZERO && w < WORDS; w++)
			sum |= words[w];
		if (sum)
			violation_report(p->stage->violations,
					 "allocation %u: page %llu of it was "
					 "asked zero and is not",
					 slot, (unsigned long long)i);
		words[0] = words[WORDS - 1] = stamp(slot, i);
	}
}

static void touch_free(struct player *p, struct quire_page *page, script_op op)
{
	const uint64_t *words = quire_page_to_virt(p->stage->q, page);
	uint64_t i, offset = script_op_offset(op);
	uint32_t slot = script_op_slot(op);

	for (i = 0; i < 1ull << script_op_order(op); i++, words += WORDS)
		if (words[0] != stamp(slot, offset + i) ||
		    words[WORDS - 1] != stamp(slot, offset + i))
			violation_report(
				p->stage->violations,
				"allocation %u: page %llu of it was written "
				"by another: 0x%llx and 0x%llx for 0x%llx",
				slot, (unsigned long long)(offset + i),
				(unsigned long long)words[0],
				(unsigned long long)words[WORDS - 1],
				(unsigned long long)stamp(slot, offset + i));
}

/* Checks a block and takes it; false if it must not be used. */
static bool claim(struct player *p, uint64_t pfn, script_op op)
{
	const struct stage *s = p->stage;
	uint64_t n = 1ull << script_op_order(op), index, page;
	uint32_t slot = script_op_slot(op), other;

	index = pfn - s->first_pfn;
	if (pfn % n != 0 || pfn < s->first_pfn || n > s->pages ||
	    index > s->pages - n) {
		violation_report(s->violations,
				 "allocation %u of order %u got pfn 0x%llx: "
				 "arena 0x%llx..0x%llx, aligned to %llu",
				 slot, script_op_order(op),
				 (unsigned long long)pfn,
				 (unsigned long long)s->first_pfn,
				 (unsigned long long)(s->first_pfn + s->pages),
				 (unsigned long long)n);
		return false;
	}
	if (!shadow_claim(s->shadow, index, n, slot, &page, &other)) {
		violation_report(
			s->violations,
			"allocation %u of order %u got pfn 0x%llx, "
			"but pfn 0x%llx is held by allocation %u",
			slot, script_op_order(op), (unsigned long long)pfn,
			(unsigned long long)(s->first_pfn + page), other);
		return false;
	}
	return true;
}

/*
 * What the kernel calls movable is page cache, that can be given up, and
 * memory of processes, that comes zeroed.
 */
static unsigned flags_of_type(const struct stage *s, script_op op)
{
	unsigned type = script_op_type(op);

	if (s->types == REPLAY_TYPES_NONE)
		return 0;
	if (s->types == REPLAY_TYPES_USE && type == QUIRE_TYPE_MOVABLE &&
	    !(op & SCRIPT_ZERO))
		type = QUIRE_TYPE_RECLAIMABLE;
	return type == QUIRE_TYPE_MOVABLE	? QUIRE_MOVABLE
	       : type == QUIRE_TYPE_RECLAIMABLE ? QUIRE_RECLAIMABLE
						: 0;
}

static void play_alloc(struct player *p, script_op op, bool exact)
{
	const struct stage *s = p->stage;
	unsigned order = script_op_order(op);
	unsigned flags = flags_of_type(s, op);
	struct slot *slot = &s->slots[script_op_slot(op)];
	struct quire_page *page;
	uint64_t pfn;

	if (s->touch && op & SCRIPT_ZERO)
		flags |= QUIRE_ZERO;
	page = exact ? quire_alloc_exact(s->q, (size_t)1 << order, flags)
		     : quire_alloc_pages(s->q, order, flags);
	if (!page) {
		p->failures[order]++;
		if (errno != ENOMEM)
			violation_report(
				s->violations, "allocation %u of order %u: %s",
				script_op_slot(op), order, strerror(errno));
		slot_put(slot, SLOT_NONE);
		return;
	}
	pfn = quire_page_to_pfn(s->q, page);
	if (!claim(p, pfn, op)) {
		slot_put(slot, SLOT_NONE);
		return;
	}
	if (s->touch)
		touch_alloc(p, page, op);
	slot_put(slot, (uint32_t)(pfn - s->first_pfn));
}

static void play_free(struct player *p, script_op op, bool part)
{
	const struct stage *s = p->stage;
	unsigned order = script_op_order(op);
	uint32_t slot = script_op_slot(op), other;
	uint32_t index = slot_wait(&s->slots[slot]);
	uint64_t first, page;
	struct quire_page *block;

	if (index == SLOT_NONE) {
		p->skipped_frees++;
		return;
	}
	first = index + script_op_offset(op);
	block = quire_pfn_to_page(s->q, s->first_pfn + first);
	if (s->touch)
		touch_free(p, block, op);
	if (!shadow_release(s->shadow, first, 1ull << order, slot, &page,
			    &other)) {
		violation_report(s->violations,
				 "free of allocation %u: its pfn 0x%llx is "
				 "held by %d",
				 slot,
				 (unsigned long long)(s->first_pfn + page),
				 (int)other);
		return;
	}
	if (part ? quire_free_exact(s->q, block, (size_t)1 << order)
		 : quire_free_pages(s->q, block, order))
		violation_report(s->violations,
				 "free of allocation %u, pfn 0x%llx, order %u "
				 "was refused: %s",
				 slot,
				 (unsigned long long)(s->first_pfn + first),
				 order, strerror(errno));
}

void player_run(struct player *p, const script_op *ops, uint32_t n)
{
	uint32_t i;

	for (i = 0; i < n; i++) {
		switch (script_op_kind(ops[i])) {
		case SCRIPT_ALLOC:
			play_alloc(p, ops[i], false);
			break;
		case SCRIPT_ALLOC_EXACT:
			play_alloc(p, ops[i], true);
			break;
		case SCRIPT_FREE:
			play_free(p, ops[i], false);
			break;
		case SCRIPT_FREE_PART:
			play_free(p, ops[i], true);
			break;
		}
	}
}
