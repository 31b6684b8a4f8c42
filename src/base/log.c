/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "log.h"

#include <poll.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

/* Process-wide on purpose: stderr is.  Written before threads start. */
static log_sink *sink;
static void *sink_arg;
static enum log_level max_level = LOG_LEVEL_INFO;
static atomic_ulong dropped;

void log_set_sink(log_sink *s, void *arg)
{
	sink = s;
	sink_arg = arg;
}

void log_set_level(enum log_level most_verbose)
{
	max_level = most_verbose;
}

static void to_stderr(enum log_level level, const char *line)
{
	static const char *const tag[] = { "error: ", "warning: ", "", "debug: " };
	struct pollfd p = { .fd = STDERR_FILENO, .events = POLLOUT };
	char buf[1100];
	int n = snprintf(buf, sizeof buf, "dmm: %s%s\n", tag[level], line);

	if (n >= (int)sizeof buf) {
		n = sizeof buf - 1;
		buf[n - 1] = '\n';
	}
	if (poll(&p, 1, 0) != 1 || write(STDERR_FILENO, buf, (size_t)n) != n)
		atomic_fetch_add(&dropped, 1);
}

void log_msg(enum log_level level, const char *fmt, ...)
{
	char line[1024];
	va_list ap;

	if (level > max_level)
		return;
	va_start(ap, fmt);
	vsnprintf(line, sizeof line, fmt, ap);
	va_end(ap);
	for (char *p = line; *p; p++)	/* names are hostile: one line stays one line */
		if ((unsigned char)*p < 0x20 || *p == 0x7f)
			*p = '?';
	if (sink)
		sink(sink_arg, level, line);
	else
		to_stderr(level, line);
}
