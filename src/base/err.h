/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Errors that gather context on their way up.
 *
 * The function that meets a failure calls err_set(); callers prefix what they
 * were doing with err_wrap(); the boundary (main, or the code that turns the
 * error into an event) prints err->text once.  All functions of the project
 * that can fail return 0 or a negative errno; those with more to say take a
 * struct err * as their last argument, which may be NULL.
 *
 * Ownership: plain storage of the caller, no heap.  Threads: no shared state.
 */
#ifndef DMM_BASE_ERR_H
#define DMM_BASE_ERR_H

struct err {
	int code;		/* positive errno, 0 = no error */
	char text[600];		/* one line, no newline at the end */
};

/* Start an error: code is a positive or negative errno.  Returns -|code|. */
int err_set(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Like err_set(), and appends ": " and the text of the errno. */
int err_sys(struct err *e, int code, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

/* Put "context: " in front of what is there.  Returns -e->code. */
int err_wrap(struct err *e, const char *fmt, ...)
	__attribute__((format(printf, 2, 3)));

#endif
