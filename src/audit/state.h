/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What the parts of audit_state() share: state.c begins and looks at the root, state_row.c follows the rows to their inodes,
 * state_walk.c goes through the target and follows marks to their rows. */
#ifndef DMM_AUDIT_STATE_H
#define DMM_AUDIT_STATE_H

#include "audit/audit.h"

enum { STATE_PATH = 4096 };

struct state {
	struct catalog *c;
	struct target *t;
	void (*problem)(void *arg, const struct audit_problem *p);
	void *arg;
	struct audit_state *out;
	enum catalog_phase phase;
	bool begun;			/* the root has a row: everything before that is being made */
	struct catalog_row root;
	struct target_handle root_handle;	/* of the target that was given */
	bool foreign;			/* after the end: another migration uses the directory by now */
	char path[STATE_PATH];
};

void state_say(struct state *s, uint64_t oid, const char *fmt, ...) __attribute__((format(printf, 3, 4)));

/* The handle of an object's inode; false: the row has none that can be one. */
bool state_handle(const struct catalog_row *row, struct target_handle *h);
bool state_same_type(const struct catalog_row *row, mode_t mode);
/* Put aside, or put aside by an earlier worker and now being tried again: its inode may be anything, that is why. */
bool state_suspect(struct state *s, const struct catalog_row *row);
const char *state_name(enum catalog_state state);

int state_rows(struct state *s);	/* 0, or -errno: the catalog cannot be read on */
int state_walk(struct state *s);	/* 0 or -errno */

#endif
