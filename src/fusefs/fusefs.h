/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The mount: presents the target directory to applications while it fills up.
 *
 * Executes every operation on the target through handles and descriptors
 * (target.h) and asks the engine for conditions first (engine/access.h).  A
 * handler never waits for the network: it parks the request and is run again
 * when woken.
 *
 * Life: fusefs_start() mounts over the target directory and serves with its own
 * threads; fusefs_detach() takes the mount away under running applications and
 * leaves the plain directory; fusefs_wait() returns when the last old
 * descriptor is gone.  fusefs_stop() ends an unfinished migration's mount.
 *
 * Errors: 0 or -errno and one line.
 */
#ifndef DMM_FUSEFS_FUSEFS_H
#define DMM_FUSEFS_FUSEFS_H

#include <stdbool.h>
#include <stdint.h>

#include "base/err.h"
#include "engine/access.h"
#include "target/target.h"

struct fusefs;

struct fusefs_config {
	struct target *target;
	struct engine *engine;		/* NULL: everything is complete (tests of POSIX behaviour) */
	const char *mountpoint;		/* absolute path of the target directory */
	const char *fsname;		/* what mount(8) shows as the device: the source */
	unsigned threads;		/* readers of /dev/fuse; 0 = a sensible number */
	uint64_t source_timeout;	/* ns: an application waits so long for a source that does not answer, then EIO; 0 = for ever */
	bool no_passthrough;		/* for tests: behave as on a kernel without it */
};

/* Mounts and returns when the mount answers.  Type "fuse.dmm", flags copied from the target's own mount. */
int fusefs_start(const struct fusefs_config *cfg, struct fusefs **out, struct err *e);

struct fusefs_status {
	uint64_t nodes;			/* inodes the kernel knows */
	uint64_t open_slow, open_passthrough, parked;
	bool passthrough, resend;	/* what this kernel offers */
};
void fusefs_status(struct fusefs *f, struct fusefs_status *out);

/* Parked requests, oldest first: who waits for what since when. Up to max; returns how many. */
struct fusefs_stalled {
	pid_t pid;
	uint64_t since;			/* clock_mono() */
	char op[16];
	struct target_handle inode;
};
unsigned fusefs_stalled(struct fusefs *f, struct fusefs_stalled *out, unsigned max);

/* Who keeps the detach waiting (slow opens) or would notice it (cwd inside); one line each, at most max.  Reads /proc. */
struct fusefs_holder {
	pid_t pid;
	char comm[17];
	char what[8];			/* "cwd", "root", "fd", "map" */
	char path[256];
};
unsigned fusefs_holders(struct fusefs *f, struct fusefs_holder *out, unsigned max);

/*
 * Take the mount away: entry and attribute timeouts 0, epoch, every node invalidated, lazy unmount.
 * -EBUSY while slow opens exist (their mappings would write over native writes), or, unless `force`,
 * while a process has its cwd or root inside.  The caller has made the root plain before (mode!).
 */
int fusefs_detach(struct fusefs *f, bool force, struct err *e);
/* Wait until /dev/fuse says ENODEV: the last old descriptor is closed.  timeout_ms < 0: for ever. 1 = gone, 0 = timeout. */
int fusefs_wait(struct fusefs *f, int timeout_ms);
/* Unmount (lazily if busy) without detaching and end all threads: parked requests fail with EIO.  For a clean stop. */
void fusefs_stop(struct fusefs *f);
/* After fusefs_wait() or fusefs_stop(). */
void fusefs_free(struct fusefs *f);

/* Is a FUSE mount of ours over this directory, and does it still answer?
 * 0 no mount of type fuse.dmm; 1 alive; 2 dead (its worker is gone). */
int fusefs_probe_mount(const char *dir);
/* Lazily unmount dead mounts of ours at this directory (several may be stacked). */
int fusefs_clean_dead(const char *dir, struct err *e);

#endif
