/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The identity with which one thread creates files.
 *
 * FACTS, FUSE: ownership of what is created follows the thread's fsuid and
 * fsgid; changing fsuid away from 0 drops capabilities from the effective
 * set, so they are raised again.  Raw system calls: glibc's setfsuid() is
 * per thread too, but its capset wrapper does not exist.
 *
 * Threads: affects the calling thread only.
 */
#ifndef DMM_BASE_CREDS_H
#define DMM_BASE_CREDS_H

#include <sys/types.h>

/*
 * Create as uid:gid from now on, with all permitted capabilities effective.
 * A uid or gid of -1 is refused (idmapped mounts deliver it): -EOVERFLOW.
 */
int creds_set_fs(uid_t uid, gid_t gid);

/* Give this thread a umask (and cwd) of its own: unshare(CLONE_FS).  0 or -errno. */
int creds_private_umask(void);

#endif
