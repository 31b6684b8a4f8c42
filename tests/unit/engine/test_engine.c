/* SPDX-License-Identifier: GPL-3.0-or-later */
/* The engine's answers to the file system, and its whole way from the first stub to the plain target. */
#include "world.h"

static void background_brings_everything(void **state)
{
	struct world *w = *state;

	world_make_tree(w);
	world_start(w, false);
	world_finish(w);
	world_stop(w);
	world_assert_same(w);
}

/* Between the last step of the engine and the unmount applications still change the root. */
static void the_root_is_changed_when_it_is_plain(void **state)
{
	struct world *w = *state;
	struct stat st = { .st_mode = 0751 };
	struct err e = { 0 };

	world_make_tree(w);
	world_start(w, false);
	assert_int_equal(target_root_guard(w->target), 0);
	assert_int_equal(engine_wait(w->engine, 30000, &e), 1);
	assert_int_equal(engine_make_plain(w->engine, &e), 0);
	assert_int_equal(NEED(access_root_setattr(w->engine, ACCESS_ROOT_MODE, &st, &W.w)), 0);
	assert_int_equal(engine_make_plain(w->engine, &e), 0);	/* as a new worker repeats it */
	world_stop(w);		/* flushes and records what is queued */
	assert_int_equal(stat(w->dst, &st), 0);
	assert_int_equal(st.st_mode & 07777, 0751);
	assert_true(getxattr(w->dst, "trusted.dmm", NULL, 0) < 0);
	assert_true(getxattr(w->dst, "trusted.dmm.stamp", NULL, 0) < 0);
}

static void continues_after_a_stop(void **state)
{
	struct world *w = *state;
	struct engine_progress p;

	world_make_tree(w);
	world_start(w, false);
	usleep(20000);
	world_stop(w);
	world_start(w, false);
	world_finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.found_objects, p.here_objects);
	assert_int_equal(p.overwritten, 0);
	world_stop(w);
	world_assert_same(w);
}

static void demand_reads_only_what_is_touched(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	struct eobj *r, *d, *big, *none;
	int dfd;

	world_make_tree(w);
	world_start(w, true);
	r = world_root(w);
	d = world_lookup(w, target_root_fd(w->target), r, "d");
	assert_non_null(d);
	dfd = openat(target_root_fd(w->target), "d", O_RDONLY | O_DIRECTORY);
	big = world_lookup(w, dfd, d, "big");
	assert_non_null(big);
	none = world_lookup(w, dfd, d, "no such name");
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
	world_finish(w);
	world_stop(w);
	world_assert_same(w);
}

static void truncation_keeps_source_bytes_away(void **state)
{
	struct world *w = *state;
	struct eobj *r, *f;
	char got[64] = "";
	int fd;

	world_put_file(w->src, "f", "the source's bytes", 18);
	world_start(w, true);
	r = world_root(w);
	f = world_lookup(w, target_root_fd(w->target), r, "f");
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
	world_finish(w);
	assert_int_equal(pread(fd, got, sizeof got, 0), 18);
	assert_memory_equal(got, "the \0\0\0\0\0\0\0\0\0\0\0\0\0\0", 18);
	close(fd);
	world_stop(w);
}

static void deleted_names_stay_deleted(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	struct eobj *r, *f, *l;

	world_put_file(w->src, "gone", "x", 1);
	world_put_file(w->src, "stays", "y", 1);
	world_put_file(w->src, "two", "two names", 9);
	{
		char a[200], b[200];

		snprintf(a, sizeof a, "%s/two", w->src);
		snprintf(b, sizeof b, "%s/names", w->src);
		assert_int_equal(link(a, b), 0);
	}
	world_start(w, true);
	r = world_root(w);
	f = world_lookup(w, target_root_fd(w->target), r, "gone");
	assert_int_equal(NEED(access_need_intent(f, &W.w)), 0);
	assert_int_equal(unlinkat(target_root_fd(w->target), "gone", 0), 0);
	access_deleted(f, true);
	l = world_lookup(w, target_root_fd(w->target), r, "two");
	assert_int_equal(NEED(access_need_intent(l, &W.w)), 0);
	assert_true(access_must_hide(l, 1));
	assert_int_equal(access_hide(l, target_root_fd(w->target), "two"), 0);
	access_deleted(l, false);
	access_put(l);
	access_put(f);
	access_put(r);
	engine_hold(w->engine, false);
	world_finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.deleted, 1);
	assert_int_equal(p.found_objects, 4);	/* root, gone, stays, the one with two names */
	assert_int_equal(faccessat(target_root_fd(w->target), "gone", F_OK, 0), -1);
	assert_int_equal(faccessat(target_root_fd(w->target), "two", F_OK, 0), -1);
	assert_int_equal(faccessat(target_root_fd(w->target), "stays", F_OK, 0), 0);
	assert_int_equal(faccessat(target_root_fd(w->target), "names", F_OK, 0), 0);
	assert_int_equal(faccessat(target_root_fd(w->target), TARGET_HOLDER_NAME, F_OK, 0), -1);
	world_stop(w);
}

static void a_changed_source_is_quarantined(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	struct eobj *r, *f;

	world_put_file(w->src, "f", "first version", 13);
	world_start(w, true);
	r = world_root(w);
	f = world_lookup(w, target_root_fd(w->target), r, "f");
	world_put_file(w->src, "f", "second, longer version", 22);
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
	world_stop(w);
}

/* D1: reserved owner without a mark is ours, torn, and made again. */
static void a_torn_stub_is_made_again(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	char path[200];

	world_put_file(w->src, "f", "content", 7);
	world_start(w, true);
	world_stop(w);
	world_put_file(w->dst, "f", "", 0);
	snprintf(path, sizeof path, "%s/f", w->dst);
	assert_int_equal(chown(path, 3000000001u, 3000000001u), 0);
	world_put_file(w->dst, "not on the source any more", "", 0);
	snprintf(path, sizeof path, "%s/not on the source any more", w->dst);
	assert_int_equal(chown(path, 3000000001u, 3000000001u), 0);
	world_start(w, false);
	world_finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.shadowed, 0);
	world_stop(w);
	world_assert_same(w);
}

static void an_applications_file_is_shadowed_not_touched(void **state)
{
	struct world *w = *state;
	struct engine_progress p;
	char got[32] = "";
	int fd;

	world_put_file(w->src, "f", "the source's", 12);
	world_put_file(w->dst, "f", "the application's", 17);
	world_start(w, false);
	world_finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.shadowed, 1);
	fd = openat(target_root_fd(w->target), "f", O_RDONLY);
	assert_int_equal(read(fd, got, sizeof got), 17);
	assert_string_equal(got, "the application's");
	close(fd);
	world_stop(w);
}

/* D2: catalog and target of different moments do not go together. */
static void a_restored_target_is_refused(void **state)
{
	struct world *w = *state;
	struct engine_config cfg = { 0 };
	struct err e = { 0 };
	uint64_t n;

	world_make_tree(w);
	world_start(w, true);
	world_stop(w);
	world_start(w, true);
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

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(background_brings_everything), WORLD_TEST(the_root_is_changed_when_it_is_plain),
		WORLD_TEST(continues_after_a_stop),
		WORLD_TEST(demand_reads_only_what_is_touched), WORLD_TEST(truncation_keeps_source_bytes_away),
		WORLD_TEST(deleted_names_stay_deleted), WORLD_TEST(a_changed_source_is_quarantined),
		WORLD_TEST(a_torn_stub_is_made_again), WORLD_TEST(an_applications_file_is_shadowed_not_touched),
		WORLD_TEST(a_restored_target_is_refused),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
