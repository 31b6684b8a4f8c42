/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * How long it will take: a range, not a number.
 *
 * Model.  Moving takes time per object and time per byte.  Both costs are fitted
 * by least squares to what was seen, twice: over the last seconds and over the last
 * minutes (exponential forgetting).  Where the data cannot tell the two apart, an object counts
 * like ETA_OBJECT_BYTES.  The fit is then scaled so that it explains the whole time that passed: pauses count.
 *
 * Low:  what is known to be left, at the better of the two speeds.
 * High: what may be left at most, at the worse one.  While the source is still being listed,
 *       what may be left follows from its own totals (expected_*); without them there is no upper bound.
 *
 * Invariant: the upper end, as a point in time, grows only with a named cause; more being
 * discovered below the source's totals never moves it.  It falls freely, but smoothly, and small
 * fluctuations do not move it.
 *
 * No clock, no allocation: a struct to embed, fed with samples.
 */
#ifndef DMM_CTL_ETA_H
#define DMM_CTL_ETA_H

#include <stdbool.h>
#include <stdint.h>

#define ETA_OBJECT_BYTES 65536.0	/* a guess, used only where nothing better is known */

struct eta_sample {
	double t;			/* seconds, growing */
	uint64_t found_objects, found_bytes;
	uint64_t here_objects, here_bytes;	/* bytes: including those of unfinished files */
	uint64_t expected_objects, expected_bytes;	/* 0: unknown */
	bool discovery_done;
	bool source_answers;
	bool target_full;
};

struct eta_window {
	double tau;			/* seconds */
	double t, o, b;			/* decayed sums: time, objects, bytes */
	double oo, ob, bb, to, tb;	/* and of their products */
};

struct eta {
	bool begun;
	struct eta_sample last;
	struct eta_window fast, slow;
	double seen;			/* seconds of history */
	bool have_low, have_high;
	double low_at, high_at;		/* points in time, as shown */
	double work_o, work_b;		/* the total on which high_at rests */
	const char *cause;		/* why high_at grew last; NULL: it has not */
	double cause_t;
};

struct eta_range {
	bool known;			/* low is meaningful */
	bool bounded;			/* high is meaningful */
	double low, high;		/* seconds from the last sample */
	const char *cause;		/* why the upper end grew, if it did in the last minute; else NULL */
};

void eta_init(struct eta *e);
void eta_add(struct eta *e, const struct eta_sample *s);
void eta_range(const struct eta *e, struct eta_range *out);

/* The causes, for tests and for nobody else to spell differently. */
#define ETA_CAUSE_SOURCE "the source does not answer"
#define ETA_CAUSE_FULL "the target is full"
#define ETA_CAUSE_MORE "more was found than the source had reported"
#define ETA_CAUSE_SLOW "it goes slower than before"

#endif
