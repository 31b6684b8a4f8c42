/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Can the source be read at all?  A server may let a client mount an export and then
 * refuse everything in it (root squashed on a closed directory): asked before anything is touched.
 */
#ifndef DMM_WORKER_PROBE_H
#define DMM_WORKER_PROBE_H

#include "source/source.h"

/* Lists the first page of the root and waits for it.  s: the bare back end. */
int probe_source(struct source *s, const char *url, struct err *e);

#endif
