/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * From "everything is here" to "nothing of DMM is left" (DESIGN §4, Detach).
 *
 *   all-here -> wait until no slow open and no working directory is in the way
 *            -> engine_make_plain()   the root gets its mode back, the phase says DETACHING
 *            -> fusefs_detach()       the mount goes; busy again: wait, try again
 *            -> engine_record_detached()
 *            -> serve old descriptors until the last one is closed
 *
 * The root is made plain only when the detach can follow at once: between the two a
 * crash leaves an unguarded but complete target, which the next start finishes.
 */
#ifndef DMM_WORKER_ENDING_H
#define DMM_WORKER_ENDING_H

#include "migration.h"

/* Wait for the end and make it.  0: detached and served out; -EINTR: stopped before the
 * detach; other: failed. */
int ending_run(struct migration *m, struct err *e);

/* A start that finds the phase DETACHING: no mount, only the rest. */
int ending_finish(struct migration *m, struct err *e);

#endif
