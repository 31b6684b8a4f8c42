/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The top of the source stack: lets a source be closed while others still ask.
 *
 * At a stop the source is closed before the engine's threads end, so that none waits for an answer that
 * will not come; but a thread may be about to submit just then.  After gate_shut() every such request is answered
 * -ECANCELED, from a thread of the gate, and nothing below is touched any more.
 *
 * Invariant: `below` is used only by submitters counted in `inside`, and closed when there are none.
 */
#ifndef DMM_WORKER_GATE_H
#define DMM_WORKER_GATE_H

#include "source/source.h"

/* Takes ownership of below.  NULL when that fails (below is then still the caller's). */
struct source *gate_new(struct source *below);

/* Close what is below; the gate itself stays until source_close(), which answers what is left. */
void gate_shut(struct source *gate);

#endif
