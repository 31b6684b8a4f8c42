/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Log lines for people; never blocks (DESIGN §3 "Also").
 *
 * A process has one sink, set once before threads start.  The default sink
 * writes one line to stderr with a single non-blocking write: a line that
 * does not fit into a full pipe is dropped and counted, never waited for.
 *
 * Threads: log_msg() from any thread.
 */
#ifndef DMM_BASE_LOG_H
#define DMM_BASE_LOG_H

enum log_level { LOG_LEVEL_ERROR, LOG_LEVEL_WARN, LOG_LEVEL_INFO, LOG_LEVEL_DEBUG };

typedef void log_sink(void *arg, enum log_level level, const char *line);

/* Set before any thread starts.  sink NULL restores the default. */
void log_set_sink(log_sink *sink, void *arg);
void log_set_level(enum log_level most_verbose);

void log_msg(enum log_level level, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#define log_error(...) log_msg(LOG_LEVEL_ERROR, __VA_ARGS__)
#define log_warn(...) log_msg(LOG_LEVEL_WARN, __VA_ARGS__)
#define log_info(...) log_msg(LOG_LEVEL_INFO, __VA_ARGS__)
#define log_debug(...) log_msg(LOG_LEVEL_DEBUG, __VA_ARGS__)

#endif
