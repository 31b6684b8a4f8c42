/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "command.h"

#include <string.h>

#include "exits.h"

const struct command *const command_table[] = {
	&command_run,
	&command_report,
	&command_verify,
	&command_retry,
	&command_check_state,
	&command_version,
	&command_help,
	NULL,
};

const struct command *command_find(const char *name)
{
	for (size_t i = 0; command_table[i]; i++)
		if (!strcmp(command_table[i]->name, name))
			return command_table[i];
	return NULL;
}

char *command_synopsis(const struct command *c, char *buf, size_t n)
{
	size_t used = (size_t)snprintf(buf, n, "dmm %s%s%s", c->name, *c->operands ? " " : "",
				       c->operands);

	for (const struct args_option *o = c->options; o && o->name && used < n; o++)
		used += (size_t)snprintf(buf + used, n - used, o->value ? " [--%s %s]" : " [--%s]",
					 o->name, o->value);
	return buf;
}

void command_print_help(const struct command *c, FILE *to)
{
	char line[1024], option[80];

	fprintf(to, "usage: %s\n\n%s.\n", command_synopsis(c, line, sizeof line), c->summary);
	if (c->details)
		fprintf(to, "\n%s", c->details);
	if (c->options && c->options->name)
		fprintf(to, "\noptions:\n");
	for (const struct args_option *o = c->options; o && o->name; o++) {
		snprintf(option, sizeof option, "--%s%s%s", o->name, o->value ? " " : "",
			 o->value ? o->value : "");
		fprintf(to, "  %-24s %s\n", option, o->help);
	}
}

void command_print_overview(FILE *to)
{
	fprintf(to, "usage: dmm COMMAND ...\n\n"
		    "Moves a file system to this host while applications already use it.\n\n"
		    "commands:\n");
	for (size_t i = 0; command_table[i]; i++)
		fprintf(to, "  %-12s %s\n", command_table[i]->name, command_table[i]->summary);
	fprintf(to, "\n`dmm help COMMAND` says more; so does dmm(1).\n");
}

static int usage_error(const struct command *c, const char *what)
{
	char line[1024];

	fprintf(stderr, "dmm %s: %s; usage: %s\n", c->name, what,
		command_synopsis(c, line, sizeof line));
	return EXITS_USAGE;
}

int command_main(int argc, char **argv)
{
	const struct command *c = command_find(argv[0]);
	struct err e = { 0 };
	struct args a;

	if (!c) {
		fprintf(stderr, "dmm: unknown command \"%s\"; `dmm help` lists them\n", argv[0]);
		return EXITS_USAGE;
	}
	for (int i = 1; i < argc && strcmp(argv[i], "--"); i++)
		if (!strcmp(argv[i], "--help")) {
			command_print_help(c, stdout);
			return EXITS_DONE;
		}
	if (args_parse(c->options, argc - 1, argv + 1, &a, &e))
		return usage_error(c, e.text);
	if (a.operands < c->min_operands)
		return usage_error(c, "an argument is missing");
	if (a.operands > c->max_operands)
		return usage_error(c, "too many arguments");
	return c->run(&a);
}
