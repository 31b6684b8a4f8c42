/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Where the catalog of a migration lives.
 *
 * Rule (DESIGN §3, "Also"): no state of DMM under the target; and none on the source, which is
 * never written to.
 */
#ifndef DMM_WORKER_STATEDIR_H
#define DMM_WORKER_STATEDIR_H

#include <limits.h>
#include <stdbool.h>

#include "base/err.h"

#define STATEDIR_BASE "/var/lib/dmm"

/* STATEDIR_BASE/readable-name-HASH for a canonical target path. */
void statedir_default(const char *target, char out[PATH_MAX]);

/* Refuse a place inside the target or a local source (NULL: remote), or around the target. All canonical. */
int statedir_check(const char *dir, const char *target, const char *local_source, struct err *e);

/* Is there a catalog in it? */
bool statedir_has_catalog(const char *dir);

/* Make it and what is missing above it, mode 0700, durably: losing the directory in a crash while stubs stay
 * would lose the migration's memory. */
int statedir_make(const char *dir, struct err *e);

#endif
