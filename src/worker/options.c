/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "options.h"

#include <errno.h>
#include <getopt.h>
#include <stdlib.h>
#include <string.h>

#include "base/size.h"

#define SOURCE_TIMEOUT_MAX (366ul * 86400)	/* seconds; dmm checks it first */

static int number(const char *s, unsigned long max, unsigned long *out, struct err *e)
{
	char *end;

	errno = 0;
	*out = strtoul(s, &end, 10);
	if (errno || end == s || *end || *out > max)
		return err_set(e, EINVAL, "\"%s\" is not a number up to %lu", s, max);
	return 0;
}

static bool flag(const char *name)
{
	const char *v = getenv(name);

	return v && *v && strcmp(v, "0") != 0;
}

static void from_environment(struct options *o)
{
	const char *log = getenv("DMM_LOG");

	o->faults = getenv("DMM_SOURCE_FAULTS");
	o->points = getenv("DMM_POINTS");
	o->hold_background = flag("DMM_TEST_HOLD_BACKGROUND");
	o->no_passthrough = flag("DMM_TEST_NO_PASSTHROUGH");
	o->debug = log && !strcmp(log, "debug");
}

static int one(struct options *o, int opt, const char *arg, struct err *e)
{
	unsigned long n;
	int r = 0;

	switch (opt) {
	case 'c':
		r = number(arg, 1u << 20, &n, e);
		o->channel_fd = r ? -1 : (int)n;
		return r;
	case 'i':
		r = number(arg, 3600000, &n, e);
		o->status_ms = r || n < 50 ? 50 : (unsigned)n;
		return r;
	case 's':
		o->state = arg;
		return 0;
	case 'w':
		r = size_parse(arg, &o->whole_file_limit);
		return r ? err_set(e, r, "--whole-file-limit: \"%s\" is not a size", arg) : 0;
	case 't':
		r = number(arg, SOURCE_TIMEOUT_MAX, &n, e);
		o->source_timeout_ms = r ? 0 : n * 1000;
		return r;
	case 'x':
		o->exit_when_detached = true;
		return 0;
	case 'j':
		o->job = true;
		return 0;
	case 'p':
		o->print_points = true;
		return 0;
	default:
		return err_set(e, EINVAL, "dmm-worker does not know an option it was given; "
			       "dmm and dmm-worker are of different versions");
	}
}

int options_parse(struct options *o, int argc, char **argv, struct err *e)
{
	static const struct option table[] = {
		{ "channel-fd", required_argument, NULL, 'c' },
		{ "status-ms", required_argument, NULL, 'i' },
		{ "state", required_argument, NULL, 's' },
		{ "whole-file-limit", required_argument, NULL, 'w' },
		{ "source-timeout", required_argument, NULL, 't' },
		{ "exit-when-detached", no_argument, NULL, 'x' },
		{ "job", no_argument, NULL, 'j' },
		{ "points", no_argument, NULL, 'p' },
		{ 0 },
	};
	int opt, r;

	*o = (struct options){ .channel_fd = -1, .status_ms = 1000,
			       .whole_file_limit = OPTIONS_WHOLE_FILE_LIMIT };
	from_environment(o);
	opterr = 0;
	optind = 0;	/* glibc: start afresh, also in tests */
	while ((opt = getopt_long(argc, argv, "", table, NULL)) != -1) {
		r = one(o, opt, optarg, e);
		if (r)
			return r;
	}
	if (o->print_points)
		return 0;
	if (o->channel_fd < 0)
		return err_set(e, EINVAL, "dmm-worker is started by dmm");
	if (o->job)
		return o->state && argc == optind ? 0 : err_set(e, EINVAL, "dmm-worker --job wants --state and nothing else");
	if (argc - optind != 2)
		return err_set(e, EINVAL, "dmm-worker wants a source and a target");
	o->source = argv[optind];
	o->target = argv[optind + 1];
	if (o->target[0] != '/' || (o->state && o->state[0] != '/'))
		return err_set(e, EINVAL, "dmm-worker wants absolute paths");
	return 0;
}
