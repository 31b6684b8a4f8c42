/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The engine without a mount: a posix source, a target directory, and the
 * needs of access.h called by hand.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <signal.h>
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

static void wake(struct access_wait *aw, int err)
{
	struct waiter *w = list_entry(aw, struct waiter, w);

	pthread_mutex_lock(&w->mu);
	w->woken = true;
	w->err = err;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mu);
}

/* Evaluate a need again and again, as a handler does; returns its final answer. */
#define NEED(call)                                                              \
	({                                                                      \
		struct waiter W = { .w.wake = wake, .mu = PTHREAD_MUTEX_INITIALIZER, \
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

static void put_file(const char *dir, const char *name, const char *text, size_t n)
{
	char path[300];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
}

static void start(struct world *w, bool hold)
{
	struct catalog_identity id = { .migration = "0123456789abcde", .reserved_id = 3000000001u };
	struct target_id tid = { .reserved_id = id.reserved_id };
	struct engine_config cfg = { .whole_file_limit = 1 << 20, .hold_background = hold };
	char url[120];
	struct err e = { 0 };
	bool created;

	snprintf(url, sizeof url, "file://%s", w->src);
	assert_int_equal(target_open(w->dst, &w->target, &e), 0);
	assert_int_equal(catalog_open(w->state, true, &id, &w->catalog, &created, &e), 0);
	memcpy(tid.migration, id.migration, 16);
	target_set_id(w->target, &tid);
	assert_int_equal(source_open(url, &w->source, &e), 0);
	cfg.catalog = w->catalog;
	cfg.target = w->target;
	cfg.source = w->source;
	if (engine_create(&cfg, NULL, NULL, &w->engine, &e))
		fail_msg("%s", e.text);
	assert_int_equal(engine_start(w->engine, &e), 0);
}

static void stop(struct world *w)
{
	engine_quiesce(w->engine);
	source_close(w->source);
	engine_stop(w->engine);
	engine_free(w->engine);
	catalog_close(w->catalog);
	target_close(w->target);
}

static int setup(void **state)
{
	struct world *w = calloc(1, sizeof *w);

	strcpy(w->dir, "/tmp/dmm-engine-XXXXXX");
	assert_non_null(mkdtemp(w->dir));
	snprintf(w->src, sizeof w->src, "%s/src", w->dir);
	snprintf(w->dst, sizeof w->dst, "%s/dst", w->dir);
	snprintf(w->state, sizeof w->state, "%s/state", w->dir);
	mkdir(w->src, 0755);
	mkdir(w->dst, 0755);
	*state = w;
	return 0;
}

static int teardown(void **state)
{
	struct world *w = *state;
	char cmd[120];

	snprintf(cmd, sizeof cmd, "rm -rf %s", w->dir);
	assert_int_equal(system(cmd), 0);
	free(w);
	return 0;
}

static void make_tree(struct world *w)
{
	char cmd[1200];

	snprintf(cmd, sizeof cmd,
		 "cd %s && mkdir -p a/b/c d && for i in $(seq 300); do echo file $i > a/f$i; done && "
		 "head -c 5000000 /dev/urandom > d/big && truncate -s 20M d/sparse && ln d/big a/b/big2 && "
		 "ln -s ../x a/b/link && mkfifo d/fifo && : > d/empty && chmod 4755 a/f1 && "
		 "chown 4294967290:77 a/f2 && touch -d 1960-01-01 a/f3 && touch -h -d 2050-05-05 a/b/link", w->src);
	assert_int_equal(system(cmd), 0);
}

static void assert_same(struct world *w)
{
	char cmd[600];
	const char *list = "find . -printf '%p %y %m %U %G %s %T@ %n %l\\n' | sort";

	snprintf(cmd, sizeof cmd,
		 "cd %s && %s > ../l1; cd %s && %s > ../l2; diff ../l1 ../l2 && diff -r --no-dereference "
		 "-x fifo %s %s", w->src, list, w->dst, list, w->src, w->dst);
	assert_int_equal(system(cmd), 0);
	snprintf(cmd, sizeof cmd, "! getfattr -hR -m trusted.dmm %s 2>/dev/null | grep -q .", w->dst);
	assert_int_equal(system(cmd), 0);
}

static void finish(struct world *w)
{
	struct err e = { 0 };

	assert_int_equal(engine_wait(w->engine, 30000, &e), 1);
	if (engine_make_plain(w->engine, &e))
		fail_msg("%s", e.text);
	assert_int_equal(engine_record_detached(w->engine, &e), 0);
	assert_int_equal(catalog_phase(w->catalog), CATALOG_DETACHED);
}

static void background_brings_everything(void **state)
{
	struct world *w = *state;

	make_tree(w);
	start(w, false);
	finish(w);
	stop(w);
	assert_same(w);
}

/* Between the last step of the engine and the unmount applications still change the root. */
static void the_root_is_changed_when_it_is_plain(void **state)
{
	struct world *w = *state;
	struct stat st = { .st_mode = 0751 };
	struct err e = { 0 };

	make_tree(w);
	start(w, false);
	assert_int_equal(target_root_guard(w->target), 0);
	assert_int_equal(engine_wait(w->engine, 30000, &e), 1);
	assert_int_equal(engine_make_plain(w->engine, &e), 0);
	assert_int_equal(NEED(access_root_setattr(w->engine, ACCESS_ROOT_MODE, &st, &W.w)), 0);
	assert_int_equal(engine_make_plain(w->engine, &e), 0);	/* as a new worker repeats it */
	stop(w);		/* flushes and records what is queued */
	assert_int_equal(stat(w->dst, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0751);
	assert_true(getxattr(w->dst, "trusted.dmm", NULL, 0) < 0);
	assert_true(getxattr(w->dst, "trusted.dmm.stamp", NULL, 0) < 0);
}

static void continues_after_a_stop(void **state)
{
	struct world *w = *state;
	struct engine_progress p;

	make_tree(w);
	start(w, false);
	usleep(20000);
	stop(w);
	start(w, false);
	finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.found_objects, p.here_objects);
	assert_int_equal(p.overwritten, 0);
	stop(w);
	assert_same(w);
}

/* What LOOKUP does. */
static struct eobj *lookup(struct world *w, int dirfd, struct eobj *dir, const char *name)
{
	struct target_mark m;
	struct target_handle h;
	struct eobj *o = NULL;
	int fd;

	assert_int_equal(NEED(access_need_name(dir, name, &W.w)), 0);
	fd = openat(dirfd, name, O_PATH | O_NOFOLLOW);
	if (fd < 0)
		return NULL;
	assert_int_equal(target_mark_get(w->target, fd, &m), 0);
	assert_int_equal(target_handle_of(fd, &h), 0);
	close(fd);
	assert_int_equal(NEED(access_attach(w->engine, dir, name, &m, &h, &o, &W.w)), 0);
	return o;
}

static struct eobj *root(struct world *w)
{
	struct target_mark m;
	struct target_handle h;
	struct eobj *o;

	assert_int_equal(target_mark_get(w->target, target_root_fd(w->target), &m), 0);
	assert_int_equal(target_handle_of(target_root_fd(w->target), &h), 0);
	assert_int_equal(NEED(access_attach(w->engine, NULL, NULL, &m, &h, &o, &W.w)), 0);
	return o;
}

static void demand_reads_only_what_is_touched(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	struct eobj *r, *d, *big, *none;
	int dfd;

	make_tree(w);
	start(w, true);
	r = root(w);
	d = lookup(w, target_root_fd(w->target), r, "d");
	assert_non_null(d);
	dfd = openat(target_root_fd(w->target), "d", O_RDONLY | O_DIRECTORY);
	big = lookup(w, dfd, d, "big");
	assert_non_null(big);
	none = lookup(w, dfd, d, "no such name");
	assert_null(none);
	assert_int_equal(access_open_mode(big, false), ACCESS_SLOW);
	assert_int_equal(NEED(access_need_range(big, 3000000, 4096, &W.w)), 0);
	engine_progress(w->engine, &p);
	assert_true(p.demand_bytes <= 1 << 20);
	assert_false(access_listed(d));
	assert_int_equal(NEED(access_need_range_recorded(big, 3000000, 4096, &W.w)), 0);
	assert_int_equal(NEED(access_need_content_recorded(big, &W.w)), 0);
	assert_int_equal(NEED(access_need_listed(d, &W.w)), 0);
	assert_int_equal(faccessat(dfd, "empty", F_OK, AT_SYMLINK_NOFOLLOW), 0);
	access_put(big);
	access_put(d);
	access_put(r);
	close(dfd);
	engine_hold(w->engine, false);
	finish(w);
	stop(w);
	assert_same(w);
}

static void truncation_keeps_source_bytes_away(void **state)
{
	struct world *w = *state;
	struct eobj *r, *f;
	char got[64] = "";
	int fd;

	put_file(w->src, "f", "the source's bytes", 18);
	start(w, true);
	r = root(w);
	f = lookup(w, target_root_fd(w->target), r, "f");
	assert_int_equal(NEED(access_need_record(f, &W.w)), 0);
	fd = openat(target_root_fd(w->target), "f", O_RDWR);
	assert_int_equal(NEED(access_change_begin(f, &W.w)), 0);
	assert_int_equal(ftruncate(fd, 4), 0);
	assert_int_equal(access_truncated(f, fd, 4), 0);
	access_change_end(f);
	assert_int_equal(ftruncate(fd, 18), 0);
	access_put(f);
	access_put(r);
	engine_hold(w->engine, false);
	finish(w);
	assert_int_equal(pread(fd, got, sizeof got, 0), 18);
	assert_memory_equal(got, "the \0\0\0\0\0\0\0\0\0\0\0\0\0\0", 18);
	close(fd);
	stop(w);
}

static void deleted_names_stay_deleted(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	struct eobj *r, *f, *l;

	put_file(w->src, "gone", "x", 1);
	put_file(w->src, "stays", "y", 1);
	put_file(w->src, "two", "two names", 9);
	{
		char a[200], b[200];

		snprintf(a, sizeof a, "%s/two", w->src);
		snprintf(b, sizeof b, "%s/names", w->src);
		assert_int_equal(link(a, b), 0);
	}
	start(w, true);
	r = root(w);
	f = lookup(w, target_root_fd(w->target), r, "gone");
	assert_int_equal(NEED(access_need_intent(f, &W.w)), 0);
	assert_int_equal(unlinkat(target_root_fd(w->target), "gone", 0), 0);
	access_deleted(f, true);
	l = lookup(w, target_root_fd(w->target), r, "two");
	assert_int_equal(NEED(access_need_intent(l, &W.w)), 0);
	assert_true(access_must_hide(l, 1));
	assert_int_equal(access_hide(l, target_root_fd(w->target), "two"), 0);
	access_deleted(l, false);
	access_put(l);
	access_put(f);
	access_put(r);
	engine_hold(w->engine, false);
	finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.deleted, 1);
	assert_int_equal(p.found_objects, 4);	/* root, gone, stays, the one with two names */
	assert_int_equal(faccessat(target_root_fd(w->target), "gone", F_OK, 0), -1);
	assert_int_equal(faccessat(target_root_fd(w->target), "two", F_OK, 0), -1);
	assert_int_equal(faccessat(target_root_fd(w->target), "stays", F_OK, 0), 0);
	assert_int_equal(faccessat(target_root_fd(w->target), "names", F_OK, 0), 0);
	assert_int_equal(faccessat(target_root_fd(w->target), TARGET_HOLDER_NAME, F_OK, 0), -1);
	stop(w);
}

static void a_changed_source_is_quarantined(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	struct eobj *r, *f;

	put_file(w->src, "f", "first version", 13);
	start(w, true);
	r = root(w);
	f = lookup(w, target_root_fd(w->target), r, "f");
	put_file(w->src, "f", "second, longer version", 22);
	assert_int_equal(NEED(access_need_content(f, &W.w)), -EIO);
	access_put(f);
	access_put(r);
	engine_hold(w->engine, false);
	for (int i = 0; i < 100; i++) {
		usleep(50000);
		engine_progress(w->engine, &p);
		if (p.quarantined)
			break;
	}
	assert_int_equal(p.quarantined, 1);
	assert_false(p.all_here);
	stop(w);
}

/* Run a part of a life in a process of its own that dies by SIGKILL where `life` ends. */
static void die_after(struct world *w, void (*life)(struct world *))
{
	pid_t pid = fork();
	int status;

	assert_true(pid >= 0);
	if (!pid) {
		life(w);
		kill(getpid(), SIGKILL);
	}
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
}

static void look_at_f(struct world *w)
{
	start(w, true);
	lookup(w, target_root_fd(w->target), root(w), "f");
}

/* D1: a stub without a row is adopted. */
static void a_stub_without_a_row_is_adopted(void **state)
{
	struct world *w = *state;
	struct engine_progress p;

	put_file(w->src, "f", "content", 7);
	die_after(w, look_at_f);
	start(w, false);
	finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.shadowed, 0);
	assert_int_equal(p.found_objects, 2);
	stop(w);
	assert_same(w);
}

/* D1: reserved owner without a mark is ours, torn, and made again. */
static void a_torn_stub_is_made_again(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	char path[200];

	put_file(w->src, "f", "content", 7);
	start(w, true);
	stop(w);
	put_file(w->dst, "f", "", 0);
	snprintf(path, sizeof path, "%s/f", w->dst);
	assert_int_equal(chown(path, 3000000001u, 3000000001u), 0);
	put_file(w->dst, "not on the source any more", "", 0);
	snprintf(path, sizeof path, "%s/not on the source any more", w->dst);
	assert_int_equal(chown(path, 3000000001u, 3000000001u), 0);
	start(w, false);
	finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.shadowed, 0);
	stop(w);
	assert_same(w);
}

static void an_applications_file_is_shadowed_not_touched(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	char got[32] = "";
	int fd;

	put_file(w->src, "f", "the source's", 12);
	put_file(w->dst, "f", "the application's", 17);
	start(w, false);
	finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.shadowed, 1);
	fd = openat(target_root_fd(w->target), "f", O_RDONLY);
	assert_int_equal(read(fd, got, sizeof got), 17);
	assert_string_equal(got, "the application's");
	close(fd);
	stop(w);
}

static void intend_and_delete(struct world *w)
{
	struct eobj *f;

	start(w, true);
	f = lookup(w, target_root_fd(w->target), root(w), "f");
	assert_int_equal(NEED(access_need_intent(f, &W.w)), 0);
	assert_int_equal(unlinkat(target_root_fd(w->target), "f", 0), 0);
}

/* D5: killed between the unlink and its record; listing must not bring the name back. */
static void a_delete_survives_the_kill(void **state)
{
	struct world *w = *state;
	struct engine_progress p;

	put_file(w->src, "f", "content", 7);
	die_after(w, intend_and_delete);
	start(w, false);
	finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.deleted, 1);
	assert_int_equal(faccessat(target_root_fd(w->target), "f", F_OK, 0), -1);
	stop(w);
}

static void intend_only(struct world *w)
{
	struct eobj *f;

	start(w, true);
	f = lookup(w, target_root_fd(w->target), root(w), "f");
	assert_int_equal(NEED(access_need_intent(f, &W.w)), 0);
}

/* D5: the intent alone deletes nothing. */
static void an_intent_without_the_act_is_forgotten(void **state)
{
	struct world *w = *state;
	struct engine_progress p;

	put_file(w->src, "f", "content", 7);
	die_after(w, intend_only);
	start(w, false);
	finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.deleted, 0);
	stop(w);
	assert_same(w);
}

static void truncate_rewrite_and_sync(struct world *w)
{
	struct eobj *r, *f;
	int fd;

	start(w, true);
	r = root(w);
	f = lookup(w, target_root_fd(w->target), r, "f");
	assert_int_equal(NEED(access_need_record(f, &W.w)), 0);
	fd = openat(target_root_fd(w->target), "f", O_RDWR);
	assert_int_equal(NEED(access_change_begin(f, &W.w)), 0);
	assert_int_equal(access_times_taken(f, fd, NULL), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(access_truncated(f, fd, 0), 0);
	access_change_end(f);
	assert_int_equal(pwrite(fd, "another", 7, 0), 7);	/* exactly the old size */
	assert_int_equal(fsync(fd), 0);
}

/* D3b, its (why): O_TRUNC, then a rewrite of exactly the old size, fsync, crash. */
static void a_rewrite_of_the_old_size_survives(void **state)
{
	struct world *w = *state;
	char got[32] = "";
	int fd;

	put_file(w->src, "f", "content", 7);
	die_after(w, truncate_rewrite_and_sync);
	start(w, false);
	finish(w);
	fd = openat(target_root_fd(w->target), "f", O_RDONLY);
	assert_int_equal(read(fd, got, sizeof got), 7);
	assert_string_equal(got, "another");
	close(fd);
	stop(w);
}

/* D2: catalog and target of different moments do not go together. */
static void a_restored_target_is_refused(void **state)
{
	struct world *w = *state;
	struct engine_config cfg = { 0 };
	struct err e = { 0 };
	uint64_t n;

	make_tree(w);
	start(w, true);
	stop(w);
	start(w, true);
	assert_int_equal(target_stamp_get(w->target, &n), 0);
	assert_int_equal(target_stamp_set(w->target, n + 5), 0);
	engine_quiesce(w->engine);
	engine_stop(w->engine);
	engine_free(w->engine);
	assert_int_equal(target_stamp_set(w->target, n + 5), 0);
	cfg.catalog = w->catalog;
	cfg.target = w->target;
	cfg.source = w->source;
	assert_int_equal(engine_create(&cfg, NULL, NULL, &w->engine, &e), -ESTALE);
	assert_non_null(strstr(e.text, "restored from a copy"));
	source_close(w->source);
	catalog_close(w->catalog);
	target_close(w->target);
}

static unsigned life_us;

static void live_for_a_while(struct world *w)
{
	start(w, false);
	usleep(life_us);
}

/* Killed again and again at random moments of the background. */
static void random_kills(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	unsigned seed = (unsigned)getpid();

	print_message("seed %u\n", seed);
	srand(seed);
	make_tree(w);
	for (int i = 0; i < 15; i++) {
		life_us = (unsigned)rand() % 150000;
		die_after(w, live_for_a_while);
	}
	start(w, false);
	if (catalog_phase(w->catalog) == CATALOG_RUNNING)
		finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.found_objects, p.here_objects);
	assert_int_equal(p.shadowed + p.overwritten + p.deleted + p.quarantined, 0);
	stop(w);
	assert_same(w);
}

int main(void)
{
#define T(f) cmocka_unit_test_setup_teardown(f, setup, teardown)
	const struct CMUnitTest tests[] = {
		T(background_brings_everything), T(the_root_is_changed_when_it_is_plain),
		T(continues_after_a_stop),
		T(demand_reads_only_what_is_touched), T(truncation_keeps_source_bytes_away),
		T(deleted_names_stay_deleted), T(a_changed_source_is_quarantined),
		T(a_stub_without_a_row_is_adopted), T(a_torn_stub_is_made_again),
		T(an_applications_file_is_shadowed_not_touched), T(a_delete_survives_the_kill),
		T(an_intent_without_the_act_is_forgotten), T(a_rewrite_of_the_old_size_survives),
		T(a_restored_target_is_refused), T(random_kills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
