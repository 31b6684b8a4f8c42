/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "command.h"
#include "exits.h"

static int help(const struct args *a)
{
	const struct command *c = a->operands ? command_find(a->operand[0]) : NULL;

	if (c) {
		command_print_help(c, stdout);
		return EXITS_DONE;
	}
	if (a->operands) {
		fprintf(stderr, "dmm help: there is no command \"%s\"\n", a->operand[0]);
		return EXITS_USAGE;
	}
	command_print_overview(stdout);
	return EXITS_DONE;
}

const struct command command_help = {
	.name = "help",
	.operands = "[COMMAND]",
	.summary = "Explain a command",
	.max_operands = 1,
	.run = help,
};
