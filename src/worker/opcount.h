/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A source decorator that counts what is really asked of the source, by lane and operation:
 * the evidence that a cold `ls` costs one listing.  It sits right above the back end, below
 * retry, so that a request tried twice counts twice.
 *
 * Threads: counters may be read at any time until the source is closed.
 */
#ifndef DMM_WORKER_OPCOUNT_H
#define DMM_WORKER_OPCOUNT_H

#include <stdint.h>

#include "source/source.h"

#define OPCOUNT_OPS (SOURCE_STATFS + 1)

/* Takes ownership of below.  NULL when out of memory (below is then still the caller's). */
struct source *opcount_new(struct source *below);
void opcount_read(struct source *opcount, uint64_t counts[2][OPCOUNT_OPS]);

#endif
