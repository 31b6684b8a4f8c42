/* SPDX-License-Identifier: GPL-3.0-or-later */
/* From what a user calls a migration to its state directory. */
#ifndef DMM_WORKER_FIND_H
#define DMM_WORKER_FIND_H

#include <limits.h>

#include "base/err.h"

/*
 * what: a name below STATEDIR_BASE, a state directory, or a target whose state is in the default place; tried
 * in this order.  base: STATEDIR_BASE (another one in tests).  -ENOENT with a line that lists the migrations below base.
 */
int find_state(const char *what, const char *base, char state[PATH_MAX], struct err *e);

#endif
