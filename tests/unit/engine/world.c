/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "world.h"

void world_wake(struct access_wait *aw, int err)
{
	struct waiter *w = list_entry(aw, struct waiter, w);

	pthread_mutex_lock(&w->mu);
	w->woken = true;
	w->err = err;
	pthread_cond_signal(&w->cond);
	pthread_mutex_unlock(&w->mu);
}

void world_put_file(const char *dir, const char *name, const char *text, size_t n)
{
	char path[300];
	int fd;

	snprintf(path, sizeof path, "%s/%s", dir, name);
	fd = open(path, O_CREAT | O_WRONLY | O_TRUNC, 0640);
	assert_true(fd >= 0);
	assert_int_equal(write(fd, text, n), n);
	close(fd);
}

void world_start(struct world *w, bool hold)
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

void world_stop(struct world *w)
{
	engine_quiesce(w->engine);
	source_close(w->source);
	engine_stop(w->engine);
	engine_free(w->engine);
	catalog_close(w->catalog);
	target_close(w->target);
}

int world_setup(void **state)
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

int world_teardown(void **state)
{
	struct world *w = *state;
	char cmd[120];

	snprintf(cmd, sizeof cmd, "rm -rf %s", w->dir);
	assert_int_equal(system(cmd), 0);
	free(w);
	return 0;
}

void world_make_tree(struct world *w)
{
	char cmd[1200];

	snprintf(cmd, sizeof cmd,
		 "cd %s && mkdir -p a/b/c d && for i in $(seq 300); do echo file $i > a/f$i; done && "
		 "head -c 5000000 /dev/urandom > d/big && truncate -s 20M d/sparse && ln d/big a/b/big2 && "
		 "ln -s ../x a/b/link && mkfifo d/fifo && : > d/empty && chmod 4755 a/f1 && "
		 "chown 4294967290:77 a/f2 && touch -d 1960-01-01 a/f3 && touch -h -d 2050-05-05 a/b/link", w->src);
	assert_int_equal(system(cmd), 0);
}

void world_assert_same(struct world *w)
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

void world_finish(struct world *w)
{
	struct err e = { 0 };

	assert_int_equal(engine_wait(w->engine, 30000, &e), 1);
	if (engine_make_plain(w->engine, &e))
		fail_msg("%s", e.text);
	assert_int_equal(engine_record_detached(w->engine, &e), 0);
	assert_int_equal(catalog_phase(w->catalog), CATALOG_DETACHED);
}

struct eobj *world_lookup(struct world *w, int dirfd, struct eobj *dir, const char *name)
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

struct eobj *world_root(struct world *w)
{
	struct target_mark m;
	struct target_handle h;
	struct eobj *o;

	assert_int_equal(target_mark_get(w->target, target_root_fd(w->target), &m), 0);
	assert_int_equal(target_handle_of(target_root_fd(w->target), &h), 0);
	assert_int_equal(NEED(access_attach(w->engine, NULL, NULL, &m, &h, &o, &W.w)), 0);
	return o;
}

/* Run a part of a life in a process of its own that dies by SIGKILL where `life` ends. */
void world_die_after(struct world *w, void (*life)(struct world *))
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

struct eobj *world_look(struct world *w, const char *name)
{
	struct eobj *r = world_root(w), *o = world_lookup(w, target_root_fd(w->target), r, name);

	access_put(r);
	return o;
}
