/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Commits: who waits for a flush and who does not, what a failed flush means,
 * and what is left after kill -9.
 *
 * kill -9 only tests the death of the process: what it had written to the page
 * cache survives.  Power cuts are the business of tests with copied images.
 */
#include "help.h"

#include <dirent.h>
#include <fcntl.h>
#include <semaphore.h>
#include <signal.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"

struct gate {		/* a flush that the test holds, counts and fails */
	sem_t entered, go;
	_Atomic bool armed;
	_Atomic int flushes, fail, last_fd;
};

static int gated_flush(void *arg, int fd)
{
	struct gate *g = arg;

	atomic_fetch_add(&g->flushes, 1);
	atomic_store(&g->last_fd, fd);
	if (atomic_load(&g->armed)) {
		sem_post(&g->entered);
		sem_wait(&g->go);
	}
	return atomic_load(&g->fail) ? -atomic_load(&g->fail) : fdatasync(fd) ? -errno : 0;
}

static void with_gate(struct help *h, struct gate *g)
{
	struct err e = { 0 };

	memset(g, 0, sizeof *g);
	sem_init(&g->entered, 0, 0);
	sem_init(&g->go, 0, 0);
	assert_int_equal(catalog_close(h->c), 0);
	h->hooks.flush = gated_flush;
	h->hooks.arg = g;
	if (help_open(h, false, NULL, &e))
		fail_msg("%s", e.text);
	atomic_store(&g->flushes, 0);
}

struct job {
	pthread_t thread;
	struct help *h;
	uint64_t oid;
	_Atomic int result;		/* 1 = not yet */
};

static int commit_one(struct catalog *c, uint64_t oid)
{
	struct catalog_row row;
	char name[32];
	int r;

	snprintf(name, sizeof name, "%lu", (unsigned long)oid);
	help_row(&row, oid, 1, name);
	r = catalog_begin(c);
	if (r)
		return r;
	r = catalog_add(c, &row);
	if (r) {
		catalog_rollback(c);
		return r;
	}
	return catalog_commit(c);
}

static void *run_job(void *arg)
{
	struct job *j = arg;

	atomic_store(&j->result, commit_one(j->h->c, j->oid));
	return NULL;
}

static void start_job(struct job *j, struct help *h, uint64_t oid)
{
	j->h = h;
	j->oid = oid;
	atomic_store(&j->result, 1);
	assert_int_equal(pthread_create(&j->thread, NULL, run_job, j), 0);
}

static bool visible(struct help *h, uint64_t oid)
{
	struct catalog_row row;

	return !catalog_get(h->c, oid, &row);
}

static void await(struct help *h, uint64_t oid)
{
	for (int i = 0; i < 5000 && !visible(h, oid); i++)
		usleep(1000);
	assert_true(visible(h, oid));
}

static void test_readers_do_not_wait(void **state)
{
	struct help *h = *state;
	struct catalog_counters k;
	struct catalog_row row;
	static struct gate g;		/* the teardown flushes, too */
	struct job a;
	uint64_t t, longest = 0;

	with_gate(h, &g);
	atomic_store(&g.armed, true);
	start_job(&a, h, 7);
	sem_wait(&g.entered);		/* the flush is under way and stays there */
	for (int i = 0; i < 1000; i++) {
		t = clock_mono();
		assert_int_equal(catalog_find(h->c, 1, "7", 1, &row), 0);
		assert_int_equal(catalog_counters(h->c, &k), 0);
		t = clock_mono() - t;
		longest = t > longest ? t : longest;
	}
	assert_int_equal(k.objects[CATALOG_FOUND], 1);
	assert_int_equal(atomic_load(&a.result), 1);	/* and the committer does wait */
	assert_true(longest < CLOCK_SEC);
	/* so does a change that others want to make meanwhile */
	assert_int_equal(catalog_begin(h->c), 0);
	catalog_rollback(h->c);
	atomic_store(&g.armed, false);
	sem_post(&g.go);
	pthread_join(a.thread, NULL);
	assert_int_equal(atomic_load(&a.result), 0);
}

/* While one flush runs nine more commits end; one flush serves them all. */
static void test_one_flush_for_many(void **state)
{
	struct help *h = *state;
	struct job j[10];
	static struct gate g;		/* the teardown flushes, too */

	with_gate(h, &g);
	atomic_store(&g.armed, true);
	start_job(&j[0], h, 10);
	sem_wait(&g.entered);
	for (unsigned i = 1; i < 10; i++)
		start_job(&j[i], h, 10 + i);
	for (unsigned i = 1; i < 10; i++)
		await(h, 10 + i);
	assert_int_equal(atomic_load(&g.flushes), 1);
	atomic_store(&g.armed, false);
	sem_post(&g.go);
	for (unsigned i = 0; i < 10; i++) {
		pthread_join(j[i].thread, NULL);
		assert_int_equal(atomic_load(&j[i].result), 0);
	}
	assert_int_equal(atomic_load(&g.flushes), 2);
	assert_int_equal(atomic_load(&g.last_fd), h->c->wal_fd);
}

/* The flush that runs began before these commits ended: it must not serve them. */
static void test_a_flush_serves_no_later_commit(void **state)
{
	struct help *h = *state;
	struct job a, b;
	static struct gate g;		/* the teardown flushes, too */

	with_gate(h, &g);
	atomic_store(&g.armed, true);
	start_job(&a, h, 7);
	sem_wait(&g.entered);
	start_job(&b, h, 8);
	await(h, 8);
	sem_post(&g.go);
	sem_wait(&g.entered);		/* a second flush, for b */
	pthread_join(a.thread, NULL);
	assert_int_equal(atomic_load(&a.result), 0);
	assert_int_equal(atomic_load(&b.result), 1);
	atomic_store(&g.armed, false);
	sem_post(&g.go);
	pthread_join(b.thread, NULL);
	assert_int_equal(atomic_load(&b.result), 0);
}

/* Nothing written: waits for what it may have read, and makes no flush of its own when that is durable. */
static void test_empty_commit(void **state)
{
	struct help *h = *state;
	static struct gate g;		/* the teardown flushes, too */
	struct job a;

	with_gate(h, &g);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(atomic_load(&g.flushes), 0);
	atomic_store(&g.armed, true);
	start_job(&a, h, 7);
	sem_wait(&g.entered);
	atomic_store(&g.armed, false);
	sem_post(&g.go);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_commit(h->c), 0);
	assert_int_equal(h->c->flush.durable, 1);
	pthread_join(a.thread, NULL);
}

static void quiet(void *arg, enum log_level level, const char *line)
{
	(void)level;
	snprintf(arg, 200, "%s", line);
}

static void test_failed_flush_poisons(void **state)
{
	struct help *h = *state;
	char line[200] = "";
	static struct gate g;		/* the teardown flushes, too */
	struct job a, b;
	struct err e;

	with_gate(h, &g);
	log_set_sink(quiet, line);
	assert_int_equal(commit_one(h->c, 6), 0);
	atomic_store(&g.armed, true);
	start_job(&a, h, 7);
	sem_wait(&g.entered);
	start_job(&b, h, 8);
	await(h, 8);
	atomic_store(&g.fail, EIO);
	atomic_store(&g.armed, false);
	sem_post(&g.go);
	pthread_join(a.thread, NULL);
	pthread_join(b.thread, NULL);
	assert_int_equal(atomic_load(&a.result), -EIO);
	assert_int_equal(atomic_load(&b.result), -EIO);
	atomic_store(&g.fail, 0);			/* the disk recovers: the catalog does not */
	assert_int_equal(catalog_begin(h->c), -EIO);
	assert_int_equal(catalog_checkpoint(h->c), -EIO);
	assert_true(visible(h, 6));
	assert_int_equal(catalog_close(h->c), -EIO);
	assert_non_null(strstr(line, "Input/output error"));
	log_set_sink(NULL, NULL);
	assert_int_equal(help_open(h, false, NULL, &e), 0);
	assert_true(visible(h, 6));
	assert_int_equal(commit_one(h->c, 9), 0);
	help_check_ledger(h);
}

/* A transaction that is open while the flush of another fails must not be promised either. */
static void test_poison_meets_open_transaction(void **state)
{
	struct help *h = *state;
	char line[200] = "";
	static struct gate g;		/* the teardown flushes, too */
	struct job a;

	with_gate(h, &g);
	log_set_sink(quiet, line);
	atomic_store(&g.armed, true);
	start_job(&a, h, 7);
	sem_wait(&g.entered);
	assert_int_equal(catalog_begin(h->c), 0);
	assert_int_equal(catalog_meta_set(h->c, "x", "y", 1), 0);
	atomic_store(&g.fail, EIO);
	atomic_store(&g.armed, false);
	sem_post(&g.go);
	pthread_join(a.thread, NULL);
	atomic_store(&g.fail, 0);
	assert_int_equal(catalog_commit(h->c), -EIO);
	log_set_sink(NULL, NULL);
}

/* Each of the checkpoint's three flushes fails in turn: poisoned, and all of it is there after reopening. */
static int failing_nth(void *arg, int fd)
{
	int *left = arg;

	return (*left)-- == 0 ? -EIO : fdatasync(fd) ? -errno : 0;
}

static void test_checkpoint_flush_fails(void **state)
{
	struct help *h = *state;
	struct err e = { 0 };
	char line[200];

	log_set_sink(quiet, line);
	for (int nth = 0; nth < 3; nth++) {
		int left = 1000;

		assert_int_equal(catalog_close(h->c), 0);
		h->hooks.flush = failing_nth;
		h->hooks.arg = &left;
		assert_int_equal(help_open(h, false, NULL, &e), 0);
		assert_int_equal(commit_one(h->c, 100 + (uint64_t)nth), 0);
		left = nth;
		assert_int_equal(catalog_checkpoint(h->c), -EIO);
		assert_int_equal(commit_one(h->c, 200), -EIO);
		assert_int_equal(catalog_close(h->c), -EIO);
		catalog_default_hooks(&h->hooks);
		assert_int_equal(help_open(h, false, NULL, &e), 0);
		for (int i = 0; i <= nth; i++)
			assert_true(visible(h, 100 + (uint64_t)i));
		assert_false(visible(h, 200));
		help_check_ledger(h);
	}
	log_set_sink(NULL, NULL);
}

static void *run_checkpoint(void *c)
{
	return catalog_checkpoint(c) ? NULL : c;
}

static void test_readers_pass_a_checkpoint(void **state)
{
	struct help *h = *state;
	struct catalog_row row;
	pthread_t t;
	static struct gate g;		/* the teardown flushes, too */

	with_gate(h, &g);
	assert_int_equal(commit_one(h->c, 7), 0);
	atomic_store(&g.armed, true);
	assert_int_equal(pthread_create(&t, NULL, run_checkpoint, h->c), 0);
	for (int i = 0; i < 3; i++) {	/* WAL, database, WAL: each stands still in turn */
		sem_wait(&g.entered);
		assert_int_equal(atomic_load(&g.last_fd), i == 1 ? h->c->db_fd : h->c->wal_fd);
		assert_int_equal(catalog_get(h->c, 7, &row), 0);
		sem_post(&g.go);
	}
	pthread_join(t, NULL);
	atomic_store(&g.armed, false);
	assert_int_equal(h->c->wal_bytes, 0);
}

/* How many descriptors of this process are on a file? */
static unsigned descriptors_on(const struct stat *want)
{
	DIR *d = opendir("/proc/self/fd");
	struct dirent *e;
	struct stat st;
	unsigned n = 0;

	while ((e = readdir(d)))
		n += !fstatat(dirfd(d), e->d_name, &st, 0) && st.st_ino == want->st_ino &&
		     st.st_dev == want->st_dev;
	closedir(d);
	return n;
}

/* Our descriptor is on the file that SQLite writes, for as long as the connection lives. */
static void test_the_wal_is_the_one(void **state)
{
	struct help *h = *state;
	struct stat ours, named, before;
	char path[128];

	snprintf(path, sizeof path, "%s/" CATALOG_WAL, h->dir);
	assert_int_equal(fstat(h->c->wal_fd, &before), 0);
	for (uint64_t i = 0; i < 6; i++) {
		off_t size;

		assert_int_equal(fstat(h->c->wal_fd, &ours), 0);
		size = ours.st_size;
		assert_int_equal(commit_one(h->c, 10 + i), 0);
		assert_int_equal(fstat(h->c->wal_fd, &ours), 0);
		assert_true(ours.st_size > size);		/* its frames came here */
		assert_int_equal(ours.st_size, h->c->wal_bytes);
		assert_int_equal(stat(path, &named), 0);
		assert_int_equal(named.st_ino, ours.st_ino);
		assert_int_equal(ours.st_ino, before.st_ino);
		assert_int_equal(descriptors_on(&ours), 2);	/* SQLite's and ours */
		if (i % 2)
			assert_int_equal(catalog_checkpoint(h->c), 0);
	}
}

/* A commit that leaves a long WAL behind folds it in. */
static void test_last_resort(void **state)
{
	struct help *h = *state;
	struct err e = { 0 };
	struct stat st;

	assert_int_equal(catalog_close(h->c), 0);
	h->hooks.wal_max = KIB(200);
	assert_int_equal(help_open(h, false, NULL, &e), 0);
	for (uint64_t i = 0; i < 100; i++) {
		assert_int_equal(commit_one(h->c, 10 + i), 0);
		assert_int_equal(fstat(h->c->wal_fd, &st), 0);
		assert_true(st.st_size <= (off_t)KIB(200));
	}
	help_check_ledger(h);
}

struct crowd {
	struct help *h;
	_Atomic bool stop;
	_Atomic uint64_t next, committed;
};

static void *crowd_commit(void *arg)
{
	struct crowd *k = arg;

	while (!atomic_load(&k->stop)) {
		if (commit_one(k->h->c, atomic_fetch_add(&k->next, 1)))
			return NULL;
		atomic_fetch_add(&k->committed, 1);
	}
	return k;
}

static void *crowd_read(void *arg)
{
	struct crowd *k = arg;
	struct catalog_counters c;
	struct catalog_row row;

	while (!atomic_load(&k->stop)) {
		uint64_t upto = atomic_load(&k->committed);

		catalog_counters(k->h->c, &c);
		if (c.objects[CATALOG_FOUND] < upto || catalog_get(k->h->c, 1 << 30, &row) != -ENOENT)
			return NULL;
	}
	return k;
}

static void *crowd_checkpoint(void *arg)
{
	struct crowd *k = arg;

	while (!atomic_load(&k->stop)) {
		if (catalog_checkpoint(k->h->c))
			return NULL;
		usleep(5000);
	}
	return k;
}

/* Committers, readers and a checkpointer at once; what was counted is there. */
static void test_crowd(void **state)
{
	void *(*const role[])(void *) = { crowd_commit, crowd_commit, crowd_commit, crowd_commit,
					  crowd_read, crowd_read, crowd_checkpoint };
	struct crowd k = { .h = *state, .next = 2 };
	pthread_t t[7];
	void *ok;

	for (int i = 0; i < 7; i++)
		assert_int_equal(pthread_create(&t[i], NULL, role[i], &k), 0);
	usleep(300000);
	atomic_store(&k.stop, true);
	for (int i = 0; i < 7; i++) {
		assert_int_equal(pthread_join(t[i], &ok), 0);
		assert_non_null(ok);
	}
	assert_true(k.committed > 0);
	help_reopen(k.h);
	assert_int_equal(help_value(k.h, "SELECT count(*) FROM object"), k.committed);
	help_check_ledger(k.h);
}

static void child(const char *dir, int to)
{
	struct catalog_identity id = { .source = "s", .target = "t" };
	struct catalog *c;
	bool created;

	if (catalog_open(dir, false, &id, &c, &created, NULL))
		_exit(1);
	for (uint64_t oid = 2;; oid++) {
		struct catalog_row row;

		if (!catalog_get(c, oid, &row))
			continue;
		if (commit_one(c, oid) || write(to, &oid, sizeof oid) != sizeof oid)
			_exit(2);
		if (oid % 17 == 0 && catalog_checkpoint(c))
			_exit(3);
	}
}

static void test_kill(void **state)
{
	struct help *h = *state;
	static bool promised[1 << 20];
	struct err e = { 0 };

	assert_int_equal(catalog_close(h->c), 0);
	for (int round = 0; round < 12; round++) {
		uint64_t oid;
		int p[2], n = 0, status;
		pid_t pid;

		assert_int_equal(pipe(p), 0);
		pid = fork();
		if (!pid) {
			close(p[0]);
			child(h->dir, p[1]);
		}
		close(p[1]);
		while (n < 5 + round * 7 && read(p[0], &oid, sizeof oid) == sizeof oid) {
			promised[oid] = true;
			n++;
		}
		kill(pid, SIGKILL);
		while (read(p[0], &oid, sizeof oid) == sizeof oid)
			promised[oid] = true;
		close(p[0]);
		assert_int_equal(waitpid(pid, &status, 0), pid);
		assert_true(WIFSIGNALED(status));
		if (help_open(h, false, NULL, &e))
			fail_msg("%s", e.text);
		for (uint64_t i = 0; i < sizeof promised; i++)
			if (promised[i])
				assert_true(visible(h, i));
		help_check_ledger(h);
		assert_int_equal(help_value(h, "SELECT count(*) FROM pragma_integrity_check"
					    " WHERE integrity_check='ok'"), 1);
		if (round < 11)
			assert_int_equal(catalog_close(h->c), 0);
	}
}

#define T(name) cmocka_unit_test_setup_teardown(name, help_setup, help_teardown)

int main(void)
{
	const struct CMUnitTest tests[] = {
		T(test_readers_do_not_wait), T(test_one_flush_for_many),
		T(test_a_flush_serves_no_later_commit), T(test_empty_commit),
		T(test_failed_flush_poisons), T(test_poison_meets_open_transaction),
		T(test_checkpoint_flush_fails), T(test_readers_pass_a_checkpoint),
		T(test_the_wal_is_the_one), T(test_last_resort), T(test_crowd), T(test_kill),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
