/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What each test of the target gets: a fresh directory on the file system
 * under test, opened as a target with an identity.
 *
 * Tests are parameterised by giving cmocka the struct env of a file system as the initial
 * state of every test (TEST); setup and teardown make and remove the directory.
 */
#ifndef TESTS_TARGET_ENV_H
#define TESTS_TARGET_ENV_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "target/target.h"

enum { ENV_RESERVED = 0xd1234567 };

struct env {
	const char *kind;	/* "ext4", "xfs" or "btrfs" */
	char mount[4096];	/* where it is mounted */
	unsigned count;		/* of tests so far: names their directories */
	uint64_t seed;		/* state of env_random() */
	/* for one test: */
	char dir[4200];
	struct target_id id;
	struct target *t;
	int root;		/* target_root_fd() */
};

int env_setup(void **state);	/* initial state: struct env with kind and mount */
int env_teardown(void **state);

#define TEST(f, env) cmocka_unit_test_prestate_setup_teardown(f, env_setup, env_teardown, env)
/* Run struct CMUnitTest tests[] under a name that tells the file system. */
#define ENV_RUN(env, what, tests) ({ \
	char name_[64]; \
	snprintf(name_, sizeof name_, "%s on %s", what, (env)->kind); \
	cmocka_run_group_tests_name(name_, tests, NULL, NULL); })

/* One function for each file of tests; returns the number of failures. */
int test_open(struct env *e);
int test_unsuitable(const char *dir);	/* makes its own file systems under dir */
int test_handle(struct env *e);
int test_mark(struct env *e);
int test_stub(struct env *e);
int test_torn(struct env *e);
int test_land(struct env *e);
int test_holder(struct env *e);

uint64_t env_random(struct env *e);	/* reproducible: the seed is fixed per file system */
void env_bytes(struct env *e, void *p, size_t n);

/* Descriptors of one name, links not followed; the test fails if there is none. */
int env_path(int dirfd, const char *name);	/* O_PATH */
void env_file(int dirfd, const char *name);	/* an application's empty file */
int env_dir(int dirfd, const char *name);	/* an application's directory -> O_RDONLY descriptor */
struct stat env_stat(int dirfd, const char *name);
bool env_exists(int dirfd, const char *name);
unsigned env_entries(int dirfd);		/* how many names, without "." and ".." */

/* An application's object of any type S_IF*; symlinks point to "nowhere". */
void env_object(int dirfd, const char *name, mode_t type);
extern const mode_t env_types[7];

#endif
