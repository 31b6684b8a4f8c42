/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A directory tree with one of everything that a source can hold.
 *
 * Threads: one.
 */
#ifndef DMM_TEST_TREE_H
#define DMM_TEST_TREE_H

#include <stdbool.h>
#include <stddef.h>

#define TREE_MANY 3000		/* files in many/, each holding its own name */
#define TREE_FIVE (5u << 20)	/* bytes of five */
#define TREE_DEEP 20		/* nested directories with 255-byte names in deep/ */

/* A new directory below $TMPDIR or /tmp; its path is written to out. */
bool tree_temp(char *out, size_t size);

/* Fill the existing directory.  wide_times: also times that 32 bits cannot hold. */
bool tree_make(const char *dir, bool wide_times);

/* Remove everything, whatever the depth. */
void tree_remove(const char *dir);

#endif
