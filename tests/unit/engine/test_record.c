/* SPDX-License-Identifier: GPL-3.0-or-later */
/* What is recorded with the content: checksums over several lives, what voids them, and how many flushes it costs. */
#include "world.h"

#include "base/checksum.h"
#include "base/point.h"

enum { BIG = (9 << 20) + 4321 };

static char *make_big(struct world *w)
{
	char *p = malloc(BIG);

	for (size_t i = 0; i < BIG; i++)
		p[i] = (char)(i * 2654435761u >> 13);
	world_put_file(w->src, "f", p, BIG);
	return p;
}

static void expected_sum(const char *p, size_t n, uint8_t out[CHECKSUM_SIZE])
{
	uint32_t chunks = checksum_chunks(n);
	uint8_t one[CHECKSUM_SIZE];

	memset(out, 0, CHECKSUM_SIZE);
	for (uint32_t i = 0; i < chunks; i++) {
		size_t at = (size_t)i << checksum_shift(n), len = n - at < (1u << 20) ? n - at : 1u << 20;

		checksum_of(p + at, len, checksum_seed(chunks, i), one);
		checksum_add(out, one);
	}
}

static void arm(const char *rules)
{
	struct err e = { 0 };

	if (point_set(rules, &e))
		fail_msg("%s", e.text);
}

static struct catalog_row row_of_f(struct world *w)
{
	struct catalog_row row;

	assert_int_equal(catalog_find(w->catalog, CATALOG_ROOT_OID, "f", 1, &row), 0);
	return row;
}

static void live_until_some_landed(struct world *w)
{
	arm("fetch.landed kill after=3");
	world_start(w, true);
	for (int i = 0; i < 3; i++) {	/* read and recorded, one chunk at a time */
		struct eobj *f = world_look(w, "f");

		assert_int_equal(NEED(access_need_record(f, &W.w)), 0);
		assert_int_equal(NEED(access_need_range(f, (uint64_t)(7 - 3 * i) << 20, 1, &W.w)), 0);
		usleep(250000);
	}
	engine_hold(w->engine, false);
	sleep(5);
}

static void one_checksum_over_many_lives(void **state)
{
	struct world *w = *state;
	char *p = make_big(w);
	uint8_t sum[CHECKSUM_SIZE];
	struct catalog_row row;

	for (int i = 0; i < 2; i++)
		world_die_after(w, live_until_some_landed);
	world_start(w, false);
	world_finish(w);
	row = row_of_f(w);
	expected_sum(p, BIG, sum);
	assert_int_equal(row.state, CATALOG_MIGRATED);
	assert_true(row.has_checksum);
	assert_memory_equal(row.checksum, sum, sizeof sum);
	world_stop(w);
	world_assert_same(w);
	free(p);
}

/* The ctime kept is the one the inode has when DMM has let go of it. */
static void ctime_is_as_we_left_it(void **state)
{
	struct world *w = *state;
	struct catalog_row row;
	struct stat st;
	char *p = make_big(w);

	world_start(w, false);
	world_finish(w);
	row = row_of_f(w);
	assert_int_equal(fstatat(target_root_fd(w->target), "f", &st, 0), 0);
	assert_int_equal(row.ctime.sec, st.st_ctim.tv_sec);
	assert_int_equal(row.ctime.nsec, st.st_ctim.tv_nsec);
	world_stop(w);
	free(p);
}

static struct eobj *write_some(struct world *w, int *fd)
{
	struct eobj *f = world_look(w, "f");

	*fd = openat(target_root_fd(w->target), "f", O_RDWR);
	assert_int_equal(NEED(access_need_range_recorded(f, 5 << 20, 3, &W.w)), 0);
	return f;
}

static void announce_and_die(struct world *w)
{
	int fd;

	world_start(w, true);
	write_some(w, &fd);
	assert_int_equal(pwrite(fd, "app", 3, 5 << 20), 3);	/* and nothing of it is told any more */
}

/* D8: a crash right after the first byte must not leave the application's byte under the source's checksum. */
static void a_change_voids_the_checksum(void **state)
{
	struct world *w = *state;
	struct catalog_row row;
	char *p = make_big(w), got[3];
	int fd;

	world_die_after(w, announce_and_die);
	world_start(w, false);
	world_finish(w);
	row = row_of_f(w);
	assert_int_equal(row.state, CATALOG_OVERWRITTEN);
	assert_false(row.has_checksum);
	fd = openat(target_root_fd(w->target), "f", O_RDONLY);
	assert_int_equal(pread(fd, got, 3, 5 << 20), 3);
	assert_memory_equal(got, "app", 3);
	close(fd);
	world_stop(w);
	free(p);
}

/* What an application waits for before its first change costs one flush on the target and one of the catalog: any
 * second one would fail here. */
static void the_first_change_costs_one_flush(void **state)
{
	struct world *w = *state;
	char *p = make_big(w);
	struct eobj *f;
	int fd;

	world_start(w, true);
	f = world_look(w, "f");
	assert_int_equal(NEED(access_need_record(f, &W.w)), 0);
	access_put(f);
	usleep(400000);		/* idle */
	arm("target.sync-one error=EIO after=1; target.sync-all error=EIO; catalog.flush error=EIO after=1");
	f = write_some(w, &fd);
	arm("");
	access_put(f);
	close(fd);
	world_stop(w);
	free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(one_checksum_over_many_lives), WORLD_TEST(ctime_is_as_we_left_it),
		WORLD_TEST(a_change_voids_the_checksum), WORLD_TEST(the_first_change_costs_one_flush),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
