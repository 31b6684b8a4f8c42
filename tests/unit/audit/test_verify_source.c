/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Against the source: its content in place of recorded checksums, and what became of it since the migration. */
#include "verify_rig.h"

#include <fcntl.h>
#include <stdlib.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/clock.h"

static struct source *open_source_dir(struct rig *g)
{
	char url[2300];
	struct source *s;
	struct err e = { 0 };

	snprintf(url, sizeof url, "file://%s", g->source_dir);
	assert_int_equal(source_open(url, &s, &e), 0);
	return s;
}

/* On both sides, with the source's time, below a directory of the catalog. */
static uint64_t both(struct rig *g, const char *name, size_t n, bool with_checksum)
{
	char *data = rig_bytes(g, n);
	struct stat st;
	uint64_t oid;

	rig_write(g->source_dir, name, data, n);
	rig_write(g->target_dir, name, data, n);
	assert_int_equal(stat(rig_path(g->source_dir, name), &st), 0);
	rig_put_mtime(g, name, st.st_mtim);
	oid = rig_migrated(g, name, with_checksum ? data : NULL, n);
	free(data);
	return oid;
}

static uint64_t directory(struct rig *g, const char *name)
{
	struct catalog_row row;

	assert_int_equal(mkdir(rig_path(g->target_dir, name), 0755) | mkdir(rig_path(g->source_dir, name), 0755), 0);
	rig_row(g, name, &row);
	rig_add_row(g, &row, CATALOG_MIGRATED);
	return row.oid;
}

/* dir/name; the target's file lies in the root, as if an application had moved it there. */
static uint64_t below(struct rig *g, uint64_t dir, const char *dirname, const char *name)
{
	struct catalog_row row;
	char path[300];
	uint8_t sum[16];
	char *data = rig_bytes(g, 5000);

	snprintf(path, sizeof path, "%s/%s", dirname, name);
	rig_write(g->source_dir, path, data, 5000);
	rig_write(g->target_dir, name, data, 5000);
	rig_row(g, name, &row);
	row.parent = dir;
	rig_checksum(data, 5000, sum);
	rig_add_row(g, &row, CATALOG_FOUND);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_transition(g->c, row.oid, 1u << CATALOG_FOUND, CATALOG_CLEANING, NULL), 0);
	assert_int_equal(catalog_set_checksum(g->c, row.oid, sum), 0);
	assert_int_equal(catalog_transition(g->c, row.oid, 1u << CATALOG_CLEANING, CATALOG_MIGRATED, NULL), 0);
	assert_int_equal(catalog_commit(g->c), 0);
	rig_set_ctime(g, row.oid, name);
	free(data);
	return row.oid;
}

static void change_source(struct rig *g, const char *name, bool keep_mtime)
{
	char *path = rig_path(g->source_dir, name);
	int fd = open(path, O_WRONLY);
	struct stat st;
	struct timespec ts[2];

	assert_int_equal(fstat(fd, &st), 0);
	assert_int_equal(pwrite(fd, "new version", 11, 7), 11);
	ts[0] = st.st_atim;
	ts[1] = keep_mtime ? st.st_mtim : (struct timespec){ 1, 1 };
	assert_int_equal(futimens(fd, ts), 0);
	close(fd);
}

static void test_against_source(void **state)
{
	struct rig *g = *state;
	struct source *s;
	struct audit_verify_progress p;
	uint64_t newer = both(g, "newer", 70000, true), sly = both(g, "sly", 70000, true),
		 longer = both(g, "longer", 3 * MIB, true), lost = both(g, "lost", 10, true),
		 bare_newer = both(g, "bare newer", 70000, false), changed = both(g, "changed", 70000, true),
		 bare_bad = both(g, "bare bad", 70000, false), dir = directory(g, "dir"),
		 kept = directory(g, "kept"), inside = below(g, dir, "dir", "inside"), dir2 = directory(g, "turned");

	both(g, "same", 5 * MIB + 77, true);
	both(g, "bare same", 2 * MIB + 5, false);
	both(g, "empty", 0, false);
	below(g, kept, "kept", "deep");
	change_source(g, "newer", false);
	change_source(g, "sly", true);
	change_source(g, "bare newer", false);
	assert_int_equal(truncate(rig_path(g->source_dir, "longer"), 3 * MIB + 1), 0);
	assert_int_equal(unlink(rig_path(g->source_dir, "lost")), 0);
	assert_int_equal(unlink(rig_path(g->source_dir, "dir/inside")) | rmdir(rig_path(g->source_dir, "dir")), 0);
	assert_int_equal(rmdir(rig_path(g->source_dir, "turned")), 0);
	rig_write(g->source_dir, "turned", "a file", 6);
	usleep(20000);
	rig_touch(g, "changed");
	rig_damage(g, "bare bad", 4096);
	s = open_source_dir(g);
	assert_int_equal(rig_run(g, (struct audit_verify_config){ .source = s }, &p), 0);
	source_close(s);
	rig_expect(g, newer, AUDIT_SOURCE_CHANGED, "newer");
	rig_expect(g, sly, AUDIT_SOURCE_CHANGED, "sly");
	rig_expect(g, longer, AUDIT_SOURCE_CHANGED, "longer");
	rig_expect(g, lost, AUDIT_SOURCE_CHANGED, "lost");
	rig_expect(g, bare_newer, AUDIT_SOURCE_CHANGED, "bare newer");
	rig_expect(g, changed, AUDIT_CHANGED, "changed");
	rig_expect(g, bare_bad, rig_damaged(g), "bare bad");
	rig_expect(g, dir, AUDIT_SOURCE_CHANGED, "dir");
	rig_expect(g, inside, AUDIT_SOURCE_CHANGED, "dir/inside");
	rig_expect(g, dir2, AUDIT_SOURCE_CHANGED, "turned");
	assert_int_equal(p.files[AUDIT_SAME], 4);
	assert_int_equal(g->nfound, 10);
}

static struct source *with_faults(struct rig *g, const char *rules)
{
	struct source *s = source_fault(open_source_dir(g));
	struct err e = { 0 };

	assert_non_null(s);
	assert_int_equal(source_fault_set(s, rules, &e), 0);
	return s;
}

static void test_bad_source(void **state)
{
	struct rig *g = *state;
	struct source *s;
	struct audit_verify_progress p;
	uint64_t secret = both(g, "secret", 5000, true), flipped = both(g, "flipped", 5000, true), began;

	both(g, "short", 3 * MIB, true);
	s = with_faults(g, "read name=secret err=EACCES; read name=flipped flip; read name=short short");
	assert_int_equal(rig_run(g, (struct audit_verify_config){ .source = s }, &p), 0);
	source_close(s);
	rig_expect(g, secret, AUDIT_UNREADABLE, "secret");
	rig_expect(g, flipped, AUDIT_SOURCE_CHANGED, "flipped");
	assert_int_equal(p.files[AUDIT_SAME], 1);
	/* a source that does not answer holds nobody who wants to stop, and may answer later */
	for (int closed = 0; closed < 2; closed++) {
		s = with_faults(g, "any stall");
		began = clock_mono();
		g->stop_at = began + 300 * CLOCK_MS;
		assert_int_equal(rig_run(g, (struct audit_verify_config){ .source = s, .restart = true }, &p), -EINTR);
		assert_true(clock_mono() - began < 10 * CLOCK_SEC);
		if (!closed)
			assert_int_equal(source_fault_set(s, "", NULL), 0);
		source_close(s);
	}
}

/* The two kinds of verification do not go on from each other's place. */
static void test_kinds_apart(void **state)
{
	struct rig *g = *state;
	struct source *s;
	struct audit_verify_progress p;

	for (int i = 0; i < 12; i++) {
		char name[16];

		snprintf(name, sizeof name, "k%d", i);
		both(g, name, MIB, true);
	}
	g->stop_at = clock_mono() + 600 * CLOCK_MS;
	assert_int_equal(rig_run(g, (struct audit_verify_config){ .rate = 8 * MIB }, &p), -EINTR);
	assert_true(p.done_files > 1);
	g->stop_at = 0;
	s = open_source_dir(g);
	assert_int_equal(rig_run(g, (struct audit_verify_config){ .source = s }, &p), 0);
	source_close(s);
	assert_false(p.resumed);
	assert_int_equal(p.files[AUDIT_SAME], 12);
}

int test_verify_source(struct rig *g)
{
	const struct CMUnitTest tests[] = { TEST(test_against_source, g), TEST(test_bad_source, g) };
	const struct CMUnitTest once[] = { TEST(test_kinds_apart, g) };
	int failed = RIG_RUN(g, "verify, against the source,", tests);

	if (rig_first(g))
		failed += RIG_RUN(g, "verify, the kinds apart,", once);
	return failed;
}
