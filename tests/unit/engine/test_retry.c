/* SPDX-License-Identifier: GPL-3.0-or-later */
/* D7 and D8: the source changes; the object waits in quarantine, is taken up in its new version, or given up. */
#include "world.h"

#include "base/clock.h"
#include "base/point.h"
#include "source/source.h"

enum { BIG = 5 << 20 };

struct outcome {
	int calls, err;
	char text[400];
};

static void done(void *arg, uint64_t oid, int err, const char *text)
{
	struct outcome *o = arg;

	(void)oid;
	o->calls++;
	o->err = err;
	snprintf(o->text, sizeof o->text, "%s", text);
}

static struct outcome retry(struct world *w, uint64_t oid)
{
	struct outcome o = { 0 };

	engine_retry(w->engine, oid, done, &o);
	assert_int_equal(o.calls, 1);
	return o;
}

static struct outcome give_up(struct world *w, uint64_t oid)
{
	struct outcome o = { 0 };

	engine_give_up(w->engine, oid, done, &o);
	assert_int_equal(o.calls, 1);
	return o;
}

static void fill(struct world *w, const char *name, size_t n, int byte)
{
	char *p = malloc(n);

	memset(p, byte, n);
	world_put_file(w->src, name, p, n);
	free(p);
}

static uint64_t oid_of(struct world *w, const char *name)
{
	struct catalog_row row;

	assert_int_equal(catalog_find(w->catalog, CATALOG_ROOT_OID, name, strlen(name), &row), 0);
	return row.oid;
}

static enum catalog_state state_of(struct world *w, const char *name)
{
	struct catalog_row row;

	assert_int_equal(catalog_get(w->catalog, oid_of(w, name), &row), 0);
	return row.state;
}

static void wait_quarantined(struct world *w, const char *name)
{
	for (int i = 0; i < 200 && state_of(w, name) != CATALOG_QUARANTINED; i++)
		usleep(20000);
	assert_int_equal(state_of(w, name), CATALOG_QUARANTINED);
}

/* f: some of its first version has been fetched and recorded when the second appears; quarantined at the end. */
static struct eobj *half_fetched(struct world *w)
{
	struct eobj *r, *f;

	fill(w, "f", BIG, 'a');
	world_start(w, true);
	r = world_root(w);
	f = world_lookup(w, target_root_fd(w->target), r, "f");
	access_put(r);
	assert_int_equal(NEED(access_need_record(f, &W.w)), 0);
	assert_int_equal(NEED(access_need_range_recorded(f, 2 << 20, 4096, &W.w)), 0);
	return f;
}

static void second_version(struct world *w, struct eobj *f, size_t n)
{
	fill(w, "f", n, 'b');
	assert_int_equal(NEED(access_need_range(f, 4 << 20, 4096, &W.w)), -EIO);
	wait_quarantined(w, "f");
}

static void modify(struct world *w, struct eobj *f)
{
	int fd = openat(target_root_fd(w->target), "f", O_RDWR);

	assert_int_equal(NEED(access_need_range_recorded(f, 2 << 20, 4, &W.w)), 0);
	assert_int_equal(access_times_taken(f, fd, NULL), 0);
	assert_int_equal(pwrite(fd, "APPL", 4, 2 << 20), 4);
	access_written(f, 2 << 20, 4);
	close(fd);
}

/* Who asks for a range with the intention to write has changed it, as far as anybody can know after a crash (D8). */
static void an_announced_change_counts(void **state)
{
	struct world *w = *state;
	struct eobj *f = half_fetched(w);

	access_put(f);
	world_stop(w);
	world_start(w, true);
	f = world_look(w, "f");
	assert_int_equal(NEED(access_need_range(f, 3 << 20, 4096, &W.w)), 0);
	second_version(w, f, BIG - 100000);
	access_put(f);
	assert_int_equal(retry(w, oid_of(w, "f")).err, -EBUSY);
	world_stop(w);
}

/* Read only: nobody has announced a change. */
static struct eobj *half_read(struct world *w)
{
	struct eobj *r, *f;

	fill(w, "f", BIG, 'a');
	world_start(w, true);
	r = world_root(w);
	f = world_lookup(w, target_root_fd(w->target), r, "f");
	access_put(r);
	assert_int_equal(NEED(access_need_record(f, &W.w)), 0);
	for (int i = 1; i < 4; i++)
		assert_int_equal(NEED(access_need_range(f, (uint64_t)i << 20, 4096, &W.w)), 0);
	usleep(300000);		/* and the group has recorded it */
	return f;
}

static void finish_same(struct world *w)
{
	engine_hold(w->engine, false);
	world_finish(w);
	world_stop(w);
	world_assert_same(w);
}

static void shorter_and_longer(void **state)
{
	static const size_t sizes[] = { BIG - 123456, BIG + 777777, 1000, 0, BIG };
	struct world *w = *state;
	struct eobj *f = half_read(w);

	for (int i = 0; i < 5; i++) {
		struct outcome o;

		fill(w, "f", sizes[i], 'b' + i);
		if (i == 0)
			assert_int_equal(NEED(access_need_range(f, 4 << 20, 4096, &W.w)), -EIO);
		else if (sizes[i - 1])
			assert_int_equal(NEED(access_need_content(f, &W.w)), -EIO);
		if (i && !sizes[i - 1])		/* nothing to fetch: it is complete as it is */
			break;
		wait_quarantined(w, "f");
		o = retry(w, oid_of(w, "f"));
		if (o.err)
			fail_msg("%s", o.text);
		if (sizes[i] >= 1 << 20)
			assert_int_equal(NEED(access_need_range(f, sizes[i] - 10, 10, &W.w)), 0);
	}
	access_put(f);
	engine_hold(w->engine, false);
	world_finish(w);
	world_stop(w);
}

static void another_version_of_the_same_size(void **state)
{
	struct world *w = *state;
	struct eobj *f = half_read(w);
	struct catalog_row row;
	struct outcome o;
	uint64_t oid;

	second_version(w, f, BIG);
	access_put(f);
	oid = oid_of(w, "f");
	o = retry(w, oid);
	if (o.err)
		fail_msg("%s", o.text);
	assert_int_equal(retry(w, oid).err, -ESTALE);	/* not quarantined any more */
	engine_hold(w->engine, false);
	world_finish(w);
	assert_int_equal(catalog_get(w->catalog, oid, &row), 0);
	assert_int_equal(row.state, CATALOG_MIGRATED);
	assert_true(row.has_checksum);
	world_stop(w);
	world_assert_same(w);
}

static void two_versions_are_never_mixed(void **state)
{
	struct world *w = *state;
	struct eobj *f = half_fetched(w);
	struct outcome o;
	char got[8];
	int fd;

	modify(w, f);
	second_version(w, f, BIG);
	access_put(f);
	o = retry(w, oid_of(w, "f"));
	assert_int_equal(o.err, -EBUSY);
	assert_non_null(strstr(o.text, "never mixed"));
	assert_int_equal(give_up(w, oid_of(w, "f")).err, 0);
	assert_int_equal(state_of(w, "f"), CATALOG_FAILED);
	assert_int_equal(faccessat(target_root_fd(w->target), "f", F_OK, 0), -1);
	fd = openat(target_root_fd(w->target), "f.dmm-incomplete", O_RDONLY);	/* the application's bytes stay */
	assert_int_equal(pread(fd, got, 4, 2 << 20), 4);
	assert_memory_equal(got, "APPL", 4);
	assert_true(fgetxattr(fd, "trusted.dmm", NULL, 0) < 0);
	close(fd);
	engine_hold(w->engine, false);
	world_finish(w);
	world_stop(w);
}

static void given_up_is_gone(void **state)
{
	struct world *w = *state;
	struct eobj *f = half_read(w);
	struct engine_progress p;

	second_version(w, f, 17);
	access_put(f);
	assert_int_equal(give_up(w, oid_of(w, "f")).err, 0);
	assert_int_equal(faccessat(target_root_fd(w->target), "f", F_OK, 0), -1);
	engine_hold(w->engine, false);
	world_finish(w);
	engine_progress(w->engine, &p);
	assert_int_equal(p.found_objects, 2);
	assert_int_equal(p.here_objects, 2);
	world_stop(w);
}

/* $S is the source, $T the target. */
static void run(struct world *w, const char *script)
{
	setenv("S", w->src, 1);
	setenv("T", w->dst, 1);
	assert_int_equal(system(script), 0);
}

static void file_becomes_directory(void **state)
{
	struct world *w = *state;
	struct eobj *f = half_read(w);
	struct outcome o;

	run(w, "rm $S/f && mkdir -m 750 $S/f && echo inside > $S/f/x && ln -s y $S/f/l");
	assert_int_equal(NEED(access_need_range(f, 4 << 20, 4096, &W.w)), -EIO);
	access_put(f);
	wait_quarantined(w, "f");
	o = retry(w, oid_of(w, "f"));
	if (o.err)
		fail_msg("%s", o.text);
	engine_hold(w->engine, false);
	world_finish(w);
	world_stop(w);
	run(w, "diff -r --no-dereference $S/f $T/f && test $(stat -c %a $T/f) = 750");
}

static void directory_becomes_file_or_link(void **state)
{
	struct world *w = *state;
	struct eobj *r, *d, *e;

	run(w, "mkdir $S/d $S/e && : > $S/d/x");
	world_start(w, true);
	r = world_root(w);
	d = world_lookup(w, target_root_fd(w->target), r, "d");
	e = world_lookup(w, target_root_fd(w->target), r, "e");
	assert_int_equal(NEED(access_need_record(d, &W.w)), 0);
	assert_int_equal(NEED(access_need_record(e, &W.w)), 0);
	run(w, "rm -r $S/d $S/e && echo a file now > $S/d && ln -s a-link-now $S/e");
	assert_int_equal(NEED(access_need_listed(d, &W.w)), -EIO);
	assert_int_equal(NEED(access_need_listed(e, &W.w)), -EIO);
	access_put(e);
	access_put(d);
	access_put(r);
	wait_quarantined(w, "d");
	wait_quarantined(w, "e");
	assert_int_equal(retry(w, oid_of(w, "d")).err, 0);
	assert_int_equal(retry(w, oid_of(w, "e")).err, 0);
	engine_hold(w->engine, false);
	world_finish(w);
	world_stop(w);
	run(w, "cmp $S/d $T/d && test $(readlink $T/e) = a-link-now");
}

static void gone_from_the_source(void **state)
{
	struct world *w = *state;
	struct eobj *f = half_read(w);
	struct outcome o;

	run(w, "rm $S/f");
	assert_int_equal(NEED(access_need_range(f, 4 << 20, 4096, &W.w)), -EIO);
	access_put(f);
	wait_quarantined(w, "f");
	o = retry(w, oid_of(w, "f"));
	assert_int_equal(o.err, -ENOENT);
	assert_non_null(strstr(o.text, "give it up"));
	assert_int_equal(retry(w, 99999).err, -ENOENT);
	world_stop(w);
}

/* ---- killed at each step of a retry ---- */

static const char *kill_at;

static void die_in_retry(struct world *w)
{
	struct eobj *f = half_read(w);
	struct err e = { 0 };

	second_version(w, f, BIG - 4097);
	if (point_set(kill_at, &e))
		fail_msg("%s", e.text);
	retry(w, oid_of(w, "f"));
}

static void killed_while_retrying(void **state)
{
	static const char *const points[] = { "retry.begun kill", "retry.emptied kill", "retry.reset kill",
					      "retry.recorded kill" };
	struct world *w = *state;

	for (unsigned i = 0; i < sizeof points / sizeof points[0]; i++) {
		struct err e = { 0 };
		int r;

		kill_at = points[i];
		world_die_after(w, die_in_retry);
		world_start(w, false);
		r = engine_wait(w->engine, 1500, &e);
		if (!r) {	/* still under the old promise: the next retry settles it */
			struct outcome o;

			wait_quarantined(w, "f");
			o = retry(w, oid_of(w, "f"));
			if (o.err)
				fail_msg("%s: %s", points[i], o.text);
		}
		finish_same(w);
		assert_int_equal(world_teardown(state), 0);
		assert_int_equal(world_setup(state), 0);
		w = *state;
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		WORLD_TEST(an_announced_change_counts), WORLD_TEST(shorter_and_longer),
		WORLD_TEST(another_version_of_the_same_size), WORLD_TEST(two_versions_are_never_mixed),
		WORLD_TEST(given_up_is_gone), WORLD_TEST(file_becomes_directory),
		WORLD_TEST(directory_becomes_file_or_link), WORLD_TEST(gone_from_the_source),
		WORLD_TEST(killed_while_retrying),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
