/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A thread that calls functions at given times; for decorators that delay.
 *
 * Threads: add from any thread, also from fire(); stop once, not from fire().
 */
#ifndef DMM_SOURCE_TIMERS_H
#define DMM_SOURCE_TIMERS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/list.h"

struct timers;

struct timers_item {
	struct list link;
	uint64_t due;		/* clock_mono() */
	/* Called once, without locks; item may be freed or added again inside.
	 * stopped: the timers are being stopped, the time has not come. */
	void (*fire)(struct timers_item *item, bool stopped);
};

struct timers *timers_new(void);

/* item->due and item->fire are set.  False: stopped already, fire will not be called. */
bool timers_add(struct timers *t, struct timers_item *item);

/* Ends the thread, fires what is left with stopped = true. */
void timers_stop(struct timers *t);

void timers_free(struct timers *t);

#endif
