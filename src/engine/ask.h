/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Questions to the source that a thread waits for, for work on single objects at a user's request.
 *
 * Threads: any that may block; never the source's own.  A wait ends with -ECANCELED when the engine
 * is stopped or interrupted, even if the source is silent.
 */
#ifndef DMM_ENGINE_ASK_H
#define DMM_ENGINE_ASK_H

#include "internal.h"

/* What stands under this object's source name now: looked up by path, not by an old handle. */
int ask_present(struct engine *en, uint64_t oid, struct source_fh *fh, struct source_attr *attr);
int ask_link(struct engine *en, const struct source_fh *fh, char link[SOURCE_LINK_MAX + 1]);

#endif
