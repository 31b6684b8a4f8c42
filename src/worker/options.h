/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What `dmm run` tells its worker: the private contract of the two programs.
 *
 *   dmm-worker --channel-fd N [--status-ms N] [--state DIR] [--whole-file-limit BYTES]
 *              [--source-timeout SECONDS] [--exit-when-detached] SOURCE TARGET
 *
 *   dmm-worker --job --state WHAT --channel-fd N	answers one request (job.h); WHAT as the user said it
 *
 *   dmm-worker --points	lists the fault points, for tests
 *
 * DIR and TARGET are absolute: the worker leaves its working directory.
 * For tests, from the environment: DMM_SOURCE_FAULTS and DMM_POINTS (faults.h), DMM_TEST_HOLD_BACKGROUND=1, DMM_LOG=debug, DMM_TEST_NO_PASSTHROUGH=1.
 */
#ifndef DMM_WORKER_OPTIONS_H
#define DMM_WORKER_OPTIONS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"

/* Exit statuses; `dmm` checks them against the final event (doc/events.md). */
enum { WORKER_DONE = 0, WORKER_FAILED = 1, WORKER_USAGE = 2, WORKER_STOPPED = 3 };

#define OPTIONS_WHOLE_FILE_LIMIT (8u << 20)	/* default of --whole-file-limit, bytes */

struct options {
	int channel_fd;
	unsigned status_ms;		/* between status events */
	const char *state;		/* NULL: the default place */
	uint64_t whole_file_limit;	/* bytes */
	uint64_t source_timeout_ms;	/* an application waits so long for a source that does not answer, then EIO; 0 = for ever */
	bool exit_when_detached;
	const char *source, *target;	/* as given; point into argv */
	const char *faults, *points;	/* NULL: none */
	bool print_points;		/* and nothing else */
	bool job;			/* one request; state is what the user called it */
	bool hold_background, no_passthrough, debug;
};

int options_parse(struct options *o, int argc, char **argv, struct err *e);

#endif
