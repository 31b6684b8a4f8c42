/* SPDX-License-Identifier: GPL-3.0-or-later */
/* A target or a catalog without room: nothing is anybody's fault, readers are served, all goes on when there is room. */
#include "world.h"

#include "base/point.h"

enum { BIG = (3 << 20) + 1234 };

static void arm(const char *rules)
{
	struct err e = { 0 };

	if (point_set(rules, &e))
		fail_msg("%s", e.text);
}

static char *make_big(struct world *w)
{
	char *p = malloc(BIG);

	for (size_t i = 0; i < BIG; i++)
		p[i] = (char)(i * 2654435761u >> 11);
	world_put_file(w->src, "f", p, BIG);
	return p;
}

/* What the READ handler does when there is no room. */
static uint64_t read_around(struct eobj *o, uint64_t off, uint64_t len, char *buf)
{
	struct waiter W = { .w.wake = world_wake, .mu = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };

	assert_int_equal(access_read_around(o, off, len, &W.w), ACCESS_PARKED);
	pthread_mutex_lock(&W.mu);
	while (!W.woken)
		pthread_cond_wait(&W.cond, &W.mu);
	pthread_mutex_unlock(&W.mu);
	assert_int_equal(W.err, 0);
	return access_around_take(&W.w, buf);
}

static void readers_are_served_around_a_full_target(void **state)
{
	struct world *w = *state;
	char *p = make_big(w), *buf = malloc(BIG + 200);
	struct engine_progress pr;
	struct eobj *f;
	int fd;

	world_start(w, true);
	f = world_look(w, "f");
	/* the second chunk is here and changed by an application */
	assert_int_equal(NEED(access_need_range_recorded(f, 1 << 20, 3, &W.w)), 0);
	fd = openat(target_root_fd(w->target), "f", O_RDWR);
	assert_int_equal(access_times_taken(f, fd, NULL), 0);
	assert_int_equal(pwrite(fd, "app", 3, (1 << 20) + 7), 3);
	assert_int_equal(ftruncate(fd, BIG + 100), 0);	/* and made longer */
	memcpy(p + (1 << 20) + 7, "app", 3);
	arm("target.land error=ENOSPC");
	assert_int_equal(NEED(access_need_range(f, 2 << 20, 10, &W.w)), -ENOSPC);
	assert_int_equal(NEED(access_need_range_recorded(f, 2 << 20, 10, &W.w)), -ENOSPC);
	assert_int_equal(access_open_mode(f, false), ACCESS_SLOW);
	engine_progress(w->engine, &pr);
	assert_true(pr.target_full);
	assert_int_equal(read_around(f, 5, BIG - 5 + 100 - 5, buf), BIG + 90);
	assert_memory_equal(buf, p + 5, BIG - 5);
	for (int i = 0; i < 95; i++)
		assert_int_equal(buf[BIG - 5 + i], 0);
	arm("");
	engine_hold(w->engine, false);
	world_finish(w);
	assert_int_equal(pread(fd, buf, BIG, 0), BIG);
	assert_memory_equal(buf, p, BIG);
	close(fd);
	access_put(f);
	engine_progress(w->engine, &pr);
	assert_int_equal(pr.quarantined, 0);
	world_stop(w);
	free(buf);
	free(p);
}

static void a_reader_that_gives_up_leaves_nothing(void **state)
{
	struct world *w = *state;
	char *p = make_big(w);
	struct waiter W = { .w.wake = world_wake, .mu = PTHREAD_MUTEX_INITIALIZER, .cond = PTHREAD_COND_INITIALIZER };
	struct eobj *f;
	int cancelled = 0;

	world_start(w, true);
	f = world_look(w, "f");
	for (int i = 0; i < 200; i++) {
		memset(&W.w, 0, sizeof W.w);
		W.w.wake = world_wake;
		W.woken = false;
		assert_int_equal(access_read_around(f, 0, 1 << 20, &W.w), ACCESS_PARKED);
		usleep((useconds_t)(i % 20) * 20);
		if (access_cancel(w->engine, &W.w)) {
			cancelled++;
			continue;
		}
		pthread_mutex_lock(&W.mu);
		while (!W.woken)
			pthread_cond_wait(&W.cond, &W.mu);
		pthread_mutex_unlock(&W.mu);
		assert_int_equal(access_around_take(&W.w, NULL), 1 << 20);
	}
	print_message("%d of 200 given up\n", cancelled);
	access_put(f);
	engine_hold(w->engine, false);
	world_finish(w);
	world_stop(w);
	world_assert_same(w);
	free(p);
}

/* Every kind of refusal, in the middle of a migration: it waits, then goes on by itself. */
static void refusals_pass(void **state)
{
	static const char *const rules[] = { "target.land error=ENOSPC times=3", "target.land error=EDQUOT times=2",
					     "target.land error=EROFS times=2", "target.land error=EMFILE times=2" };
	struct world *w = *state;
	struct engine_progress p;

	for (unsigned i = 0; i < sizeof rules / sizeof rules[0]; i++) {
		world_make_tree(w);
		arm(rules[i]);
		world_start(w, false);
		world_finish(w);
		engine_progress(w->engine, &p);
		assert_int_equal(p.quarantined + p.deleted + p.overwritten, 0);
		world_stop(w);
		world_assert_same(w);
		arm("");
		assert_int_equal(world_teardown(state), 0);
		assert_int_equal(world_setup(state), 0);
		w = *state;
	}
}

static void poisoned_by_a_failed_flush(void **state)
{
	struct world *w = *state;
	struct err e = { 0 };

	world_make_tree(w);
	arm("target.sync-all error=EIO times=1");
	world_start(w, false);
	assert_int_equal(engine_wait(w->engine, 20000, &e), -EIO);
	assert_non_null(strstr(e.text, "start the same command again"));
	world_stop(w);
	arm("");
	world_start(w, false);
	world_finish(w);
	world_stop(w);
	world_assert_same(w);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(readers_are_served_around_a_full_target), WORLD_TEST(a_reader_that_gives_up_leaves_nothing),
		WORLD_TEST(refusals_pass), WORLD_TEST(poisoned_by_a_failed_flush),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
