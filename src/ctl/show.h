/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Text for a terminal: harmless, and of known width.
 *
 * Names come from hostile places.  A character is shown only if this locale can print it
 * and it does not steer the terminal or its text direction; everything else
 * is written as \xNN.  LC_CTYPE decides, as set by main().
 */
#ifndef DMM_CTL_SHOW_H
#define DMM_CTL_SHOW_H

#include <stddef.h>
#include <stdint.h>

/* At most n - 1 bytes and `columns` columns; what does not fit ends in "...".  Returns out. */
char *show_text(char *out, size_t n, const char *in, unsigned columns);

/* "1,234,567"; returns buf (28 bytes are enough). */
char *show_count(char *buf, size_t n, uint64_t v);

/* "12.3 MiB/s"; returns buf. */
char *show_rate(char *buf, size_t n, double bytes_per_second);

#endif
