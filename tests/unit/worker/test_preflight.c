/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Each refusal, and that a refusal leaves the target as it was.  Needs root and a /var/tmp that can carry a target. */
#include "unit.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "source/source.h"
#include "worker/opcount.h"
#include "worker/preflight.h"
#include "worker/probe.h"
#include "worker/status.h"

static char base[PATH_MAX], dir[PATH_MAX + 8];
static struct target *target;

static int setup(void **state)
{
	char template[] = "/var/tmp/dmm-test-XXXXXX";

	(void)state;
	if (!mkdtemp(template) || !realpath(template, base))
		return -1;
	snprintf(dir, sizeof dir, "%s/target", base);
	return mkdir(dir, 0755) || target_open(dir, &target, NULL) ? -1 : 0;
}

static int teardown(void **state)
{
	char command[PATH_MAX + 16];

	(void)state;
	target_close(target);
	snprintf(command, sizeof command, "rm -rf '%s'", base);
	return system(command);
}

static int fresh(struct err *e)
{
	struct stat before, after;
	int r;

	assert_int_equal(stat(dir, &before), 0);
	r = preflight_fresh(target, dir, false, e);
	assert_int_equal(stat(dir, &after), 0);
	assert_memory_equal(&before.st_mtim, &after.st_mtim, sizeof before.st_mtim);
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof before.st_ctim);
	return r;
}

static void make(const char *name, bool is_dir)
{
	char path[PATH_MAX + 64];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	if (is_dir) {
		assert_int_equal(mkdir(path, 0700), 0);
		return;
	}
	fd = open(path, O_CREAT | O_WRONLY, 0600);
	assert_true(fd >= 0);
	close(fd);
}

static void test_empty(void **state)
{
	struct err e;

	(void)state;
	assert_int_equal(fresh(&e), 0);
	make("lost+found", true);
	assert_int_equal(fresh(&e), 0);
	make("lost+found/#12", false);
	assert_int_equal(fresh(&e), -ENOTEMPTY);
}

static void test_not_empty(void **state)
{
	struct err e;

	(void)state;
	make("odd\n\xff", false);
	assert_int_equal(fresh(&e), -ENOTEMPTY);
	assert_non_null(strstr(e.text, "it contains \"odd\\x0a\\xff\""));
}

static void test_foreign_lost_found(void **state)
{
	char path[PATH_MAX + 64];
	struct err e;

	(void)state;
	make("lost+found", true);
	snprintf(path, sizeof path, "%s/lost+found", dir);
	assert_int_equal(chown(path, 12345, 0), 0);
	assert_int_equal(fresh(&e), -ENOTEMPTY);
}

static void test_carries_a_migration(void **state)
{
	struct target_id id = { .migration = { 1, 2, 3 }, .reserved_id = 0xd0000001 };
	struct target_mark mark = { .oid = 1 };
	struct err e;

	(void)state;
	target_set_id(target, &id);
	assert_int_equal(target_stamp_set(target, 7), 0);
	assert_int_equal(fresh(&e), -EEXIST);
	assert_non_null(strstr(e.text, "--state"));
	target_close(target);
	assert_int_equal(target_open(dir, &target, &e), 0);
	target_set_id(target, &id);
	assert_int_equal(target_mark_set(target, target_root_fd(target), &mark), 0);
	assert_int_equal(fresh(&e), -EEXIST);
	assert_int_equal(preflight_fresh(target, dir, true, &e), 0);	/* our own start, cut off */
	make("x", false);
	assert_int_equal(preflight_fresh(target, dir, true, &e), -ENOTEMPTY);
}

static void test_identity(void **state)
{
	struct catalog_identity is = { .source = "nfs://h/a", .target = "/t" };
	struct err e;

	(void)state;
	assert_int_equal(preflight_identity(&is, "nfs://h/a", "/t", "/s", &e), 0);
	assert_int_equal(preflight_identity(&is, "nfs://h/b", "/t", "/s", &e), -EEXIST);
	assert_int_equal(preflight_identity(&is, "nfs://h/a", "/u", "/s", &e), -EEXIST);
	assert_non_null(strstr(e.text, "nfs://h/a to /t"));
	memset(is.source, 'x', sizeof is.source - 1);
	assert_int_equal(preflight_identity(&is, "nfs://h/a", "/t", "/s", &e), -EEXIST);
}

static void test_apart(void **state)
{
	char sub[PATH_MAX + 64];
	struct err e;

	(void)state;
	make("sub", true);
	snprintf(sub, sizeof sub, "%s/sub", dir);
	assert_int_equal(preflight_apart(NULL, dir, &e), 0);
	assert_int_equal(preflight_apart(sub, dir, &e), -EINVAL);
	assert_non_null(strstr(e.text, "is inside the target"));
	assert_int_equal(preflight_apart(dir, sub, &e), -EINVAL);
	assert_non_null(strstr(e.text, "is inside the source"));
	assert_int_equal(preflight_apart(dir, dir, &e), -EINVAL);
	assert_int_equal(preflight_apart("/usr", dir, &e), 0);
}

/* The counting layer passes everything on, and counts what is asked. */
static void test_opcount_and_probe(void **state)
{
	uint64_t counts[2][OPCOUNT_OPS];
	struct source *s, *top;
	struct source_limits limits;
	char url[PATH_MAX + 32];
	struct err e = { 0 };

	(void)state;
	make("x", false);
	snprintf(url, sizeof url, "file://%s", dir);
	assert_int_equal(source_open(url, &s, &e), 0);
	top = opcount_new(s);
	assert_non_null(top);
	source_limits(top, &limits);
	assert_true(limits.read_max > 0);
	assert_int_equal(probe_source(top, url, &e), 0);
	opcount_read(top, counts);
	assert_int_equal(counts[SOURCE_DEMAND][SOURCE_READDIR], 1);
	assert_int_equal(counts[SOURCE_BACKGROUND][SOURCE_READDIR], 0);
	assert_int_equal(counts[SOURCE_DEMAND][SOURCE_LOOKUP], 0);

	top = source_fault(top);
	assert_int_equal(source_fault_set(top, "readdir err=EACCES", &e), 0);
	assert_int_equal(probe_source(top, url, &e), -EACCES);
	assert_non_null(strstr(e.text, "cannot be listed"));
	source_close(top);
}

static void test_judgements(void **state)
{
	struct engine_progress p = { .found_objects = 10, .here_objects = 9, .quarantined = 1 };

	(void)state;
	assert_true(status_only_errors_left(&p));
	assert_false(status_found_all(&p));	/* what could not be listed may hide more */
	p.directories_left = 1;
	assert_false(status_only_errors_left(&p));
	p = (struct engine_progress){ .found_objects = 10, .here_objects = 3 };
	assert_true(status_found_all(&p));
	p.directories_left = 1;
	assert_false(status_found_all(&p));
	p = (struct engine_progress){ 0 };
	assert_false(status_found_all(&p));	/* not begun */
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, setup, teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		TEST(test_empty),
		TEST(test_not_empty),
		TEST(test_foreign_lost_found),
		TEST(test_carries_a_migration),
		cmocka_unit_test(test_identity),
		TEST(test_apart),
		TEST(test_opcount_and_probe),
		cmocka_unit_test(test_judgements),
	};

	if (geteuid())
		return 77;	/* marks need root: skipped */
	return cmocka_run_group_tests(tests, NULL, NULL);
}
