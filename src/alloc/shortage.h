/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Short of pages: what a call does that found none.
 */
#ifndef QUIRE_SHORTAGE_H
#define QUIRE_SHORTAGE_H

#include "alloc/want.h"

/*
 * For a call whose zones have no block above min: does what its flags allow to
 * get one. wait_ms is for QUIRE_WAIT; 0: options.wait_ms. False, with errno,
 * counted as a failure.
 */
cold bool shortage_alloc(struct quire *q, struct want *want, unsigned wait_ms,
			 pfn_t *pfn);

#endif
