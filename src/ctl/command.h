/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The verbs of dmm: one table, one file cmd_VERB.c for each.
 */
#ifndef DMM_CTL_COMMAND_H
#define DMM_CTL_COMMAND_H

#include <stdbool.h>
#include <stddef.h>
#include <stdio.h>

#include "args.h"

struct command {
	const char *name;
	const char *operands;		/* "SOURCE TARGET", "[COMMAND]" or "" */
	const char *summary;		/* half a sentence */
	const char *details;		/* paragraphs for `dmm help VERB`, or NULL */
	const struct args_option *options;	/* NULL: none */
	unsigned min_operands, max_operands;
	int (*run)(const struct args *a);	/* returns an exit status */
};

extern const struct command command_run, command_report, command_verify, command_retry, command_check_state, command_version,
	command_help;

/* All verbs, in the order in which help lists them; NULL-terminated. */
extern const struct command *const command_table[];
const struct command *command_find(const char *name);

/* "dmm run SOURCE TARGET [--state DIR] ..."; returns buf. */
char *command_synopsis(const struct command *c, char *buf, size_t n);
void command_print_help(const struct command *c, FILE *to);
void command_print_overview(FILE *to);

/* Parse and run: argv[0] is the verb. */
int command_main(int argc, char **argv);

#endif
