/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Names and metadata of incomplete objects: lookup, creation, listing, removal, renaming. */
#include "job.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

static int up(void **s) { return rig_up(s, RIG_ENGINE); }
static int up_root(void **s) { return rig_up(s, RIG_ENGINE | RIG_ROOT); }

/* A name that is not decided yet is asked for; "no" is cached only once the directory is listed. */
static void test_lookup(void **state)
{
	struct rig *r = *state;
	struct eobj *d = fake_object(r->en, 1, GATE_ALL & ~GATE_NAME);
	struct job j = JOB(r, job_stat, .name = "d/new"), k = JOB(r, job_stat, .name = "d/absent");
	int fd;

	rig_stub(r, 1, "d", S_IFDIR | 0755, NULL);
	job_start(&j);
	rig_parked(r, 1);
	fd = openat(rig_backing(r), "d/new", O_CREAT | O_WRONLY, 0600);	/* the source had it */
	close(fd);
	fake_open(d, GATE_NAME);
	assert_int_equal(job_end(&j), 0);
	job_start(&k);
	assert_int_equal(job_end(&k), -ENOENT);
	fd = openat(rig_backing(r), "d/absent", O_CREAT | O_WRONLY, 0600);
	close(fd);
	k = JOB(r, job_stat, .name = "d/absent");	/* not cached */
	job_start(&k);
	assert_int_equal(job_end(&k), 0);
	d->listed = true;
	k = JOB(r, job_stat, .name = "d/never");
	job_start(&k);
	assert_int_equal(job_end(&k), -ENOENT);
	fd = openat(rig_backing(r), "d/never", O_CREAT | O_WRONLY, 0600);
	close(fd);
	k = JOB(r, job_stat, .name = "d/never");	/* final, so cached for ever */
	job_start(&k);
	assert_int_equal(job_end(&k), -ENOENT);
}

static void test_create_in_unlisted(void **state)
{
	struct rig *r = *state;
	struct eobj *d = fake_object(r->en, 1, GATE_ALL & ~GATE_RECORD);
	struct job j = JOB(r, job_mkdir, .name = "d/sub"), c = JOB(r, job_open, .name = "d/f", .arg = O_CREAT | O_RDWR);

	rig_stub(r, 1, "d", S_IFDIR | 0755, NULL);
	job_start(&j);
	rig_parked(r, 1);
	assert_false(job_exists_below(r, "d/sub"));
	fake_open(d, GATE_RECORD);
	assert_int_equal(job_end(&j), 0);
	assert_true(d->times_taken > 0);
	d->gates &= ~(unsigned)GATE_RECORD;
	job_start(&c);
	rig_parked(r, 1);
	assert_false(job_exists_below(r, "d/f"));
	fake_open(d, GATE_RECORD);
	assert_true(job_end(&c) >= 0);
	assert_int_equal(write(c.result, "x", 1), 1);	/* complete from the start */
	close(c.result);
}

/* A stub that is still being made is not there yet, for nobody (D1). */
static void test_torn(void **state)
{
	struct rig *r = *state;
	struct eobj *d = fake_object(r->en, 1, GATE_ALL & ~GATE_NAME), *o = fake_object(r->en, 2, GATE_ALL);
	struct job j = JOB(r, job_stat, .name = "d/f"), m = JOB(r, job_rename, .name = "d/mine", .name2 = "d/g");
	struct target_mark mark = { .oid = 2 };
	int fd;

	d->listed = false;
	rig_stub(r, 1, "d", S_IFDIR | 0755, NULL);
	fd = openat(rig_backing(r), "d/f", O_CREAT | O_WRONLY, 0);
	assert_int_equal(fchown(fd, 4000000001u, 4000000001u), 0);
	job_start(&j);
	rig_parked(r, 1);
	assert_int_equal(target_mark_set(r->target, fd, &mark), 0);
	assert_int_equal(fchown(fd, 0, 0), 0);
	close(fd);
	fake_open(d, GATE_NAME);
	assert_int_equal(job_end(&j), 0);
	assert_true(o->refs > 0);	/* not taken for complete */
	/* a leftover nobody finishes */
	fd = openat(rig_backing(r), "d/left", O_CREAT | O_WRONLY, 0);
	assert_int_equal(fchown(fd, 4000000001u, 4000000001u), 0);
	close(fd);
	j = JOB(r, job_stat, .name = "d/left");
	job_start(&j);
	assert_int_equal(job_end(&j), -ENOENT);
	/* one that comes between the kernel's look and a rename onto its name */
	rig_write(rig_path(r, "d/mine"), "m", 1);
	d->gates &= ~(unsigned)GATE_RECORD;
	job_start(&m);
	rig_parked(r, 1);
	fake_object(r->en, 3, GATE_ALL & ~GATE_INTENT);
	rig_stub(r, 3, "d/g", S_IFREG | 0644, "theirs");
	fake_open(d, GATE_RECORD);
	rig_parked(r, 1);		/* it is a victim like any other now */
	fake_open(&r->en->obj[3], GATE_INTENT);
	assert_int_equal(job_end(&m), 0);
	assert_int_equal(r->en->obj[3].deleted_gone, 1);
}

static int do_exchange(struct job *j)
{
	return renameat2(AT_FDCWD, rig_path(j->r, j->name), AT_FDCWD, rig_path(j->r, j->name2), RENAME_EXCHANGE)
		? -errno : 0;
}

static void test_exchange(void **state)
{
	struct rig *r = *state;
	struct eobj *a = fake_object(r->en, 1, GATE_ALL), *b = fake_object(r->en, 2, GATE_ALL & ~GATE_RECORD);
	struct job j = JOB(r, do_exchange, .name = "a", .name2 = "b");
	char buf[4];

	rig_stub(r, 1, "a", S_IFREG | 0644, "A");
	rig_stub(r, 2, "b", S_IFREG | 0644, "B");
	job_start(&j);
	rig_parked(r, 1);
	fake_open(b, GATE_RECORD);
	assert_int_equal(job_end(&j), 0);
	assert_int_equal(a->deleted + b->deleted, 0);
	assert_int_equal(rig_read(rig_path(r, "a"), buf, 4), 1);
	assert_int_equal(buf[0], 'B');
}

/* The root's own attributes live in the catalog until detach. */
static void test_root(void **state)
{
	struct rig *r = *state;
	struct eobj *o = &r->en->obj[RIG_ROOT_OID];
	struct job j = JOB(r, job_list, .name = ".");
	struct stat a, b;

	assert_int_equal(fstat(rig_backing(r), &a), 0);
	assert_int_equal(chmod(r->dir, 0711), 0);
	assert_int_equal(r->en->root_sets, 1);
	assert_int_equal(fstat(rig_backing(r), &b), 0);
	assert_int_equal(a.st_mode, b.st_mode);
	o->gates &= ~(unsigned)GATE_LISTED;
	job_start(&j);
	rig_parked(r, 1);
	fake_open(o, GATE_LISTED);
	assert_true(job_end(&j) >= 2);
}

static void test_list(void **state)
{
	struct rig *r = *state;
	struct eobj *d = fake_object(r->en, 1, GATE_ALL & ~GATE_LISTED);
	struct job j = JOB(r, job_list, .name = "d");

	rig_stub(r, 1, "d", S_IFDIR | 0755, NULL);
	job_start(&j);
	rig_parked(r, 1);
	close(openat(rig_backing(r), "d/one", O_CREAT | O_WRONLY, 0600));
	fake_object(r->en, 2, GATE_ALL & ~GATE_ATTACH);	/* would have to be adopted first */
	rig_stub(r, 2, "d/two", S_IFREG | 0600, "");
	fake_open(d, GATE_LISTED);
	assert_int_equal(job_end(&j), 4);	/* . .. one two: an adoption does not hold the list up */
	assert_true(d->visited > 0);
	rig_parked(r, 0);
	assert_int_equal(fake_waiting(r->en), 0);
}

static void test_adoption_parks_lookup(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~GATE_ATTACH);
	struct job j = JOB(r, job_stat, .name = "f");

	rig_stub(r, 1, "f", S_IFREG | 0600, "x");
	job_start(&j);
	rig_parked(r, 1);
	fake_open(o, GATE_ATTACH);
	assert_int_equal(job_end(&j), 0);
}

static void test_unlink(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~GATE_INTENT), *h = fake_object(r->en, 2, GATE_ALL);
	struct job j = JOB(r, job_unlink, .name = "f"), k = JOB(r, job_unlink, .name = "hard");

	rig_stub(r, 1, "f", S_IFREG | 0644, "x");
	job_start(&j);
	rig_parked(r, 1);
	assert_true(job_exists_below(r, "f"));
	fake_open(o, GATE_INTENT);
	assert_int_equal(job_end(&j), 0);
	assert_false(job_exists_below(r, "f"));
	assert_int_equal(o->deleted, 1);
	assert_int_equal(o->deleted_gone, 1);

	h->hide = true;			/* the source may have more names of it (D5) */
	rig_stub(r, 2, "hard", S_IFREG | 0644, "x");
	job_start(&k);
	assert_int_equal(job_end(&k), 0);
	assert_false(job_exists_below(r, "hard"));
	assert_int_equal(h->hidden, 1);
	assert_int_equal(h->deleted_gone, 0);
	assert_int_equal(target_holder_has(r->target, 2), 1);
}

static void test_rmdir(void **state)
{
	struct rig *r = *state;
	struct eobj *d = fake_object(r->en, 1, GATE_ALL & ~GATE_LISTED);
	struct job j = JOB(r, job_rmdir, .name = "d");

	rig_stub(r, 1, "d", S_IFDIR | 0755, NULL);
	job_start(&j);
	rig_parked(r, 1);
	close(openat(rig_backing(r), "d/arrived", O_CREAT | O_WRONLY, 0600));
	fake_open(d, GATE_LISTED);
	assert_int_equal(job_end(&j), -ENOTEMPTY);	/* the source's names count */
	assert_int_equal(d->intents, 0);		/* refused before anything was said */
	assert_int_equal(d->deleted, 0);
	assert_int_equal(unlinkat(rig_backing(r), "d/arrived", 0), 0);
	j = JOB(r, job_rmdir, .name = "d");
	job_start(&j);
	assert_int_equal(job_end(&j), 0);
	assert_int_equal(d->deleted_gone, 1);
}

static void test_rename_over(void **state)
{
	struct rig *r = *state;
	struct eobj *a = fake_object(r->en, 1, GATE_ALL & ~GATE_RECORD), *v = fake_object(r->en, 2, GATE_ALL),
		    *h = fake_object(r->en, 3, GATE_ALL);
	struct job j = JOB(r, job_rename, .name = "a", .name2 = "v"), k = JOB(r, job_rename, .name = "v", .name2 = "h");
	char b[4];

	rig_stub(r, 1, "a", S_IFREG | 0644, "A");
	rig_stub(r, 2, "v", S_IFREG | 0644, "V");
	rig_stub(r, 3, "h", S_IFREG | 0644, "H");
	h->hide = true;
	job_start(&j);
	rig_parked(r, 1);
	assert_true(job_exists_below(r, "a"));
	fake_open(a, GATE_RECORD);
	assert_int_equal(job_end(&j), 0);
	assert_int_equal(v->deleted_gone, 1);
	assert_int_equal(v->intents, 1);
	assert_int_equal(a->deleted, 0);
	job_start(&k);
	assert_int_equal(job_end(&k), 0);
	assert_int_equal(h->hidden, 1);
	assert_int_equal(h->deleted_gone, 0);
	assert_int_equal(target_holder_has(r->target, 3), 1);
	assert_int_equal(rig_read(rig_path(r, "h"), b, 4), 1);
	assert_int_equal(b[0], 'A');
}

static void test_link_and_metadata(void **state)
{
	struct rig *r = *state;
	struct eobj *o = fake_object(r->en, 1, GATE_ALL & ~GATE_RECORD);
	struct job j[3] = { JOB(r, job_link, .name = "f", .name2 = "g"), JOB(r, job_chmod, .name = "f"),
			    JOB(r, job_setxattr, .name = "f") };
	struct stat st;

	rig_stub(r, 1, "f", S_IFREG | 0644, "x");
	for (int i = 0; i < 3; i++)
		job_start(&j[i]);
	for (int i = 0; i < 300 && fake_waiting(r->en) < 2; i++)	/* chmod and setxattr hold the inode's lock in turn */
		nanosleep(&(struct timespec){ .tv_nsec = 1000000 }, NULL);
	assert_false(job_exists_below(r, "g"));
	assert_int_equal(fstatat(rig_backing(r), "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0644);
	fake_open(o, GATE_RECORD);
	for (int i = 0; i < 3; i++)
		assert_int_equal(job_end(&j[i]), 0);
	assert_true(job_exists_below(r, "g"));
	assert_int_equal(fstatat(rig_backing(r), "f", &st, 0), 0);
	assert_int_equal(st.st_mode & 07777, 0751);
}

#define T(f) cmocka_unit_test_setup_teardown(f, up, rig_down)

int main(void)
{
	static const struct CMUnitTest tests[] = {
		T(test_lookup), T(test_create_in_unlisted), T(test_torn), T(test_exchange),
		cmocka_unit_test_setup_teardown(test_root, up_root, rig_down), T(test_list),
		T(test_adoption_parks_lookup), T(test_unlink), T(test_rmdir), T(test_rename_over),
		T(test_link_and_metadata),
	};

	umask(022);
	return rig_possible() ? cmocka_run_group_tests(tests, NULL, NULL) : 77;
}
