/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Named fault points: places where a test makes the program die, fail, wait,
 * stop, or leave a step out; in the ordinary build, armed at run time.
 *
 *	POINT("group.flushed");			between two durable steps
 *	r = POINT_FAIL("target.land");		may also fail: 0 or -errno
 *	r = POINT_STEP("target.sync-all");	may also be left out: 0, -errno or POINT_SKIP
 *
 * A name may stand in several places; it is one point.  The list of points is the code itself:
 * each use puts itself into a section of its own that point_each() walks.
 * Not armed, a point costs the load of one flag.
 *
 * Rules, separated by ';' or newlines, the first that matches and acts wins:
 *
 *	NAME ACTION [after=N] [times=N]
 *
 *	kill		SIGKILL to the own process
 *	stop		SIGSTOP to the own process
 *	delay=300ms	(s, min)
 *	error=EIO	not at a plain POINT
 *	skip		only at a POINT_STEP: the step is left out and claimed to be done.  For
 *			controls: a test must catch what the missing step breaks.
 *	after=N		not the first N times
 *	times=N		then N times at most
 *
 * Points named "rule.*" stand where a durability rule is kept; only skip makes sense there, and it
 * makes the program behave as if the rule did not exist.
 *
 * Threads: any.  Errors: an unknown name and an action that the point cannot take are refused, and
 * the rules in force stay.
 */
#ifndef DMM_BASE_POINT_H
#define DMM_BASE_POINT_H

#include <stdatomic.h>
#include <stdbool.h>

#include "err.h"

#define POINT_SKIP 1

enum point_kind { POINT_PLAIN, POINT_MAY_FAIL, POINT_MAY_SKIP };

struct point {
	const char *name;
	enum point_kind kind;
	atomic_bool armed;
};

/* Replace all rules; "" disarms. */
int point_set(const char *rules, struct err *e);

/* All points, a name once for each use. */
void point_each(void (*fn)(void *arg, const struct point *p), void *arg);

int point_act(struct point *p);		/* for the macros */

#define POINT_OF(text, what) __extension__({						\
	static struct point here_ __attribute__((section("dmm_points"), used, aligned(8))) =	\
		{ .name = (text), .kind = (what) };					\
	atomic_load_explicit(&here_.armed, memory_order_relaxed) ? point_act(&here_) : 0; })

#define POINT(text) ((void)POINT_OF(text, POINT_PLAIN))
#define POINT_FAIL(text) POINT_OF(text, POINT_MAY_FAIL)
#define POINT_STEP(text) POINT_OF(text, POINT_MAY_SKIP)

#endif
