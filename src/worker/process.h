/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The worker as a process among others: what it asks of the kernel for itself, and finding
 * other processes.
 *
 * Other processes' files are looked at without asking the file system they are on (statx with
 * AT_STATX_DONT_SYNC): a dead server elsewhere must not hang a check here.
 */
#ifndef DMM_WORKER_PROCESS_H
#define DMM_WORKER_PROCESS_H

#include <stdbool.h>
#include <sys/types.h>

#include "base/err.h"

/* Descriptor limit up, out-of-memory killer away, no new privileges, umask, working
 * directory.  What is not permitted is left as it is: none of it is needed to be correct. */
void process_settle(void);
/* Let go of the terminal: the last descriptor that leads to it. */
void process_release_stderr(void);

/* Name of a process, "?" when it is gone. buf has 17 bytes or more. */
void process_comm(pid_t pid, char buf[17]);

/* Pid of another worker with this (canonical) target; 0: none seen. */
pid_t process_worker_of(const char *target);

/* Does a process use this very directory as cwd, root or through a descriptor? Tells who and how. */
bool process_uses_dir(const char *dir, pid_t *pid, const char **how);

#endif
