/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A scratch directory with our mount over it, served by the test itself. */
#ifndef DMM_TEST_FUSEFS_RIG_H
#define DMM_TEST_FUSEFS_RIG_H

#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <setjmp.h>
#include <cmocka.h>

#include <stdbool.h>
#include <sys/types.h>

#include "fake_access.h"
#include "fusefs/fusefs.h"

struct rig {
	char dir[64];
	struct target *target;
	struct engine *en;
	struct fusefs *f;
};

enum { RIG_ENGINE = 1, RIG_PLAIN = 2, RIG_ROOT = 4, RIG_IMPATIENT = 8 };	/* ROOT: the root is incomplete; IMPATIENT: source_timeout 300 ms */
#define RIG_ROOT_OID 500

bool rig_possible(void);		/* root and /dev/fuse */
int rig_up(void **state, int how);	/* cmocka setup */
int rig_down(void **state);		/* cmocka teardown: stops, checks that nothing is left, removes */

/* Path below the mount; a ring of static buffers. */
const char *rig_path(const struct rig *r, const char *name);
/* Descriptor of the directory beneath the mount. */
int rig_backing(const struct rig *r);
/* A file or directory on the target, with a mark naming this oid. */
void rig_stub(struct rig *r, int oid, const char *name, mode_t mode, const char *content);
void rig_handle(struct rig *r, const char *name, struct target_handle *h);

void rig_write(const char *path, const void *data, size_t n);
ssize_t rig_read(const char *path, void *buf, size_t n);	/* -errno */
/* Wait until the mount has exactly n parked requests; fails the test after 5 s. */
void rig_parked(struct rig *r, unsigned n);
/* Run in a child; its exit status.  The child must not touch cmocka. */
int rig_child(int (*fn)(void *arg), void *arg);
pid_t rig_spawn(int (*fn)(void *arg), void *arg);
int rig_reap(pid_t pid);	/* exit status, or 128 + signal */

#endif
