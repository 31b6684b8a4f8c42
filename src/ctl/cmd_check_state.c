/* SPDX-License-Identifier: GPL-3.0-or-later */
/* dmm check-state: do catalog and target agree? */
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "command.h"
#include "exits.h"
#include "names.h"
#include "show.h"
#include "view.h"

static const struct args_option options[] = {
	{ "json", NULL, "Print one event a line (see events.md)" },
	{ 0 },
};

struct check {
	bool json, problems;
};

static void problem(json_t *event)
{
	char *text = names_text(view_string(event, "text", ""));	/* names its object */

	printf("  %s\n", text ? text : "?");
	free(text);
}

static void conclusion(json_t *event)
{
	char rows[32], inodes[32], marks[32], problems[32];
	double n = view_number(event, "problems", 0);

	printf("checked %s rows, %s inodes, %s marks: ", show_count(rows, sizeof rows, (uint64_t)view_number(event, "rows", 0)),
	       show_count(inodes, sizeof inodes, (uint64_t)view_number(event, "inodes", 0)),
	       show_count(marks, sizeof marks, (uint64_t)view_number(event, "marks", 0)));
	if (n > 0)
		printf("%s PROBLEMS\n", show_count(problems, sizeof problems, (uint64_t)n));
	else
		printf("no problem\n");
}

static void take(void *arg, const char *kind, json_t *event)
{
	struct check *c = arg;

	if (!strcmp(kind, "state"))
		c->problems = view_number(event, "problems", 0) > 0;
	if (c->json)
		return;
	if (!strcmp(kind, "problem"))
		problem(event);
	else if (!strcmp(kind, "state"))
		conclusion(event);
}

static int run(const struct args *a)
{
	struct check c = { .json = args_get(a, "json") };
	struct ask ask = {
		.what = a->operand[0], .json = c.json, .request = json_pack("{s:s}", "request", "check-state"), .event = take, .arg = &c,
	};
	int status = ask_run(&ask);

	return status == EXITS_DONE && c.problems ? EXITS_PROBLEMS : status;
}

const struct command command_check_state = {
	.name = "check-state",
	.operands = "STATE|NAME",
	.summary = "Check the catalog of a migration against itself and its target",
	.details =
	"For a migration that is not running (stopped, killed, or finished).  Nothing is changed.\n"
	"\n"
	"exit status: 0 they agree, 5 problems were found, 1 failed, 2 wrong usage\n",
	.options = options,
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
