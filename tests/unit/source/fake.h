/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A source in memory that answers as a script says, for testing decorators.
 *
 * Every request takes the next step of the script (the last one repeats) and
 * is answered by the fake's own thread after the step's delay, in order of
 * time.  READ delivers bytes that depend on the offset (fake_byte).
 */
#ifndef DMM_TEST_FAKE_H
#define DMM_TEST_FAKE_H

#include "source/source.h"

struct fake_step {
	int err;
	unsigned delay_ms;
};

/* steps must live as long as the source; count 0 = always succeed at once. */
struct source *fake_new(const struct fake_step *steps, unsigned count);

unsigned fake_seen(struct source *fake);	/* requests submitted */
unsigned fake_peak(struct source *fake);	/* most background requests in hand at once */
/* Set by close; outlives the source. */
extern unsigned fake_closed;

static inline char fake_byte(uint64_t offset)
{
	return (char)(offset * 31 + (offset >> 8));
}

#endif
