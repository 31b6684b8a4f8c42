/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A full disk: the caller can try again, the ledger stays balanced, and the
 * ballast lets small commits through.  A small tmpfs in a mount namespace of
 * its own where that is allowed; a limit on pages everywhere.
 */
#include "help.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/stat.h>
#include <unistd.h>

static void quiet(void *arg, enum log_level level, const char *line)
{
	(void)arg;
	(void)level;
	(void)line;
}

static int add_group(struct help *h, uint64_t first, unsigned n)
{
	struct catalog_row row;
	char name[32];
	int r = catalog_begin(h->c), add = 0;

	if (r)
		return r;
	for (unsigned i = 0; i < n && !add; i++) {
		snprintf(name, sizeof name, "%020lu", (unsigned long)(first + i));
		help_row(&row, first + i, 1, name);
		add = catalog_add(h->c, &row);
	}
	if (!add)
		return catalog_commit(h->c);
	assert_int_equal(catalog_commit(h->c), add);	/* it can only fail now */
	return add;
}

/* As a caller that looks at each error. */
static void roll_back_group(struct help *h, uint64_t first)
{
	struct catalog_row row;
	char name[32];
	int r;

	assert_int_equal(catalog_begin(h->c), 0);
	do {
		snprintf(name, sizeof name, "%020lu", (unsigned long)first);
		help_row(&row, first++, 1, name);
		r = catalog_add(h->c, &row);
	} while (!r);
	assert_int_equal(r, -ENOSPC);
	catalog_rollback(h->c);
}

static int delete_one(struct help *h, uint64_t oid)
{
	int r = catalog_begin(h->c);

	if (!r)
		r = catalog_set_flags(h->c, oid, CATALOG_F_INTENT_DELETE, 0);
	if (!r)
		r = catalog_transition(h->c, oid, 1u << CATALOG_FOUND, CATALOG_DELETED, NULL);
	if (!r)
		return catalog_commit(h->c);
	catalog_rollback(h->c);
	return r;
}

static void check_whole(struct help *h)
{
	help_check_ledger(h);
	assert_int_equal(help_value(h, "SELECT count(*) FROM pragma_integrity_check"
				    " WHERE integrity_check='ok'"), 1);
}

static void test_page_limit(void **state)
{
	struct help *h = *state;
	struct err e = { 0 };
	uint64_t oid = 2;
	int r;

	assert_int_equal(catalog_close(h->c), 0);
	h->hooks.page_max = 300;
	assert_int_equal(help_open(h, false, NULL, &e), 0);
	while (!(r = add_group(h, oid, 500)))
		oid += 500;
	assert_int_equal(r, -ENOSPC);
	assert_true(oid > 2000);
	check_whole(h);
	assert_int_equal(add_group(h, oid, 500), -ENOSPC);
	for (uint64_t i = 2; i < 1000; i++)
		assert_int_equal(delete_one(h, i), 0);
	check_whole(h);
	assert_int_equal(catalog_close(h->c), 0);
	h->hooks.page_max = 0;
	assert_int_equal(help_open(h, false, NULL, &e), 0);
	assert_int_equal(add_group(h, oid, 500), 0);	/* the same items again */
	check_whole(h);
}

/* A file size limit, in the middle of anything that writes. */
static void test_file_limit(void **state)
{
	struct help *h = *state;
	struct rlimit old, now;
	uint64_t oid = 2;
	int r, failed = 0;

	log_set_sink(quiet, NULL);
	assert_int_equal(catalog_checkpoint(h->c), 0);
	signal(SIGXFSZ, SIG_IGN);
	getrlimit(RLIMIT_FSIZE, &old);
	for (rlim_t limit = KIB(40); limit < KIB(400); limit += KIB(7)) {
		now = (struct rlimit){ limit, old.rlim_max };
		setrlimit(RLIMIT_FSIZE, &now);
		r = add_group(h, oid, 300);
		setrlimit(RLIMIT_FSIZE, &old);
		if (r) {
			assert_int_equal(r, -ENOSPC);
			failed++;
		} else
			oid += 300;
		check_whole(h);
	}
	assert_true(failed > 3);
	assert_int_equal(add_group(h, oid, 300), 0);
	help_reopen(h);
	check_whole(h);
	log_set_sink(NULL, NULL);
}

static off_t ballast_size(struct help *h)
{
	struct stat st = { 0 };

	return fstatat(h->c->dir_fd, CATALOG_BALLAST, &st, 0) ? -1 : st.st_size;
}

static void fill_disk(const char *dir, char *path, size_t n)
{
	static const char block[4096];
	int fd;

	snprintf(path, n, "%s/filler", dir);
	fd = open(path, O_WRONLY | O_CREAT | O_APPEND, 0600);
	assert_true(fd >= 0);
	while (write(fd, block, sizeof block) > 0)
		;
	assert_int_equal(errno, ENOSPC);
	close(fd);
}

static void test_tmpfs(void **state)
{
	struct help *h = *state;
	char sub[80], mnt[64], filler[128];
	struct err e = { 0 };
	int r = 0;

	if (unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL))
		skip();
	assert_int_equal(catalog_close(h->c), 0);
	h->c = NULL;
	strcpy(mnt, h->dir);
	assert_int_equal(mount("none", mnt, "tmpfs", 0, "size=12m,mode=0700"), 0);
	snprintf(sub, sizeof sub, "%s", mnt);
	assert_int_equal(help_open(h, true, NULL, &e), 0);
	assert_int_equal(ballast_size(h), CATALOG_BALLAST_SIZE);
	assert_int_equal(add_group(h, 2, 3000), 0);
	assert_int_equal(catalog_checkpoint(h->c), 0);
	log_set_sink(quiet, NULL);
	fill_disk(sub, filler, sizeof filler);

	/* an application deletes: at most one failure, then it goes on */
	for (uint64_t oid = 2; oid < 1500; oid++) {
		int one = delete_one(h, oid);

		if (one) {
			assert_int_equal(one, -ENOSPC);
			check_whole(h);
			assert_int_equal(delete_one(h, oid), 0);
			r++;
		}
	}
	assert_true(r >= 1);
	assert_int_equal(ballast_size(h), 0);
	check_whole(h);

	/* a group that does not fit does not, again and again; deletes still do */
	for (int i = 0; i < 3; i++) {
		assert_int_equal(add_group(h, 100000, 40000), -ENOSPC);
		if (delete_one(h, 1500 + (uint64_t)i))
			assert_int_equal(delete_one(h, 1500 + (uint64_t)i), 0);
	}
	check_whole(h);

	/* it can be closed and opened on the full disk */
	catalog_close(h->c);
	if (help_open(h, false, NULL, &e))
		fail_msg("%s", e.text);
	check_whole(h);
	assert_int_equal(ballast_size(h), 0);

	/* room again: the ballast comes back, the same items go in */
	assert_int_equal(unlink(filler), 0);
	assert_int_equal(catalog_checkpoint(h->c), 0);
	assert_int_equal(ballast_size(h), CATALOG_BALLAST_SIZE);
	assert_int_equal(add_group(h, 100000, 10000), 0);
	check_whole(h);

	/* a transaction too large for the cache meets the full disk before its end: rolled back, it gives room, too */
	assert_int_equal(catalog_checkpoint(h->c), 0);
	help_sql(h, "PRAGMA cache_size=10");
	fill_disk(sub, filler, sizeof filler);
	assert_int_equal(ballast_size(h), CATALOG_BALLAST_SIZE);
	roll_back_group(h, 200000);
	assert_int_equal(ballast_size(h), 0);
	assert_int_equal(delete_one(h, 100000), 0);
	check_whole(h);
	log_set_sink(NULL, NULL);
	assert_int_equal(catalog_close(h->c), 0);
	h->c = NULL;
	assert_int_equal(umount2(mnt, MNT_DETACH), 0);
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = { T(test_page_limit), T(test_file_limit), T(test_tmpfs) };

	return cmocka_run_group_tests(tests, NULL, NULL);
}
