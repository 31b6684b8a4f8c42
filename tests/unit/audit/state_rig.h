/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What each test of check-state gets: the world of a small migration, put together with the real modules, in every
 * state at once, as a killed worker leaves it; and ways to change it, to run the check and to look at what it told.
 *
 * The target is that of a struct env (../target/env.h), which also sets up and tears down; the catalog lies beside its
 * directory.  No source is needed: the check never looks at one.  Whatever cannot be done fails the test.  Names are
 * relative to the directory whose descriptor is given.
 */
#ifndef TESTS_AUDIT_STATE_RIG_H
#define TESTS_AUDIT_STATE_RIG_H

#include "../target/env.h"

#include "audit/audit.h"

/* The oids.  Those from STUB to STUB_IN_IT are marks on the target without a row; NEVER was not reserved. */
enum {
	ROOT = 1, UNLISTED = 2, LISTED = 3, FILE_FOUND = 4, FILE_CLEAN = 5, FILE_PUT_ASIDE = 6, LINK = 7, FIFO = 8, DONE = 9,
	FILE_DONE = 10, DELETED = 11, DELETING = 12, HELD = 13, CHANGED = 14, FILE_AGAIN = 15, NAME = 16, EMPTY = 17,
	STUB = 40, STUB_DIR = 41, STUB_IN_IT = 42, SHADOW = 43, NEVER = 100,
};

struct world {
	struct env *e;
	struct catalog *c;
	char state[4300];			/* the catalog's directory */
	int listed, unlisted, done;		/* directories; -1: not made */
	int held;				/* a descriptor that a test sets, closed in the end; -1: none */
	/* what the last check told: */
	struct audit_state told;
	unsigned n;				/* problems */
	char text[20000];			/* one line "OID: TEXT" for each */
};

/* One function for each further file of tests; returns the number of failures. */
int test_state_breaks(struct env *e);

/* ---- making it ---- */

struct world *state_make(struct env *e);	/* an empty catalog and an untouched target */
struct world *state_make_full(struct env *e);	/* everything, the root guarded: each oid above but NEVER is in it */
void state_unmake(struct world *w);		/* in the end, in any state; the target's directory is env_teardown()'s */

void state_begin(struct world *w);		/* as engine.c begins a migration: stamp 6 in the catalog, 7 on the target */
void state_fill_done(struct world *w);		/* w->done: what is complete, and what applications have done */

/* ---- changing it ---- */

/* A row, with a reason if its state needs one. */
void state_add_row(struct world *w, const struct catalog_row *row);
void state_move(struct world *w, uint64_t oid, enum catalog_state to);
/* A marked stub without a row. */
void state_stub(struct world *w, int dir, const char *name, mode_t mode, uint64_t oid, struct target_handle *h);
void state_set_mark(struct world *w, int dir, const char *name, uint64_t oid, uint64_t limit, uint32_t flags);
void state_remove_mark(struct world *w, int dir, const char *name);
int state_open_dir(int dir, const char *name);	/* -> O_RDONLY descriptor */

/* ---- asking ---- */

void state_ask(struct world *w, struct target *t);	/* t: the world's, or NULL as audit_state() allows */
void state_hear(void *arg, const struct audit_problem *p);	/* for audit_state() itself: arg is the world */
void state_expect_none(struct world *w, const char *when);
/* Exactly one problem, with this oid and these words. */
void state_expect(struct world *w, const char *when, uint64_t oid, const char *words);

#endif
