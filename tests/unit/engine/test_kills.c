/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Lives that end by SIGKILL, and what the next one makes of it. */
#include "world.h"

static void look_at_f(struct world *w)
{
	world_start(w, true);
	world_look(w, "f");
}

/* D1: a stub without a row is adopted. */
static void a_stub_without_a_row_is_adopted(void **state)
{
	struct world *w = *state;
	struct engine_progress p;

	world_put_file(w->src, "f", "content", 7);
	world_die_after(w, look_at_f);
	world_start(w, false);
	world_finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.shadowed, 0);
	assert_int_equal(p.found_objects, 2);
	world_stop(w);
	world_assert_same(w);
}

static void intend_and_delete(struct world *w)
{
	struct eobj *f;

	world_start(w, true);
	f = world_look(w, "f");
	assert_int_equal(NEED(access_need_intent(f, &W.w)), 0);
	assert_int_equal(unlinkat(target_root_fd(w->target), "f", 0), 0);
}

/* D5: killed between the unlink and its record; listing must not bring the name back. */
static void a_delete_survives_the_kill(void **state)
{
	struct world *w = *state;
	struct engine_progress p;

	world_put_file(w->src, "f", "content", 7);
	world_die_after(w, intend_and_delete);
	world_start(w, false);
	world_finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.deleted, 1);
	assert_int_equal(faccessat(target_root_fd(w->target), "f", F_OK, 0), -1);
	world_stop(w);
}

static void intend_only(struct world *w)
{
	struct eobj *f;

	world_start(w, true);
	f = world_look(w, "f");
	assert_int_equal(NEED(access_need_intent(f, &W.w)), 0);
}

/* D5: the intent alone deletes nothing. */
static void an_intent_without_the_act_is_forgotten(void **state)
{
	struct world *w = *state;
	struct engine_progress p;

	world_put_file(w->src, "f", "content", 7);
	world_die_after(w, intend_only);
	world_start(w, false);
	world_finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.deleted, 0);
	world_stop(w);
	world_assert_same(w);
}

static void truncate_rewrite_and_sync(struct world *w)
{
	struct eobj *r, *f;
	int fd;

	world_start(w, true);
	r = world_root(w);
	f = world_lookup(w, target_root_fd(w->target), r, "f");
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

	world_put_file(w->src, "f", "content", 7);
	world_die_after(w, truncate_rewrite_and_sync);
	world_start(w, false);
	world_finish(w);
	fd = openat(target_root_fd(w->target), "f", O_RDONLY);
	assert_int_equal(read(fd, got, sizeof got), 7);
	assert_string_equal(got, "another");
	close(fd);
	world_stop(w);
}

static void truncate_to_nothing(struct world *w)
{
	struct eobj *f;
	int fd;

	world_start(w, true);
	f = world_look(w, "f");
	assert_int_equal(NEED(access_need_record(f, &W.w)), 0);
	fd = openat(target_root_fd(w->target), "f", O_RDWR);
	assert_int_equal(NEED(access_change_begin(f, &W.w)), 0);
	assert_int_equal(ftruncate(fd, 0), 0);
	assert_int_equal(access_truncated(f, fd, 0), 0);
}

/* Killed when nothing is left to fetch: an open must not wait for the background. */
static void demand_finishes_what_is_whole(void **state)
{
	struct world *w = *state;
	struct eobj *f;

	world_put_file(w->src, "f", "content", 7);
	world_die_after(w, truncate_to_nothing);
	world_start(w, true);
	f = world_look(w, "f");
	assert_int_equal(NEED(access_need_content_recorded(f, &W.w)), 0);
	access_put(f);
	engine_hold(w->engine, false);
	world_finish(w);
	world_stop(w);
}

static unsigned life_us;

static void live_for_a_while(struct world *w)
{
	world_start(w, false);
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
	world_make_tree(w);
	for (int i = 0; i < 15; i++) {
		life_us = (unsigned)rand() % 150000;
		world_die_after(w, live_for_a_while);
	}
	world_start(w, false);
	if (catalog_phase(w->catalog) == CATALOG_RUNNING)
		world_finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.found_objects, p.here_objects);
	assert_int_equal(p.shadowed + p.overwritten + p.deleted + p.quarantined, 0);
	world_stop(w);
	world_assert_same(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(a_stub_without_a_row_is_adopted), WORLD_TEST(a_delete_survives_the_kill),
		WORLD_TEST(an_intent_without_the_act_is_forgotten), WORLD_TEST(a_rewrite_of_the_old_size_survives),
		WORLD_TEST(demand_finishes_what_is_whole), WORLD_TEST(random_kills),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
