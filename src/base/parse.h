/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Small values in the rules that tests write: counts, durations, names of errors.
 *
 * All return 0 or -EINVAL, and on failure leave *out alone.  Threads: no shared state.
 */
#ifndef DMM_BASE_PARSE_H
#define DMM_BASE_PARSE_H

#include <stdint.h>

/* Decimal digits only. */
int parse_count(const char *s, uint64_t *out);

/* "300ms", "5s", "2min"; a day at most. */
int parse_duration(const char *s, uint64_t *ns);

/* "EIO" -> 5. */
int parse_errno(const char *s, int *out);

#endif
