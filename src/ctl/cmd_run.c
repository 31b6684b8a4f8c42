/* SPDX-License-Identifier: GPL-3.0-or-later */
/* dmm run: one migration in the foreground. */
#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "base/parse.h"
#include "base/size.h"
#include "command.h"
#include "display.h"
#include "exits.h"
#include "session.h"
#include "spawn.h"

#define STATUS_MS_TERMINAL "250"
#define STATUS_MS "1000"
#define SOURCE_TIMEOUT_MAX (366ull * 86400)	/* seconds */

static const struct args_option options[] = {
	{ "state", "DIR", "Keep the catalog of this migration in DIR (default: below /var/lib/dmm)" },
	{ "whole-file-limit", "SIZE", "Fetch files up to SIZE whole when they are opened, larger "
				      "ones by range (default: 8M)" },
	{ "source-timeout", "SECONDS", "Fail what applications wait for with EIO after SECONDS without an answer "
				       "of the source (default: 0, wait for ever)" },
	{ "exit-when-detached", NULL, "Return as soon as the mount is gone; old descriptors are "
				      "served in the background" },
	{ "json", NULL, "Print one event a line (see events.md)" },
	{ 0 },
};

/* The worker leaves this working directory, so paths must not depend on it. */
static int absolute(const char *path, char out[PATH_MAX], struct err *e)
{
	char cwd[PATH_MAX];
	int n;

	if (path[0] == '/') {
		n = snprintf(out, PATH_MAX, "%s", path);
	} else {
		if (!getcwd(cwd, sizeof cwd))
			return err_sys(e, errno, "the working directory");
		n = snprintf(out, PATH_MAX, "%s/%s", strcmp(cwd, "/") ? cwd : "", path);
	}
	return n < PATH_MAX ? 0 : err_sys(e, ENAMETOOLONG, "%.100s...", path);
}

struct request {
	char worker[PATH_MAX], state[PATH_MAX], target[PATH_MAX], fd[16];
	char *argv[20];
	unsigned argc;
};

static void push(struct request *q, const char *arg)
{
	q->argv[q->argc++] = (char *)arg;	/* execv() does not write to them */
	q->argv[q->argc] = NULL;
}

static int build(struct request *q, const struct args *a, struct err *e)
{
	const char *state = args_get(a, "state"), *limit = args_get(a, "whole-file-limit");
	const char *timeout = args_get(a, "source-timeout");
	int r = absolute(a->operand[1], q->target, e);

	if (!r && state)
		r = absolute(state, q->state, e);
	if (!r)
		r = spawn_find_worker(q->worker, e);
	if (r)
		return r;
	snprintf(q->fd, sizeof q->fd, "%d", SPAWN_CHANNEL_FD);
	push(q, "dmm-worker");
	push(q, "--channel-fd");
	push(q, q->fd);
	push(q, "--status-ms");
	push(q, !args_get(a, "json") && display_is_terminal() ? STATUS_MS_TERMINAL : STATUS_MS);
	if (state) {
		push(q, "--state");
		push(q, q->state);
	}
	if (limit) {
		push(q, "--whole-file-limit");
		push(q, limit);
	}
	if (timeout) {
		push(q, "--source-timeout");
		push(q, timeout);
	}
	if (args_get(a, "exit-when-detached"))
		push(q, "--exit-when-detached");
	push(q, "--");
	push(q, a->operand[0]);
	push(q, q->target);
	return 0;
}

static int check(const struct args *a)
{
	const char *limit = args_get(a, "whole-file-limit"), *timeout = args_get(a, "source-timeout");
	uint64_t n;

	if (limit && size_parse(limit, &n)) {
		fprintf(stderr, "dmm run: --whole-file-limit: \"%s\" is not a size; try 64K, 8M, 1G\n", limit);
		return -EINVAL;
	}
	if (timeout && (parse_count(timeout, &n) || n > SOURCE_TIMEOUT_MAX)) {
		fprintf(stderr, "dmm run: --source-timeout: \"%s\" is not a number of seconds up to a year\n", timeout);
		return -EINVAL;
	}
	return 0;
}

static int run(const struct args *a)
{
	struct session_config cfg = { .exit_when_detached = args_get(a, "exit-when-detached") };
	struct request q = { .argc = 0 };
	struct spawn worker;
	struct err e = { 0 };
	int r;

	if (check(a))
		return EXITS_USAGE;
	session_block_signals();
	r = build(&q, a, &e);
	if (!r && chdir("/"))	/* our own working directory must not keep the target busy */
		r = err_sys(&e, errno, "/");
	if (!r)
		r = spawn_worker(q.worker, q.argv, &worker, &e);
	cfg.worker = &worker;
	cfg.display = r ? NULL : display_choose(args_get(a, "json"));
	if (r || !cfg.display) {
		fprintf(stderr, "dmm: %s\n", r ? e.text : "out of memory");
		return EXITS_FAILED;
	}
	r = session_run(&cfg);
	cfg.display->end(cfg.display);
	return r;
}

const struct command command_run = {
	.name = "run",
	.operands = "SOURCE TARGET",
	.summary = "Migrate SOURCE to the directory TARGET, which can be used at once",
	.details =
	"SOURCE  nfs://HOST[:PORT]/EXPORT[?version=3|4&nfsport=&mountport=&uid=&gid=]\n"
	"        file:///DIR, an already mounted tree\n"
	"TARGET  an existing empty directory on ext4, xfs or btrfs\n"
	"\n"
	"Returns when everything is here, the mount is gone and the last old descriptor is\n"
	"closed.  Ctrl-C stops cleanly; the same command continues where it was.\n"
	"\n"
	"exit status: 0 done, 1 failed, 2 wrong usage, 3 stopped before the end,\n"
	"             4 the worker died (3 and 4: the same command continues)\n",
	.options = options,
	.min_operands = 2,
	.max_operands = 2,
	.run = run,
};
