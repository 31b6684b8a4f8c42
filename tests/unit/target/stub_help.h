/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Making a stub and comparing it with what it should be. */
#ifndef TESTS_TARGET_STUB_HELP_H
#define TESTS_TARGET_STUB_HELP_H

#include "env.h"

/* Plausible attributes for any type; mode with type. */
struct target_attr stub_attr(mode_t mode);

/* Must succeed, give the handle of the name, and take no blocks. */
void stub_make(struct env *e, int dirfd, const char *name, const struct target_attr *a,
	       uint64_t oid);

/* The name shows exactly a, and carries a mark with this oid. */
void stub_check(struct env *e, int dirfd, const char *name, const struct target_attr *a, uint64_t oid);

#endif
