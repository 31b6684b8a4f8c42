/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Command-line arguments against a table: --name VALUE, --name=VALUE, --flag, "--" ends options.
 * Options and operands may be mixed.  The table is also what the help text and the test that
 * compares it with the manual are made from.
 */
#ifndef DMM_CTL_ARGS_H
#define DMM_CTL_ARGS_H

#include <stdbool.h>

#include "base/err.h"

#define ARGS_OPTIONS_MAX 16
#define ARGS_OPERANDS_MAX 256

struct args_option {
	const char *name;	/* without "--"; NULL ends the table */
	const char *value;	/* what the value is called, "DIR"; NULL: a flag */
	const char *help;	/* one sentence */
};

struct args {
	const struct args_option *table;
	const char *value[ARGS_OPTIONS_MAX];	/* by table index; NULL: not given; "" for a flag */
	const char *operand[ARGS_OPERANDS_MAX];
	unsigned operands;
};

/* argv: what follows the verb.  -EINVAL and a line that says what is wrong. */
int args_parse(const struct args_option *table, int argc, char **argv, struct args *out,
	       struct err *e);
/* NULL: not given.  Asking for a name that is not in the table is a bug (assert). */
const char *args_get(const struct args *a, const char *name);

#endif
