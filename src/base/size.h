/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Byte counts and durations for people. */
#ifndef DMM_BASE_SIZE_H
#define DMM_BASE_SIZE_H

#include <stddef.h>
#include <stdint.h>

#define KIB(n) ((uint64_t)(n) << 10)
#define MIB(n) ((uint64_t)(n) << 20)
#define GIB(n) ((uint64_t)(n) << 30)

/* "4096", "64K", "1.5M", "2GiB" (powers of 1024) -> bytes.  0 or -EINVAL/-ERANGE. */
int size_parse(const char *s, uint64_t *out);

/* "1.5 GiB"; returns buf. */
char *size_format(char *buf, size_t n, uint64_t bytes);

/* "3 h 12 min", "45 s"; returns buf. */
char *size_format_seconds(char *buf, size_t n, uint64_t seconds);

#endif
