/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * An inode that is about to lose a name: victim of unlink, rmdir and rename.
 *
 * remove_open() finds it, remove_conditions() waits until it may go, remove_hide()
 * saves its last name when the source may have more (D5), remove_done() tells the
 * engine how it ended.  Threads: one request's.
 */
#ifndef DMM_FUSEFS_REMOVE_H
#define DMM_FUSEFS_REMOVE_H

#include "internal.h"

struct victim {
	int fd;			/* O_PATH, -1: there is none */
	struct target_handle handle;
	struct stat st;		/* of the target itself: st_nlink counts target names */
	struct eobj *o;		/* borrowed from the request */
};

/* 0, PARKED or -errno; -ENOENT when the name does not exist. */
int remove_open(struct request *r, unsigned slot, struct eobj *dir, int pfd, const char *name, struct victim *v);
/* A directory: listed and without a name in it; -ENOTEMPTY. */
int remove_must_be_empty(struct request *r, struct victim *v);
/* dir: it is removed as a directory, which must be empty. */
int remove_conditions(struct request *r, struct victim *v, bool dir);
/* 1: the name has been moved to the holder and is gone from the directory; 0: not needed. */
int remove_hide(struct victim *v, int pfd, const char *name);
void remove_done(struct request *r, struct victim *v, bool removed, bool hidden);

#endif
