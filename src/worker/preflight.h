/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What is checked before anything is touched.  Each refusal is one clear line.
 *
 * All functions return 0 or -errno with the line in e.
 */
#ifndef DMM_WORKER_PREFLIGHT_H
#define DMM_WORKER_PREFLIGHT_H

#include <stdbool.h>

#include "base/err.h"
#include "catalog/catalog.h"
#include "target/target.h"

/* Of the host: root, FUSE. */
int preflight_host(struct err *e);

/* TARGET is a directory. */
int preflight_directory(const char *target, struct err *e);

/* A local source and the target do not contain each other.  NULL source: remote, nothing to check. */
int preflight_apart(const char *local_source, const char *target, struct err *e);

/* Of a target where nothing has been started: not marked by another migration (ours: a start that was
 * cut off may have left our own mark), empty (but for an empty lost+found), not in use, and
 * able to carry a migration. */
int preflight_fresh(struct target *t, const char *target, bool ours, struct err *e);

/* An existing catalog is the one of this migration. */
int preflight_identity(const struct catalog_identity *is, const char *source, const char *target,
		       const char *state, struct err *e);

#endif
