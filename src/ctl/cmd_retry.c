/* SPDX-License-Identifier: GPL-3.0-or-later */
/* dmm retry: what could not be fetched is tried again, or given up. */
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "command.h"
#include "exits.h"
#include "names.h"
#include "view.h"

static const struct args_option options[] = {
	{ "give-up", NULL, "Do not try again: take the names off the target and count the objects as failed" },
	{ "all", NULL, "Everything that is quarantined" },
	{ "json", NULL, "Print one event a line (see events.md)" },
	{ 0 },
};

struct retry {
	bool json, give_up;
	double objects, refused;
	struct names names;	/* without PATH and --all: what there is to choose from */
};

static void tell(const char *what, json_t *event)
{
	char *path = names_text(view_string(event, "path", "")), *text = names_text(view_string(event, "text", ""));

	printf("  %-9s %s%s%s\n", what, path ? path : "?", text && *text ? ": " : "", text ? text : "");
	free(path);
	free(text);
}

static void conclusion(const struct retry *r)
{
	double good = r->objects - r->refused > 0 ? r->objects - r->refused : 0;

	if (!r->objects && !r->refused) {
		printf("nothing is quarantined\n");
		return;
	}
	printf(r->give_up ? "%.0f given up" : "%.0f in work again", good);
	printf(r->refused > 0 ? ", %.0f not; the reasons are above\n" : "\n", r->refused);
}

static void take(void *arg, const char *kind, json_t *event)
{
	static const struct {
		const char *kind, *text;
	} results[] = {
		{ "retried", "again" }, { "given-up", "given up" }, { "refused", "REFUSED" }, { "no-match", "NO MATCH" },
	};
	struct retry *r = arg;

	if (!strcmp(kind, "done")) {
		r->objects = view_number(event, "objects", 0);
		r->refused = view_number(event, "refused", 0);
	}
	if (r->json)
		return;
	for (size_t i = 0; i < sizeof results / sizeof results[0]; i++)
		if (!strcmp(kind, results[i].kind))
			tell(results[i].text, event);
	if (!strcmp(kind, "done"))
		conclusion(r);
}

static void take_choice(void *arg, const char *kind, json_t *event)
{
	struct retry *r = arg;

	if (!strcmp(kind, "object"))
		names_add(&r->names, view_string(event, "path", ""), view_string(event, "reason", ""));
}

/* Neither PATH nor --all: say what there is. */
static int choose(struct retry *r, const char *what)
{
	struct ask ask = {
		.what = what, .json = r->json, .request = json_pack("{s:s}", "request", "quarantined"), .event = take_choice, .arg = r,
	};
	int status;

	r->names.max = names_limit();
	status = ask_run(&ask);
	if (status == EXITS_DONE && !r->names.all && !r->json)
		printf("nothing is quarantined\n");
	if (status == EXITS_DONE && r->names.all) {
		fprintf(stderr, "dmm retry: which? Name objects, or say --all. Quarantined are:\n");
		names_print(&r->names, stderr, "dmm report --json lists all");
		status = EXITS_USAGE;
	}
	names_free(&r->names);
	return status;
}

static json_t *paths(const struct args *a)
{
	json_t *list = json_array();

	for (unsigned i = 1; i < a->operands; i++)
		json_array_append_new(list, ask_bytes(a->operand[i]));
	return list;
}

static int run(const struct args *a)
{
	struct retry r = { .json = args_get(a, "json"), .give_up = args_get(a, "give-up") };
	struct ask ask = { .what = a->operand[0], .json = r.json, .event = take, .arg = &r };
	bool all = args_get(a, "all");
	int status;

	if (all && a->operands > 1) {
		fprintf(stderr, "dmm retry: either --all or names, not both\n");
		return EXITS_USAGE;
	}
	if (!all && a->operands == 1)
		return choose(&r, a->operand[0]);
	ask.request = json_pack("{s:s, s:b, s:b, s:o}", "request", "retry", "give_up", r.give_up, "all", all, "paths", paths(a));
	status = ask_run(&ask);
	return status == EXITS_DONE && r.refused > 0 ? EXITS_PROBLEMS : status;
}

const struct command command_retry = {
	.name = "retry",
	.operands = "STATE|NAME [PATH ...]",
	.summary = "Try again, or give up, what could not be fetched",
	.details =
	"PATH  an object as `dmm report` names it, relative to the source, or a pattern in which\n"
	"      * and ? stand for any characters, / included\n"
	"\n"
	"The source is asked again and what it has now is accepted.  An object that an application\n"
	"has changed is refused: two versions are never mixed.  The migration must be running.\n"
	"\n"
	"exit status: 0 all of them, 5 some were refused or no name matched, 1 failed, 2 wrong usage\n",
	.options = options,
	.min_operands = 1,
	.max_operands = ARGS_OPERANDS_MAX,
	.run = run,
};
