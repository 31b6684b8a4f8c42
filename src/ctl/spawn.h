/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Starting the worker: executed afresh, in a session of its own (the terminal's Ctrl-C reaches
 * dmm only, which asks it to stop), with one private socket on a fixed descriptor.
 *
 * "Could not be executed" and "ran and died" are told apart: the first is the result of
 * spawn_worker(), through a pipe that a successful exec closes; the second
 * is what spawn_wait() describes.
 */
#ifndef DMM_CTL_SPAWN_H
#define DMM_CTL_SPAWN_H

#include <limits.h>
#include <stddef.h>
#include <sys/types.h>

#include "base/err.h"

#define SPAWN_CHANNEL_FD 3	/* in the child */

struct spawn {
	pid_t pid;
	int fd;			/* our end of the socket */
};

/* dmm-worker beside our own executable, or where it was installed. */
int spawn_find_worker(char path[PATH_MAX], struct err *e);

int spawn_worker(const char *path, char *const argv[], struct spawn *out, struct err *e);

struct spawn_end {
	int status;		/* exit status, -1 if killed */
	int signal;		/* 0 if it exited */
	char text[80];		/* "was killed by signal 9 (Killed)" */
};
void spawn_wait(struct spawn *s, struct spawn_end *out);

#endif
