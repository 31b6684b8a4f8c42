/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Monotonic time in nanoseconds, for deadlines and rates. */
#ifndef DMM_BASE_CLOCK_H
#define DMM_BASE_CLOCK_H

#include <stdint.h>
#include <time.h>

#define CLOCK_MS 1000000ull
#define CLOCK_SEC 1000000000ull

static inline uint64_t clock_mono(void)
{
	struct timespec t;

	clock_gettime(CLOCK_MONOTONIC, &t);
	return (uint64_t)t.tv_sec * CLOCK_SEC + (uint64_t)t.tv_nsec;
}

/* An absolute CLOCK_MONOTONIC timespec, as pthread_cond_clockwait() wants it. */
static inline struct timespec clock_timespec(uint64_t mono)
{
	return (struct timespec){ .tv_sec = (time_t)(mono / CLOCK_SEC),
				  .tv_nsec = (long)(mono % CLOCK_SEC) };
}

#endif
