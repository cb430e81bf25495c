/* SPDX-License-Identifier: BSD-2-Clause */
/*
 * Options: what a program asks an allocator to be.
 */
#ifndef QUIRE_OPTIONS_H
#define QUIRE_OPTIONS_H

#include "instance/conf.h"
#include "quire/quire.h"

/*
 * Copies the caller's options, of whatever size its header knew, applies
 * QUIRE_CONF and checks that what was asked makes sense together. EINVAL, with
 * a report, if not.
 */
int options_read(struct settings *settings, const struct quire_options *given);

#endif
