/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verification on real file systems, the same tests on ext4, xfs and btrfs: here those against the recorded checksums,
 * beside them test_verify_resume.c and test_verify_source.c.
 *
 * A child process does everything in a mount namespace of its own; the parent removes the scratch directory.  The
 * images live in memory.
 */
#include "verify_rig.h"

#include <fcntl.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "base/clock.h"
#include "../target/disk.h"

static void test_same(void **state)
{
	static const size_t sizes[] = { 0, 1, 100, 4095, 4096, 4097, 70000, MIB - 1, MIB, MIB + 1, 4 * MIB,
		5 * MIB + 4096, 9 * MIB + 777 };
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t total = 0;
	struct stat before, after;
	char name[32];

	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		snprintf(name, sizeof name, "f%u", i);
		rig_file(g, name, sizes[i]);
		total += sizes[i];
	}
	assert_int_equal(stat(rig_path(g->target_dir, "f6"), &before), 0);
	rig_run_all(g, &p);
	assert_int_equal(g->nfound, 0);
	assert_int_equal(p.files[AUDIT_SAME], sizeof sizes / sizeof *sizes);
	assert_int_equal(p.done_bytes, total);
	assert_int_equal(p.total_bytes, total);
	assert_int_equal(p.done_files, 1 + sizeof sizes / sizeof *sizes);	/* and the root */
	assert_int_equal(p.total_files, p.done_files);
	assert_false(p.resumed);
	assert_true(g->progress_calls >= 1);
	assert_int_equal(stat(rig_path(g->target_dir, "f6"), &after), 0);
	assert_memory_equal(&before.st_atim, &after.st_atim, sizeof after.st_atim);
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof after.st_ctim);
}

/* A mapped and locked page stays in the page cache, whatever else happens on this host. */
static char *pin_page(struct rig *g, const char *name, size_t at)
{
	int fd = open(rig_path(g->target_dir, name), O_RDONLY);
	char *page = mmap(NULL, 4096, PROT_READ, MAP_SHARED | MAP_POPULATE, fd, (off_t)at);

	assert_true(fd >= 0 && page != MAP_FAILED && !mlock(page, 4096));
	close(fd);
	return page;
}

/* The bytes in the page cache are right; those on the disk are not. */
static void test_reads_the_disk(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t small = rig_file(g, "small", 70000), large = rig_file(g, "large", 9 * MIB + 777);
	char cached[4096], *pinned = pin_page(g, "small", 4096);

	rig_file(g, "sound", 70000);
	memcpy(cached, pinned, sizeof cached);
	rig_damage(g, "small", 4096);
	rig_damage(g, "large", 6 * MIB + 8192);
	assert_memory_equal(cached, rig_page(g, "small", 4096), sizeof cached);	/* an application sees nothing of it */
	rig_run_all(g, &p);
	munmap(pinned, sizeof cached);
	rig_expect(g, small, rig_damaged(g), "small");
	rig_expect(g, large, rig_damaged(g), "large");
	assert_int_equal(g->nfound, 2);
	assert_int_equal(p.files[rig_damaged(g)], 2);
	assert_int_equal(p.files[AUDIT_SAME], 1);
}

/* The image as it is now, after everything that was written. */
static char *snapshot(struct rig *g, size_t *size)
{
	int fd = open(g->image, O_RDONLY);
	struct stat st;
	char *p;

	sync();
	assert_true(fd >= 0 && !fstat(fd, &st));
	*size = (size_t)st.st_size;
	p = mmap(NULL, *size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
	assert_true(p != MAP_FAILED);
	for (size_t at = 0; at < *size; at += MIB)
		assert_int_equal(pread(fd, p + at, MIB, (off_t)at), MIB);
	close(fd);
	return p;
}

/* btrfs reads compressed extents through the page cache although it was asked for O_DIRECT. */
static void test_compressed(void **state)
{
	enum { BLOCK = 4096, NODE = 16384, FSID = 0x20, SUPER = 65536 };
	struct rig *g = *state;
	struct audit_verify_progress p;
	char *data = malloc(MIB), *before, *after;
	size_t size, at;
	uint64_t oid;
	int fd;

	rig_shell("mount -o remount,compress-force=zlib %s", g->mount);
	before = snapshot(g, &size);
	for (size_t i = 0; i < MIB; i += 16)
		snprintf(data + i, 16, "line %09zu\n", i * 7919);
	rig_write(g->target_dir, "compressed", data, MIB);
	oid = rig_migrated(g, "compressed", data, MIB);
	after = snapshot(g, &size);
	/* what has changed and is no node of a tree, which would carry the file system's id */
	for (at = 0; at < size; at += BLOCK)
		if (memcmp(before + at, after + at, BLOCK) && !memmem(after + at / NODE * NODE, NODE, after + SUPER + FSID, 16))
			break;
	assert_true(at < size);
	assert_memory_equal(rig_page(g, "compressed", 0), data, BLOCK);
	fd = open(g->image, O_RDWR);
	assert_int_equal(pwrite(fd, "damage", 6, (off_t)at + 1000), 6);
	close(fd);
	rig_run_all(g, &p);
	rig_expect(g, oid, AUDIT_UNREADABLE, "compressed");
	rig_shell("mount -o remount,compress=no %s", g->mount);
	munmap(before, size);
	munmap(after, size);
	free(data);
}

/* What an application has just written is not on the disk yet. */
static void test_dirty_pages(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t oid = rig_file(g, "dirty", 3 * MIB);
	int fd = open(rig_path(g->target_dir, "dirty"), O_WRONLY);

	assert_int_equal(pwrite(fd, "application", 11, 2 * MIB), 11);
	rig_run_all(g, &p);
	rig_expect(g, oid, AUDIT_CHANGED, "dirty");
	close(fd);
}

/* What applications do is told apart from damage. */
static void test_applications(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t written = rig_file(g, "written", 70000), cut = rig_file(g, "cut", 70000), longer = rig_file(g, "longer", 70000),
		 mode = rig_file(g, "mode", 70000), sly = rig_file(g, "sly", 70000), deleted = rig_file(g, "deleted", 70000),
		 reborn = rig_file(g, "reborn", 70000), moved = rig_file(g, "moved", 70000);
	int fd;
	struct stat st;

	usleep(20000);		/* the clock of file times ticks */
	rig_touch(g, "written");
	assert_int_equal(truncate(rig_path(g->target_dir, "cut"), 69999), 0);
	assert_int_equal(truncate(rig_path(g->target_dir, "longer"), 70001), 0);
	assert_int_equal(chmod(rig_path(g->target_dir, "mode"), 0600), 0);
	assert_int_equal(stat(rig_path(g->target_dir, "sly"), &st), 0);
	rig_touch(g, "sly");
	rig_put_mtime(g, "sly", st.st_mtim);
	assert_int_equal(unlink(rig_path(g->target_dir, "deleted")), 0);
	fd = open(rig_path(g->target_dir, "reborn"), O_RDONLY);
	assert_int_equal(unlink(rig_path(g->target_dir, "reborn")), 0);	/* still open, and the name is somebody else's */
	rig_write(g->target_dir, "reborn", "x", 1);
	assert_int_equal(rename(rig_path(g->target_dir, "moved"), rig_path(g->target_dir, "moved away")), 0);
	rig_run_all(g, &p);
	close(fd);
	rig_expect(g, written, AUDIT_CHANGED, "written");
	rig_expect(g, cut, AUDIT_CHANGED, "cut");
	rig_expect(g, longer, AUDIT_CHANGED, "longer");
	rig_expect(g, sly, AUDIT_SUSPECT, "sly");
	rig_expect(g, deleted, AUDIT_GONE, "deleted");
	rig_expect(g, reborn, AUDIT_GONE, "reborn");
	assert_null(rig_finding(g, mode));
	assert_null(rig_finding(g, moved));
	assert_int_equal(p.files[AUDIT_SAME], 2);
	assert_int_equal(g->nfound, 6);
}

/* Damage under a chmod; a size that nobody has changed; a time that was never recorded. */
static void test_damage(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t touched = rig_file(g, "touched", 70000), unknown = rig_file(g, "unknown", 70000), lost;
	struct catalog_row row;
	char *data = rig_bytes(g, 5000);

	rig_write(g->target_dir, "lost", data, 4000);
	rig_row(g, "lost", &row);
	row.size = 5000;
	rig_checksum(data, 5000, row.checksum);
	rig_add_row(g, &row, CATALOG_MIGRATED);
	lost = row.oid;
	rig_set_ctime(g, lost, "lost");
	free(data);
	rig_damage(g, "touched", 8192);
	rig_damage(g, "unknown", 8192);
	usleep(20000);
	assert_int_equal(chmod(rig_path(g->target_dir, "touched"), 0600), 0);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_set_ctime(g->c, unknown, (struct catalog_time){ 0 }), 0);
	assert_int_equal(catalog_commit(g->c), 0);
	rig_run_all(g, &p);
	rig_expect(g, touched, rig_damaged(g) == AUDIT_DAMAGED ? AUDIT_SUSPECT : AUDIT_UNREADABLE, "touched");
	rig_expect(g, unknown, rig_damaged(g) == AUDIT_DAMAGED ? AUDIT_SUSPECT : AUDIT_UNREADABLE, "unknown");
	rig_expect(g, lost, AUDIT_DAMAGED, "lost");
}

/* Beside a live migration: what is not there yet; and rows that lie. */
static void test_states(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	char names[7][16];
	static const enum catalog_state states[7] = { CATALOG_FOUND, CATALOG_CLEANING, CATALOG_QUARANTINED, CATALOG_OVERWRITTEN,
		CATALOG_DELETED, CATALOG_FAILED, CATALOG_MIGRATED };
	struct catalog_row row;
	uint64_t fifo, nonsense;

	for (int i = 0; i < 7; i++) {
		snprintf(names[i], sizeof names[i], "s%d", i);
		rig_write(g->target_dir, names[i], "bytes", 5);
		rig_row(g, names[i], &row);
		rig_add_row(g, &row, states[i]);
	}
	assert_int_equal(mkfifo(rig_path(g->target_dir, "fifo"), 0600), 0);
	rig_row(g, "fifo", &row);
	row.type = CATALOG_REG;
	fifo = row.oid;
	rig_add_row(g, &row, CATALOG_FOUND);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_transition(g->c, fifo, 1u << CATALOG_FOUND, CATALOG_CLEANING, NULL), 0);
	assert_int_equal(catalog_set_checksum(g->c, fifo, row.checksum), 0);
	assert_int_equal(catalog_transition(g->c, fifo, 1u << CATALOG_CLEANING, CATALOG_MIGRATED, NULL), 0);
	assert_int_equal(catalog_commit(g->c), 0);
	nonsense = rig_file(g, "nonsense", 10);
	assert_int_equal(catalog_get(g->c, nonsense, &row), 0);
	memset(row.handle, 0xff, sizeof row.handle);
	assert_int_equal(catalog_begin(g->c), 0);
	catalog_set_promise(g->c, &row);
	assert_int_equal(catalog_commit(g->c), 0);
	rig_run_all(g, &p);
	rig_expect(g, fifo, AUDIT_DAMAGED, "fifo");
	assert_int_equal(p.files[AUDIT_WAITING], 3);
	assert_int_equal(p.files[AUDIT_NO_CHECKSUM], 2);	/* overwritten; migrated without one */
	assert_int_equal(p.done_files, p.total_files);
}

static void test_sparse(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	size_t size = 600u * MIB + 5;
	char *data = mmap(NULL, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS | MAP_NORESERVE, -1, 0);
	int fd = open(rig_path(g->target_dir, "sparse"), O_CREAT | O_WRONLY, 0644);
	uint64_t began, island;

	assert_true(data != MAP_FAILED && fd >= 0);
	memcpy(data + 3 * MIB + 10, "island", 6);
	memcpy(data + size - 3, "end", 3);
	assert_int_equal(pwrite(fd, "island", 6, 3 * MIB + 10), 6);
	assert_int_equal(pwrite(fd, "end", 3, (off_t)size - 3), 3);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	island = rig_migrated(g, "sparse", data, size);
	munmap(data, size);
	began = clock_mono();
	/* at 4 MiB/s reading the holes would take minutes */
	assert_int_equal(rig_run(g, (struct audit_verify_config){ .rate = 4 * MIB }, &p), 0);
	assert_true(clock_mono() - began < 30 * CLOCK_SEC);
	assert_int_equal(p.files[AUDIT_SAME], 1);
	fd = open(rig_path(g->target_dir, "sparse"), O_WRONLY);
	assert_int_equal(pwrite(fd, "x", 1, 300 * MIB), 1);
	close(fd);
	rig_run_all(g, &p);
	rig_expect(g, island, AUDIT_CHANGED, "sparse");
}

static void test_rate(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t began, took;

	for (int i = 0; i < 8; i++) {
		char name[16];

		snprintf(name, sizeof name, "r%d", i);
		rig_file(g, name, MIB);
	}
	began = clock_mono();
	assert_int_equal(rig_run(g, (struct audit_verify_config){ .rate = 5 * MIB }, &p), 0);
	took = clock_mono() - began;
	print_message("8 MiB at 5 MiB/s: %.2f s\n", (double)took / CLOCK_SEC);
	assert_int_equal(p.files[AUDIT_SAME], 8);
	assert_true(took > 1200 * CLOCK_MS && took < 20 * CLOCK_SEC);
	assert_true(g->progress_calls >= 2);
}

/* ---- */

static int recorded(struct rig *g)
{
	const struct CMUnitTest tests[] = {
		TEST(test_same, g), TEST(test_reads_the_disk, g), TEST(test_dirty_pages, g), TEST(test_applications, g),
		TEST(test_damage, g), TEST(test_states, g), TEST(test_sparse, g),
	};
	const struct CMUnitTest once[] = { TEST(test_rate, g) };
	const struct CMUnitTest btrfs[] = { TEST(test_compressed, g) };
	int failed = RIG_RUN(g, "verify", tests);

	if (rig_first(g))
		failed += RIG_RUN(g, "verify, the rate,", once);
	if (!strcmp(g->kind, "btrfs"))
		failed += RIG_RUN(g, "verify, compressed,", btrfs);
	return failed;
}

static int all_on(const char *dir, const char *kind)
{
	struct rig *g = calloc(1, sizeof *g);
	int failed;

	rig_mount(g, dir, kind);
	failed = recorded(g);
	failed += test_verify_resume(g);
	failed += test_verify_source(g);
	rig_umount(g);
	free(g);
	return failed;
}

int main(void)
{
	return disk_everywhere("verify", NULL, all_on);
}
