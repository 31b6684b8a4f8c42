/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Bytes from names, servers and messages -> text that may stand in a JSON string.
 *
 * Names on Unix are bytes.  What is not UTF-8, control characters and the backslash become
 * \xNN, so the result is valid UTF-8 (RFC 3629), one line, and tells exactly which bytes
 * there were.  What a terminal may show is the display's business, not decided here.
 */
#ifndef DMM_WORKER_TEXT_H
#define DMM_WORKER_TEXT_H

#include <stddef.h>

/* At most n - 1 bytes of output, never cut inside a character or an escape. Returns out. */
char *text_clean(char *out, size_t n, const char *in);

/* The bytes that text_clean() was given.  -EINVAL: an escape that is none, or NUL; -ENAMETOOLONG: out is too small. */
int text_bytes(char *out, size_t n, const char *text);

#endif
