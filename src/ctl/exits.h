/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Exit statuses of dmm; doc/dmm.1 tells users what they mean. */
#ifndef DMM_CTL_EXITS_H
#define DMM_CTL_EXITS_H

enum {
	EXITS_DONE = 0,
	EXITS_FAILED = 1,	/* with one clear line on stderr */
	EXITS_USAGE = 2,
	EXITS_STOPPED = 3,	/* unfinished; the same command continues */
	EXITS_WORKER_DIED = 4,	/* the same command continues */
	EXITS_PROBLEMS = 5,	/* the command worked, and found something wrong */
};

#endif
