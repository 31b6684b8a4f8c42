/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * dmm-worker --job: one request about a migration (verb.h), for `dmm report` and its like.
 *
 * The request comes as a line on the channel, the reply goes back on it.  When a worker runs, its control
 * socket answers and this process only passes lines on.  Otherwise it opens the catalog, and with it the lock
 * (D9), itself, and for what looks at the target also that.  Between the two (a worker that is
 * just starting or ending) it tries again for a few seconds.
 *
 * The mount of a worker that was killed lies over the target: it stays where it is for everybody
 * else, and is taken away in a mount namespace of our own, to see what is below.
 */
#ifndef DMM_WORKER_JOB_H
#define DMM_WORKER_JOB_H

#include "options.h"

/* Returns an exit status (options.h). */
int job_run(const struct options *o);

#endif
