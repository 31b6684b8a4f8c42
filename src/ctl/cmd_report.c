/* SPDX-License-Identifier: GPL-3.0-or-later */
/* dmm report: the ledger (D8). */
#include <string.h>

#include "ask.h"
#include "base/size.h"
#include "command.h"
#include "exits.h"
#include "names.h"
#include "show.h"
#include "view.h"

static const struct args_option options[] = {
	{ "json", NULL, "Print one event a line, with every object of the lists (see events.md)" },
	{ 0 },
};

static const struct list_kind {
	const char *name, *title;
} kinds[] = {
	{ "overwritten", "overwritten by applications before they arrived" },
	{ "deleted", "deleted by applications before they arrived" },
	{ "shadowed", "shadowed: an application had the name already" },
	{ "excluded", "excluded by policy" },
	{ "failed", "failed: given up on" },
	{ "quarantined", "quarantined: wait for `dmm retry`" },
};

enum { KINDS = sizeof kinds / sizeof kinds[0] };

struct report {
	bool json, unbalanced;
	struct names lists[KINDS];
};

struct column {
	double objects, bytes;
};

static struct column column(json_t *ledger, const char *state)
{
	json_t *o = json_object_get(json_object_get(ledger, "states"), state);

	return (struct column){ view_number(o, "objects", 0), view_number(o, "bytes", 0) };
}

static void row(const char *name, double objects, double bytes)
{
	char count[32], size[32];

	printf("  %-34s %15s  %12s\n", name, show_count(count, sizeof count, (uint64_t)objects),
	       size_format(size, sizeof size, (uint64_t)bytes));
}

static void heading(json_t *ledger)
{
	char *source = names_text(view_string(ledger, "source", "")), *target = names_text(view_string(ledger, "target", ""));
	char *state = names_text(view_string(ledger, "state", ""));
	const char *phase = view_string(ledger, "phase", "");

	printf("%s -> %s\n", source ? source : "", target ? target : "");
	printf("state in %s, %s\n\n", state ? state : "",
	       !strcmp(phase, "detached") ? "finished" :
	       !strcmp(phase, "detaching") ? "everything is here, the mount is being taken away" :
	       json_is_true(json_object_get(ledger, "worker")) ? "running" : "not running: the command that began it continues it");
	free(source);
	free(target);
	free(state);
}

static void table(json_t *ledger)
{
	struct column migrated = column(ledger, "migrated"), cleaning = column(ledger, "cleaning"), c;

	printf("  %-34s %15s  %12s\n", "", "objects", "data");
	row("migrated", migrated.objects + cleaning.objects, migrated.bytes + cleaning.bytes);
	for (int i = 0; i < KINDS - 1; i++) {
		c = column(ledger, kinds[i].name);
		row(i < 2 ? i ? "deleted by applications" : "overwritten by applications" : kinds[i].name, c.objects, c.bytes);
	}
	c = column(ledger, "quarantined");
	row("quarantined (waiting for a retry)", c.objects, c.bytes);
	c = column(ledger, "found");
	row("still to come", c.objects, c.bytes);
	row("found on the source", view_number(ledger, "found_objects", 0), view_number(ledger, "found_bytes", 0));
	if (view_number(ledger, "directories_unlisted", 0) > 0)
		printf("  (%.0f directories are not listed yet)\n", view_number(ledger, "directories_unlisted", 0));
	printf("  files with a checksum              %15.0f\n", view_number(ledger, "checksums", 0));
}

static void lists(const struct report *r)
{
	char count[32];

	for (int i = 0; i < KINDS; i++) {
		if (!r->lists[i].all)
			continue;
		printf("\n%s (%s)\n", kinds[i].title, show_count(count, sizeof count, r->lists[i].all));
		names_print(&r->lists[i], stdout, "--json lists all");
	}
}

static void conclusion(const struct report *r, json_t *ledger)
{
	double waiting = view_number(ledger, "waiting_objects", 0);

	if (!r->unbalanced)
		printf("\nThe ledger balances: %.0f objects on the source, %.0f of them settled, %.0f still waiting.\n",
		       view_number(ledger, "found_objects", 0), view_number(ledger, "found_objects", 0) - waiting, waiting);
	else if (!strcmp(view_string(ledger, "phase", ""), "detached") && waiting > 0)
		printf("\nTHE LEDGER DOES NOT BALANCE: the migration is finished, yet %.0f objects are not settled.\n", waiting);
	else
		printf("\nTHE LEDGER DOES NOT BALANCE: counted one by one, the objects do not add up to these sums; `dmm check-state` says where.\n");
}

static void take(void *arg, const char *kind, json_t *event)
{
	struct report *r = arg;
	bool is_ledger = !strcmp(kind, "ledger");

	if (is_ledger)
		r->unbalanced = !json_is_true(json_object_get(event, "balanced"));
	if (r->json)
		return;
	for (int i = 0; i < KINDS && !strcmp(kind, "object"); i++)
		if (!strcmp(view_string(event, "list", ""), kinds[i].name))
			names_add(&r->lists[i], view_string(event, "path", ""), view_string(event, "reason", ""));
	if (!is_ledger)
		return;
	heading(event);
	table(event);
	lists(r);
	conclusion(r, event);
}

static int run(const struct args *a)
{
	struct report r = { .json = args_get(a, "json") };
	struct ask ask = {
		.what = a->operand[0], .json = r.json, .request = json_pack("{s:s}", "request", "report"),
		.event = take, .arg = &r,
	};
	int status;

	for (int i = 0; i < KINDS; i++)
		r.lists[i].max = names_limit();
	status = ask_run(&ask);
	for (int i = 0; i < KINDS; i++)
		names_free(&r.lists[i]);
	return status == EXITS_DONE && r.unbalanced ? EXITS_PROBLEMS : status;
}

const struct command command_report = {
	.name = "report",
	.operands = "STATE|NAME",
	.summary = "Say what became of every object of a source",
	.details =
	"STATE|NAME  the state directory of a migration, its name below /var/lib/dmm, or its\n"
	"            target if the state is in the default place\n"
	"\n"
	"Every object is in exactly one state, and the sums are checked by counting again.  Then:\n"
	"what applications overwrote or deleted before it arrived, what they shadowed, what was\n"
	"excluded, and what failed, with the reason.  Works while the migration runs and after.\n"
	"\n"
	"exit status: 0 the ledger balances, 5 it does not, 1 failed, 2 wrong usage\n",
	.options = options,
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
