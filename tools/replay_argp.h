/* SPDX-License-Identifier: BSD-2-Clause */
/* Command line options of all tools that replay. */
#ifndef TOOLS_REPLAY_ARGP_H
#define TOOLS_REPLAY_ARGP_H

#include "replay.h"

#include <argp.h>

/* A child parser: --way, --size, --samples; its input is a struct
 * replay_options. */
extern const struct argp replay_argp;

#endif
