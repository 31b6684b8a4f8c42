/* SPDX-License-Identifier: GPL-3.0-or-later */
/* An operation in a thread of its own: it is expected to hang until the test lets it go. */
#ifndef DMM_TEST_FUSEFS_JOB_H
#define DMM_TEST_FUSEFS_JOB_H

#include "rig.h"

#include <pthread.h>

struct job {
	const struct rig *r;
	int (*fn)(struct job *j);
	const char *name, *name2;
	int arg, result;
	char buf[64];
	pthread_t t;
};

#define JOB(r_, fn_, ...) (struct job){ .r = (r_), .fn = (fn_), __VA_ARGS__ }

void job_start(struct job *j);
int job_end(struct job *j);	/* its result */

/* What a job can do: 0, a count, a descriptor, or -errno. */
int job_read(struct job *j);
int job_open(struct job *j);
int job_stat(struct job *j);
int job_unlink(struct job *j);
int job_rmdir(struct job *j);
int job_rename(struct job *j);
int job_link(struct job *j);
int job_chmod(struct job *j);
int job_mkdir(struct job *j);
int job_truncate(struct job *j);
int job_setxattr(struct job *j);
int job_pread(struct job *j);
int job_pwrite(struct job *j);
int job_list(struct job *j);

/* Is the name on the target? */
bool job_exists_below(const struct rig *r, const char *name);

#endif
