/* SPDX-License-Identifier: GPL-3.0-or-later */
/* dmm verify: is on the disk what was migrated? */
#include <stdlib.h>
#include <string.h>

#include "ask.h"
#include "base/size.h"
#include "command.h"
#include "display.h"
#include "exits.h"
#include "names.h"
#include "show.h"
#include "view.h"

static const struct args_option options[] = {
	{ "against-source", NULL, "Compare with the source, read again, instead of the recorded checksums" },
	{ "rate", "SIZE", "Read at most SIZE bytes a second from the target" },
	{ "restart", NULL, "Begin again, forgetting a verification that was stopped" },
	{ "json", NULL, "Print one event a line (see events.md)" },
	{ 0 },
};

static const struct verdict {
	const char *name, *text;
} verdicts[] = {
	{ "same", "as migrated" },
	{ "changed", "changed by applications since" },
	{ "gone", "deleted by applications since" },
	{ "source-changed", "changed on the source since" },
	{ "no-checksum", "without a checksum" },
	{ "waiting", "not migrated yet" },
	{ "suspect", "different although size and time are as migrated" },
	{ "unreadable", "unreadable" },
	{ "damaged", "DAMAGED" },
};

enum { VERDICTS = sizeof verdicts / sizeof verdicts[0] };

struct verify {
	bool json, terminal, shown;	/* shown: a progress line stands on the terminal */
	bool problems;
};

static void clear_line(struct verify *v)
{
	if (v->shown)
		printf("\r\x1b[K");
	v->shown = false;
}

static void progress(struct verify *v, json_t *o)
{
	char done[32], total[32], size[32], all[32];
	double bytes = view_number(o, "done_bytes", 0), of = view_number(o, "total_bytes", 0);

	if (!v->terminal)
		return;
	clear_line(v);
	printf("  %s of %s objects, %s of %s (%.0f %%), %.0f problems",
	       show_count(done, sizeof done, (uint64_t)view_number(o, "done_files", 0)),
	       show_count(total, sizeof total, (uint64_t)view_number(o, "total_files", 0)),
	       size_format(size, sizeof size, (uint64_t)bytes), size_format(all, sizeof all, (uint64_t)of),
	       of > 0 ? 100 * bytes / of : 100, view_number(o, "problems", 0));
	v->shown = true;
}

static void finding(struct verify *v, json_t *o)
{
	char *path = names_text(view_string(o, "path", "")), *text = names_text(view_string(o, "text", ""));
	char *verdict = names_text(view_string(o, "verdict", "?"));

	clear_line(v);
	printf("  %-14s %s: %s\n", verdict ? verdict : "?", path ? path : "?", text ? text : "");
	free(verdict);
	free(path);
	free(text);
}

static void conclusion(struct verify *v, json_t *o)
{
	json_t *files = json_object_get(o, "files");
	char count[32], size[32];
	double problems = view_number(o, "problems", 0);

	clear_line(v);
	printf("verified %s objects, %s%s\n", show_count(count, sizeof count, (uint64_t)view_number(o, "done_files", 0)),
	       size_format(size, sizeof size, (uint64_t)view_number(o, "done_bytes", 0)),
	       json_is_true(json_object_get(o, "resumed")) ? " (part of it by an earlier command)" : "");
	printf("of the files:\n");
	for (int i = 0; i < VERDICTS; i++) {
		double n = view_number(files, verdicts[i].name, 0);

		if (n > 0)
			printf("  %15s  %s\n", show_count(count, sizeof count, (uint64_t)n), verdicts[i].text);
	}
	if (problems > 0)
		printf("PROBLEMS with %s objects; they are listed above.\n", show_count(count, sizeof count, (uint64_t)problems));
	else
		printf("No damage found.\n");
}

static void take(void *arg, const char *kind, json_t *event)
{
	struct verify *v = arg;

	if (!strcmp(kind, "verified"))
		v->problems = view_number(event, "problems", 0) > 0;
	if (v->json)
		return;
	if (!strcmp(kind, "progress"))
		progress(v, event);
	else if (!strcmp(kind, "finding"))
		finding(v, event);
	else if (!strcmp(kind, "verified"))
		conclusion(v, event);
	else
		clear_line(v);
}

static int run(const struct args *a)
{
	struct verify v = { .json = args_get(a, "json"), .terminal = display_is_terminal() };
	struct ask ask = { .what = a->operand[0], .json = v.json, .resumable = true, .event = take, .arg = &v };
	const char *rate = args_get(a, "rate");
	uint64_t bytes = 0;
	int status;

	if (rate && (size_parse(rate, &bytes) || bytes > INT64_MAX)) {
		fprintf(stderr, "dmm verify: --rate: \"%s\" is not a size; try 512K, 20M, 1G\n", rate);
		return EXITS_USAGE;
	}
	ask.request = json_pack("{s:s, s:b, s:b, s:I}", "request", "verify",
				"against_source", args_get(a, "against-source") != NULL,
				"restart", args_get(a, "restart") != NULL, "rate", (json_int_t)bytes);
	status = ask_run(&ask);
	return status == EXITS_DONE && v.problems ? EXITS_PROBLEMS : status;
}

const struct command command_verify = {
	.name = "verify",
	.operands = "STATE|NAME",
	.summary = "Read the target back from the disk and compare it",
	.details =
	"Compares what the disk holds (not the page cache) with the checksums that were taken\n"
	"while the data moved, or with the source again.  What applications have changed since\n"
	"is told apart from damage.  Ctrl-C stops it; the same command goes on where it was.\n"
	"\n"
	"exit status: 0 no damage, 5 damage or something unreadable, 1 failed, 2 wrong usage,\n"
	"             3 stopped before the end\n",
	.options = options,
	.min_operands = 1,
	.max_operands = 1,
	.run = run,
};
