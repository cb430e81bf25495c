/* SPDX-License-Identifier: BSD-2-Clause */
/* What quire-stress prints. */
#ifndef STRESS_REPORT_H
#define STRESS_REPORT_H

#include <stdio.h>

#include "run.h"

void report_head(FILE *out);
void report_row(FILE *out, const struct run_result *result);
void report_not_here(FILE *out, const struct mode *mode, enum quire_way way);
void report_json(FILE *out, const struct run_options *options,
		 const struct run_result *results, size_t n);

/* The live line, on the standard error; nothing unless that is a terminal. */
void report_live(const struct run *run);
void report_live_clear(void);

#endif
