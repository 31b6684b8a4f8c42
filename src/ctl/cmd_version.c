/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "command.h"
#include "exits.h"

static int version(const struct args *a)
{
	(void)a;
	printf("dmm %s\n", DMM_VERSION);
	return EXITS_DONE;
}

const struct command command_version = {
	.name = "version",
	.operands = "",
	.summary = "Print the version",
	.run = version,
};
