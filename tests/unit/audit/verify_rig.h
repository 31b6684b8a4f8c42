/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * What each test of verification gets: a target and a source directory, an empty catalog, and ways to fill them, to
 * damage what is stored below the page cache, and to run a verification and look at what it told.
 *
 * The target lies on a file system under test, on an image whose bytes can be changed.  The catalog is filled by hand,
 * as the engine leaves it; checksums are computed from the definition in base/checksum.h, not with its code.
 *
 * Tests are parameterised by giving cmocka the struct rig of a file system as the initial state of every test (TEST);
 * rig_setup() and rig_teardown() make and remove the directories.  Whatever cannot be done fails the test.  Names are
 * relative to the target's directory unless a directory is given.
 */
#ifndef TESTS_AUDIT_VERIFY_RIG_H
#define TESTS_AUDIT_VERIFY_RIG_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <time.h>

#include "audit/audit.h"

enum { MIB = 1 << 20, RIG_FINDINGS = 64 };

struct rig {
	const char *kind;		/* "ext4", "xfs" or "btrfs" */
	char dir[2048];			/* of all of them */
	char mount[2100], image[2100];	/* where it is mounted, and its device's bytes */
	unsigned count;			/* of tests so far: names their directories */
	uint64_t seed;			/* state of rig_bytes() */
	/* for one test: */
	char target_dir[2200], source_dir[2200], state[2200];
	struct target *t;
	struct catalog *c;		/* NULL when the test has closed it */
	uint64_t oid;			/* the last one given to a row */
	off_t flipped;			/* where rig_damage() was done in the image */
	/* what the last rig_run() told: */
	struct audit_finding found[RIG_FINDINGS];
	unsigned nfound;
	unsigned progress_calls;	/* in all runs of the test */
	struct audit_verify_progress last;
	uint64_t stop_at;		/* asks the run to stop from then on: clock_mono(); 0: never */
};

/* ---- the world ---- */

/* A new file system of a kind on dir/images/kind, mounted on dir/kind, in the caller's mount namespace; dir/images must exist.
 * Ends the process on failure. */
void rig_mount(struct rig *g, const char *dir, const char *kind);
void rig_umount(struct rig *g);		/* and its image is gone */
bool rig_first(const struct rig *g);	/* the file system where tests run for which the file system does not matter */

int rig_setup(void **state);		/* initial state: a mounted struct rig */
int rig_teardown(void **state);

__attribute__((format(printf, 1, 2))) void rig_shell(const char *fmt, ...);	/* ends the process on failure */
int rig_remove(const char *dir);	/* with everything in it, but no other file system -> 0, or not all of it */

#define TEST(f, rig) cmocka_unit_test_prestate_setup_teardown(f, rig_setup, rig_teardown, rig)
/* Run struct CMUnitTest tests[] under a name that tells the file system. */
#define RIG_RUN(rig, what, tests) ({ \
	char name_[64]; \
	snprintf(name_, sizeof name_, "%s on %s", what, (rig)->kind); \
	cmocka_run_group_tests_name(name_, tests, NULL, NULL); })

/* One function for each further file of tests; returns the number of failures. */
int test_verify_resume(struct rig *g);
int test_verify_source(struct rig *g);

/* ---- content ---- */

char *rig_bytes(struct rig *g, size_t n);	/* reproducible: the seed is fixed; the caller frees */
void rig_checksum(const char *data, size_t n, uint8_t out[16]);	/* for files below 1 TiB */
char *rig_path(const char *dir, const char *name);	/* dir/name, valid until the call after the next one */
void rig_write(const char *dir, const char *name, const char *data, size_t n);	/* a file; also flushed */

/* ---- rows ---- */

/* The row of what has this name, in the root, with a new oid; no checksum. */
void rig_row(struct rig *g, const char *name, struct catalog_row *row);
void rig_add_row(struct rig *g, const struct catalog_row *row, enum catalog_state state);
void rig_set_ctime(struct rig *g, uint64_t oid, const char *name);	/* records what the file has now */
/* As the engine leaves a migrated file: on the disk, its row complete.  data NULL: no checksum is recorded. */
uint64_t rig_migrated(struct rig *g, const char *name, const char *data, size_t n);	/* of a file that exists -> oid */
uint64_t rig_file(struct rig *g, const char *name, size_t n);	/* makes the file, too -> oid */

/* ---- below the page cache ---- */

/* The 4096 bytes of the file at `at` as applications see them, in the page cache from now on.  Valid until the
 * next call of this or of rig_damage(). */
char *rig_page(struct rig *g, const char *name, size_t at);
/* Flip a bit of the page of the file at `at` on the device, and only there.  The page's first 512 bytes must be unique. */
void rig_damage(struct rig *g, const char *name, size_t at);
void rig_undo_damage(struct rig *g);		/* the last one */
/* What damage of content must be called: btrfs has checksums of its own and refuses to read it. */
enum audit_verdict rig_damaged(const struct rig *g);

/* ---- as applications do ---- */

void rig_touch(struct rig *g, const char *name);	/* changes content, and thereby the times; the size stays */
void rig_put_mtime(struct rig *g, const char *name, struct timespec mtime);

/* ---- running ---- */

/* Verify catalog and target of the rig as cfg says otherwise; 0 or -EINTR, and findings and *out tell about this run. */
int rig_run(struct rig *g, struct audit_verify_config cfg, struct audit_verify_progress *out);
void rig_run_all(struct rig *g, struct audit_verify_progress *out);	/* from the start to the end */
const struct audit_finding *rig_finding(struct rig *g, uint64_t oid);	/* NULL: none; told twice is a failure */
void rig_expect(struct rig *g, uint64_t oid, enum audit_verdict v, const char *path);	/* there is this finding */

#endif
