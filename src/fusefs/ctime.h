/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Change times that DMM's own work does not move.
 *
 * Landing content, putting times back and removing the mark all set the inode's
 * ctime, which nothing can put back.  A backup that stats a file, opens it (which fetches it)
 * and stats it again would report "file changed as we read it".  So a
 * node that was incomplete when the kernel met it shows the source's ctime until
 * an application changes the inode; then the real one, as of that change.
 *
 * Kept per node, so it ends with the node, and with the mount.
 *
 * Threads: any.  Calls lock the node for moments.
 */
#ifndef DMM_FUSEFS_CTIME_H
#define DMM_FUSEFS_CTIME_H

#include <sys/stat.h>

#include "node.h"

struct fusefs;

struct ctime {
	struct timespec shown;	/* what applications see ... */
	struct timespec real;	/* ... as long as the inode says this, or is incomplete */
	bool touched;		/* an application has changed the inode: what it says next is shown */
};

/* Correct st->st_ctim.  o: the node's object or NULL; real: what the inode said before access_overlay_stat(). */
void ctime_show(struct fusefs *f, struct node *n, struct eobj *o, const struct timespec *real,
		struct stat *st);
/* Just before an application's operation changes the inode. */
void ctime_touched(struct fusefs *f, struct node *n);
/* The same, for an inode that the kernel may not know. */
void ctime_touched_handle(struct fusefs *f, const struct target_handle *h);
/* DMM has changed the inode: what it says now is not the application's doing. */
void ctime_dmm_changed(struct fusefs *f, struct node *n);

#endif
