/* SPDX-License-Identifier: GPL-3.0-or-later */
/* dmm: the command line.  Verbs live in cmd_*.c, their table in command.c. */
#include <locale.h>
#include <string.h>

#include "command.h"
#include "exits.h"

int main(int argc, char **argv)
{
	setlocale(LC_CTYPE, "");	/* which characters this terminal can show */
	if (argc < 2) {
		command_print_overview(stderr);
		return EXITS_USAGE;
	}
	if (!strcmp(argv[1], "--help") || !strcmp(argv[1], "-h"))
		argv[1] = (char *)"help";
	if (!strcmp(argv[1], "--version") || !strcmp(argv[1], "-V"))
		argv[1] = (char *)"version";
	return command_main(argc - 1, argv + 1);
}
