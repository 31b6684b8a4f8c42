/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A migration without a mount: a posix source, a target directory, an engine, and the needs of
 * access.h called by hand, as a handler of the file system does.
 *
 * Each test gets a struct world with empty directories; world_start() begins or continues its
 * migration.  Killing: world_die_after() lives a part of a life in a process of its own that SIGKILL ends.
 */
#ifndef DMM_TEST_ENGINE_WORLD_H
#define DMM_TEST_ENGINE_WORLD_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <sys/xattr.h>
#include <unistd.h>

#include <cmocka.h>

#include "engine/engine.h"

struct world {
	char dir[64], src[96], dst[96], state[96];
	struct catalog *catalog;
	struct target *target;
	struct source *source;
	struct engine *engine;
};

struct waiter {
	struct access_wait w;
	pthread_mutex_t mu;
	pthread_cond_t cond;
	bool woken;
	int err;
};

/* Evaluate a need again and again, as a handler does; returns its final answer. */
#define NEED(call)                                                              \
	({                                                                      \
		struct waiter W = { .w.wake = world_wake, .mu = PTHREAD_MUTEX_INITIALIZER, \
				    .cond = PTHREAD_COND_INITIALIZER };         \
		int rc_;                                                        \
		while ((rc_ = (call)) == ACCESS_PARKED) {                       \
			pthread_mutex_lock(&W.mu);                              \
			while (!W.woken)                                        \
				pthread_cond_wait(&W.cond, &W.mu);              \
			W.woken = false;                                        \
			rc_ = W.err;                                            \
			pthread_mutex_unlock(&W.mu);                            \
			if (rc_)                                                \
				break;                                          \
		}                                                               \
		rc_;                                                            \
	})

void world_wake(struct access_wait *aw, int err);

int world_setup(void **state);
int world_teardown(void **state);
#define WORLD_TEST(f) cmocka_unit_test_setup_teardown(f, world_setup, world_teardown)

void world_put_file(const char *dir, const char *name, const char *text, size_t n);
void world_make_tree(struct world *w);		/* some 300 objects of all types in the source */
void world_assert_same(struct world *w);	/* source and target, and no mark is left */

void world_start(struct world *w, bool hold);
void world_stop(struct world *w);
void world_finish(struct world *w);		/* wait for the end, and detach */
void world_die_after(struct world *w, void (*life)(struct world *));

struct eobj *world_root(struct world *w);
struct eobj *world_look(struct world *w, const char *name);	/* in the root */
/* What LOOKUP does; NULL: there is no such name. */
struct eobj *world_lookup(struct world *w, int dirfd, struct eobj *dir, const char *name);

#endif
