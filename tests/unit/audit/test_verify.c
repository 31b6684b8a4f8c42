/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Verification on real file systems: ext4, xfs and btrfs on images whose bytes the test can change below the page cache.
 *
 * The catalog is filled by hand, as the engine leaves it.  A child process does everything in a mount namespace of its
 * own; the parent removes the scratch directory.  The images live in memory.  Checksums are computed here from the definition in
 * base/checksum.h, not with its code.
 */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <errno.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>
#include <fcntl.h>
#include <ftw.h>
#include <sched.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/prctl.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "audit/audit.h"
#include "base/clock.h"
#include "base/hash.h"
#include "../target/disk.h"

enum { SKIPPED = 77, MIB = 1 << 20, FINDINGS = 64 };

struct rig {
	const char *kind;
	char dir[2048], mount[2100], image[2100];
	unsigned count;
	uint64_t seed;
	/* for one test: */
	char target_dir[2200], source_dir[2200], state[2200];
	struct target *t;
	struct catalog *c;
	uint64_t oid;
	off_t flipped;			/* where damage() was done in the image */
	/* what was told: */
	struct audit_finding found[FINDINGS];
	unsigned nfound, progress_calls;
	struct audit_verify_progress last;
	uint64_t stop_at;		/* clock_mono(); 0: never */
};

/* ---- the world ---- */

__attribute__((format(printf, 1, 2))) static void shell(const char *fmt, ...)
{
	char cmd[8192];
	va_list ap;

	va_start(ap, fmt);
	vsnprintf(cmd, sizeof cmd, fmt, ap);
	va_end(ap);
	if (system(cmd)) {
		fprintf(stderr, "the test's file systems cannot be made: %s\n", cmd);
		exit(1);
	}
}

static void mount_image(struct rig *g, const char *dir, const char *kind)
{
	bool xfs = !strcmp(kind, "xfs"), ext4 = !strcmp(kind, "ext4");

	g->kind = kind;
	g->seed = 20081117;
	snprintf(g->dir, sizeof g->dir, "%s", dir);
	snprintf(g->mount, sizeof g->mount, "%s/%s", dir, kind);
	snprintf(g->image, sizeof g->image, "%s/images/%s", dir, kind);
	if (mkdir(g->mount, 0755))
		exit(1);
	shell("truncate -s %s %s && mkfs.%s -q %s %s >/dev/null && mount -o loop,strictatime%s %s %s", xfs ? "320M" : "256M", g->image,
	      kind, ext4 ? "-F" : "-f", g->image, ext4 ? ",noinit_itable" : "", g->image, g->mount);
}

static int setup(void **state)
{
	struct rig *g = *state;
	struct catalog_identity id = { .migration = "0123456789abcde", .reserved_id = 0xd1234567, .source = "file:///s" };
	struct target_id tid = { .migration = "0123456789abcde", .reserved_id = 0xd1234567 };
	struct catalog_row root = { .oid = CATALOG_ROOT_OID, .type = CATALOG_DIR };
	struct err e = { 0 };
	bool created;

	g->count++;
	snprintf(g->target_dir, sizeof g->target_dir, "%s/%u", g->mount, g->count);
	snprintf(g->source_dir, sizeof g->source_dir, "%s/images/source-%s-%u", g->dir, g->kind, g->count);
	snprintf(g->state, sizeof g->state, "%s/images/state-%s-%u", g->dir, g->kind, g->count);
	g->oid = CATALOG_ROOT_OID;
	g->nfound = g->progress_calls = 0;
	g->stop_at = 0;
	assert_int_equal(mkdir(g->target_dir, 0755) | mkdir(g->source_dir, 0755), 0);
	assert_int_equal(target_open(g->target_dir, &g->t, &e), 0);
	target_set_id(g->t, &tid);
	assert_int_equal(catalog_open(g->state, true, &id, &g->c, &created, &e), 0);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_add(g->c, &root), 0);
	assert_int_equal(catalog_commit(g->c), 0);
	return 0;
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	(void)st, (void)what, (void)ftw;
	return remove(path);
}

static void forget_findings(struct rig *g)
{
	while (g->nfound) {
		g->nfound--;
		free((void *)g->found[g->nfound].path);
		free((void *)g->found[g->nfound].text);
	}
}

static int teardown(void **state)
{
	struct rig *g = *state;

	forget_findings(g);
	if (g->c)
		catalog_close(g->c);
	target_close(g->t);
	nftw(g->source_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
	return nftw(g->target_dir, remove_one, 16, FTW_DEPTH | FTW_PHYS);
}

/* ---- content ---- */

static char *bytes(struct rig *g, size_t n)
{
	char *p = malloc(n + 8);

	assert_non_null(p);
	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = hash_u64(++g->seed);

		memcpy(p + i, &v, 8);
	}
	return p;
}

/* By the definition: one chunk: plain; more: the sum of the chunks, seeded with their number + 1.  For files below 1 TiB. */
static void checksum(const char *data, size_t n, uint8_t out[16])
{
	unsigned __int128 sum = 0;

	for (size_t at = 0; at < n || !at; at += MIB) {
		size_t len = n - at < MIB ? n - at : MIB;
		XXH128_hash_t h = n <= MIB ? XXH3_128bits(data, n) : XXH3_128bits_withSeed(data + at, len, at / MIB + 1);

		sum += (unsigned __int128)h.high64 << 64 | h.low64;
	}
	for (int i = 16; i--; sum >>= 8)
		out[i] = (uint8_t)sum;
}

static char *path_in(const char *dir, const char *name)
{
	static char path[2][4096];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
	return path[turn];
}

static void write_file(const char *dir, const char *name, const char *data, size_t n)
{
	int fd = open(path_in(dir, name), O_CREAT | O_WRONLY | O_TRUNC, 0644);

	assert_true(fd >= 0);
	for (size_t at = 0; at < n;) {
		ssize_t w = write(fd, data + at, n - at);

		assert_true(w > 0);
		at += (size_t)w;
	}
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

/* ---- rows ---- */

static void fill_row(struct rig *g, const char *name, struct catalog_row *row)
{
	struct target_handle h;
	struct stat st;

	memset(row, 0, sizeof *row);
	assert_int_equal(fstatat(target_root_fd(g->t), name, &st, AT_SYMLINK_NOFOLLOW), 0);
	assert_int_equal(target_handle_at(target_root_fd(g->t), name, &h), 0);
	row->oid = ++g->oid;
	row->parent = CATALOG_ROOT_OID;
	row->type = S_ISREG(st.st_mode) ? CATALOG_REG : S_ISDIR(st.st_mode) ? CATALOG_DIR : CATALOG_LNK;
	row->size = (uint64_t)st.st_size;
	row->nlink = 1;
	row->mtime = (struct catalog_time){ st.st_mtim.tv_sec, (uint32_t)st.st_mtim.tv_nsec };
	row->ctime = (struct catalog_time){ 1, 1 };		/* the source's: catalog_set_ctime() replaces it */
	row->handle[0] = h.len;
	row->handle[1] = h.type;
	memcpy(row->handle + 2, h.data, h.len);
	row->handle_len = (uint8_t)(h.len + 2);
	row->name_len = (uint16_t)strlen(name);
	memcpy(row->name, name, row->name_len);
}

static void add_row(struct rig *g, const struct catalog_row *row, enum catalog_state state)
{
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_add(g->c, row), 0);
	if (state == CATALOG_CLEANING || state == CATALOG_MIGRATED || state == CATALOG_OVERWRITTEN)
		assert_int_equal(catalog_transition(g->c, row->oid, 1u << CATALOG_FOUND, CATALOG_CLEANING, NULL), 0);
	if (state != CATALOG_FOUND && state != CATALOG_CLEANING)
		assert_int_equal(catalog_transition(g->c, row->oid, ~0u, state, NULL), 0);
	assert_int_equal(catalog_commit(g->c), 0);
}

static void set_ctime(struct rig *g, uint64_t oid, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(target_root_fd(g->t), name, &st, 0), 0);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_set_ctime(g->c, oid, (struct catalog_time){ st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec }), 0);
	assert_int_equal(catalog_commit(g->c), 0);
}

/* As the engine leaves a migrated file: on the disk, its row complete.  data NULL: no checksum is recorded. */
static uint64_t migrated(struct rig *g, const char *name, const char *data, size_t n)
{
	struct catalog_row row;

	fill_row(g, name, &row);
	if (data) {
		checksum(data, n, row.checksum);
		row.has_checksum = true;
	}
	add_row(g, &row, CATALOG_FOUND);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_transition(g->c, row.oid, 1u << CATALOG_FOUND, CATALOG_CLEANING, NULL), 0);
	if (data)
		assert_int_equal(catalog_set_checksum(g->c, row.oid, row.checksum), 0);
	assert_int_equal(catalog_transition(g->c, row.oid, 1u << CATALOG_CLEANING, CATALOG_MIGRATED, NULL), 0);
	assert_int_equal(catalog_commit(g->c), 0);
	set_ctime(g, row.oid, name);
	return row.oid;
}

static uint64_t file(struct rig *g, const char *name, size_t n)
{
	char *data = bytes(g, n);
	uint64_t oid;

	write_file(g->target_dir, name, data, n);
	oid = migrated(g, name, data, n);
	free(data);
	return oid;
}

/* ---- below the page cache ---- */

static char *first_page(struct rig *g, const char *name, size_t at)
{
	static char page[4096];
	int fd = open(path_in(g->target_dir, name), O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, page, sizeof page, (off_t)at), sizeof page);	/* caches it, too */
	close(fd);
	return page;
}

/* Flip a bit of the page of the file at `at` on the device, and only there. */
static void damage(struct rig *g, const char *name, size_t at)
{
	char *page = first_page(g, name, at);
	int fd = open(g->image, O_RDWR);
	struct stat st;
	char *map, *hit;
	unsigned hits = 0;

	sync();
	assert_true(fd >= 0 && !fstat(fd, &st));
	map = mmap(NULL, (size_t)st.st_size, PROT_READ | PROT_WRITE, MAP_SHARED, fd, 0);
	assert_true(map != MAP_FAILED);
	for (char *from = map; (hit = memmem(from, (size_t)(map + st.st_size - from), page, 512)); from = hit + 512) {
		hit[100] ^= 4;
		g->flipped = hit + 100 - map;
		hits++;
	}
	munmap(map, (size_t)st.st_size);
	close(fd);
	assert_int_equal(hits, 1);
}

static void undo_damage(struct rig *g)
{
	int fd = open(g->image, O_RDWR);
	char c;

	assert_int_equal(pread(fd, &c, 1, g->flipped), 1);
	c ^= 4;
	assert_int_equal(pwrite(fd, &c, 1, g->flipped), 1);
	close(fd);
}

/* ---- running ---- */

static void on_finding(void *arg, const struct audit_finding *f)
{
	struct rig *g = arg;

	assert_true(g->nfound < FINDINGS);
	g->found[g->nfound] = *f;
	g->found[g->nfound].path = strdup(f->path);
	g->found[g->nfound++].text = strdup(f->text);
}

static void on_progress(void *arg, const struct audit_verify_progress *p)
{
	struct rig *g = arg;

	g->progress_calls++;
	g->last = *p;
}

static bool on_stop(void *arg)
{
	struct rig *g = arg;

	return g->stop_at && clock_mono() > g->stop_at;
}

static int run(struct rig *g, struct audit_verify_config cfg, struct audit_verify_progress *out)
{
	struct audit_verify_calls calls = { on_finding, on_progress, on_stop, g };
	struct err e = { 0 };
	int r;

	forget_findings(g);
	cfg.catalog = g->c;
	cfg.target = g->t;
	memset(out, 0, sizeof *out);
	r = audit_verify(&cfg, &calls, out, &e);
	if (r && r != -EINTR)
		print_error("%s\n", e.text);
	assert_int_equal(!!r, !!e.text[0]);
	assert_int_equal(out->finished, !r);
	return r;
}

static void run_all(struct rig *g, struct audit_verify_progress *out)
{
	assert_int_equal(run(g, (struct audit_verify_config){ .restart = true }, out), 0);
}

static const struct audit_finding *finding(struct rig *g, uint64_t oid)
{
	const struct audit_finding *f = NULL;

	for (unsigned i = 0; i < g->nfound; i++)
		if (g->found[i].oid == oid) {
			assert_null(f);		/* told once */
			f = &g->found[i];
		}
	return f;
}

static void expect(struct rig *g, uint64_t oid, enum audit_verdict v, const char *name)
{
	const struct audit_finding *f = finding(g, oid);

	if (!f) {
		print_error("no finding about %s\n", name);
		fail();
	}
	if (f->verdict != v)
		print_error("%s: %s\n", name, f->text);
	assert_int_equal(f->verdict, v);
	assert_string_equal(f->path, name);
	assert_true(f->text[0]);
}

/* What damage of content must be called: btrfs has checksums of its own and refuses to read it. */
static enum audit_verdict damaged(const struct rig *g)
{
	return strcmp(g->kind, "btrfs") ? AUDIT_DAMAGED : AUDIT_UNREADABLE;
}

/* ---- against the recorded checksums ---- */

static void test_same(void **state)
{
	static const size_t sizes[] = { 0, 1, 100, 4095, 4096, 4097, 70000, MIB - 1, MIB, MIB + 1, 4 * MIB, 5 * MIB + 4096, 9 * MIB + 777 };
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t total = 0;
	struct stat before, after;
	char name[32];

	for (unsigned i = 0; i < sizeof sizes / sizeof *sizes; i++) {
		snprintf(name, sizeof name, "f%u", i);
		file(g, name, sizes[i]);
		total += sizes[i];
	}
	assert_int_equal(stat(path_in(g->target_dir, "f6"), &before), 0);
	run_all(g, &p);
	assert_int_equal(g->nfound, 0);
	assert_int_equal(p.files[AUDIT_SAME], sizeof sizes / sizeof *sizes);
	assert_int_equal(p.done_bytes, total);
	assert_int_equal(p.total_bytes, total);
	assert_int_equal(p.done_files, 1 + sizeof sizes / sizeof *sizes);	/* and the root */
	assert_int_equal(p.total_files, p.done_files);
	assert_false(p.resumed);
	assert_true(g->progress_calls >= 1);
	assert_int_equal(stat(path_in(g->target_dir, "f6"), &after), 0);
	assert_memory_equal(&before.st_atim, &after.st_atim, sizeof after.st_atim);
	assert_memory_equal(&before.st_ctim, &after.st_ctim, sizeof after.st_ctim);
}

/* A mapped and locked page stays in the page cache, whatever else happens on this host. */
static char *pin_page(struct rig *g, const char *name, size_t at)
{
	int fd = open(path_in(g->target_dir, name), O_RDONLY);
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
	uint64_t small = file(g, "small", 70000), large = file(g, "large", 9 * MIB + 777);
	char cached[4096], *pinned = pin_page(g, "small", 4096);

	file(g, "sound", 70000);
	memcpy(cached, pinned, sizeof cached);
	damage(g, "small", 4096);
	damage(g, "large", 6 * MIB + 8192);
	assert_memory_equal(cached, first_page(g, "small", 4096), sizeof cached);	/* an application sees nothing of it */
	run_all(g, &p);
	munmap(pinned, sizeof cached);
	expect(g, small, damaged(g), "small");
	expect(g, large, damaged(g), "large");
	assert_int_equal(g->nfound, 2);
	assert_int_equal(p.files[damaged(g)], 2);
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

	shell("mount -o remount,compress-force=zlib %s", g->mount);
	before = snapshot(g, &size);
	for (size_t i = 0; i < MIB; i += 16)
		snprintf(data + i, 16, "line %09zu\n", i * 7919);
	write_file(g->target_dir, "compressed", data, MIB);
	oid = migrated(g, "compressed", data, MIB);
	after = snapshot(g, &size);
	/* what has changed and is no node of a tree, which would carry the file system's id */
	for (at = 0; at < size; at += BLOCK)
		if (memcmp(before + at, after + at, BLOCK) && !memmem(after + at / NODE * NODE, NODE, after + SUPER + FSID, 16))
			break;
	assert_true(at < size);
	assert_memory_equal(first_page(g, "compressed", 0), data, BLOCK);
	fd = open(g->image, O_RDWR);
	assert_int_equal(pwrite(fd, "damage", 6, (off_t)at + 1000), 6);
	close(fd);
	run_all(g, &p);
	expect(g, oid, AUDIT_UNREADABLE, "compressed");
	shell("mount -o remount,compress=no %s", g->mount);
	munmap(before, size);
	munmap(after, size);
	free(data);
}

/* What an application has just written is not on the disk yet. */
static void test_dirty_pages(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t oid = file(g, "dirty", 3 * MIB);
	int fd = open(path_in(g->target_dir, "dirty"), O_WRONLY);

	assert_int_equal(pwrite(fd, "application", 11, 2 * MIB), 11);
	run_all(g, &p);
	expect(g, oid, AUDIT_CHANGED, "dirty");
	close(fd);
}

static void touch_content(struct rig *g, const char *name)
{
	int fd = open(path_in(g->target_dir, name), O_WRONLY);

	assert_int_equal(pwrite(fd, "application", 11, 5), 11);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

static void put_mtime_back(struct rig *g, const char *name, struct timespec mtime)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, mtime };

	assert_int_equal(utimensat(AT_FDCWD, path_in(g->target_dir, name), ts, 0), 0);
}

/* What applications do is told apart from damage. */
static void test_applications(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t written = file(g, "written", 70000), cut = file(g, "cut", 70000), longer = file(g, "longer", 70000),
		 mode = file(g, "mode", 70000), sly = file(g, "sly", 70000), deleted = file(g, "deleted", 70000),
		 reborn = file(g, "reborn", 70000), moved = file(g, "moved", 70000);
	int fd;
	struct stat st;

	usleep(20000);		/* the clock of file times ticks */
	touch_content(g, "written");
	assert_int_equal(truncate(path_in(g->target_dir, "cut"), 69999), 0);
	assert_int_equal(truncate(path_in(g->target_dir, "longer"), 70001), 0);
	assert_int_equal(chmod(path_in(g->target_dir, "mode"), 0600), 0);
	assert_int_equal(stat(path_in(g->target_dir, "sly"), &st), 0);
	touch_content(g, "sly");
	put_mtime_back(g, "sly", st.st_mtim);
	assert_int_equal(unlink(path_in(g->target_dir, "deleted")), 0);
	fd = open(path_in(g->target_dir, "reborn"), O_RDONLY);
	assert_int_equal(unlink(path_in(g->target_dir, "reborn")), 0);	/* still open, and the name is somebody else's */
	write_file(g->target_dir, "reborn", "x", 1);
	assert_int_equal(rename(path_in(g->target_dir, "moved"), path_in(g->target_dir, "moved away")), 0);
	run_all(g, &p);
	close(fd);
	expect(g, written, AUDIT_CHANGED, "written");
	expect(g, cut, AUDIT_CHANGED, "cut");
	expect(g, longer, AUDIT_CHANGED, "longer");
	expect(g, sly, AUDIT_SUSPECT, "sly");
	expect(g, deleted, AUDIT_GONE, "deleted");
	expect(g, reborn, AUDIT_GONE, "reborn");
	assert_null(finding(g, mode));
	assert_null(finding(g, moved));
	assert_int_equal(p.files[AUDIT_SAME], 2);
	assert_int_equal(g->nfound, 6);
}

/* Damage under a chmod; a size that nobody has changed; a time that was never recorded. */
static void test_damage(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t touched = file(g, "touched", 70000), unknown = file(g, "unknown", 70000), lost;
	struct catalog_row row;
	char *data = bytes(g, 5000);

	write_file(g->target_dir, "lost", data, 4000);
	fill_row(g, "lost", &row);
	row.size = 5000;
	checksum(data, 5000, row.checksum);
	add_row(g, &row, CATALOG_MIGRATED);
	lost = row.oid;
	set_ctime(g, lost, "lost");
	free(data);
	damage(g, "touched", 8192);
	damage(g, "unknown", 8192);
	usleep(20000);
	assert_int_equal(chmod(path_in(g->target_dir, "touched"), 0600), 0);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_set_ctime(g->c, unknown, (struct catalog_time){ 0 }), 0);
	assert_int_equal(catalog_commit(g->c), 0);
	run_all(g, &p);
	expect(g, touched, damaged(g) == AUDIT_DAMAGED ? AUDIT_SUSPECT : AUDIT_UNREADABLE, "touched");
	expect(g, unknown, damaged(g) == AUDIT_DAMAGED ? AUDIT_SUSPECT : AUDIT_UNREADABLE, "unknown");
	expect(g, lost, AUDIT_DAMAGED, "lost");
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
		write_file(g->target_dir, names[i], "bytes", 5);
		fill_row(g, names[i], &row);
		add_row(g, &row, states[i]);
	}
	assert_int_equal(mkfifo(path_in(g->target_dir, "fifo"), 0600), 0);
	fill_row(g, "fifo", &row);
	row.type = CATALOG_REG;
	fifo = row.oid;
	add_row(g, &row, CATALOG_FOUND);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_transition(g->c, fifo, 1u << CATALOG_FOUND, CATALOG_CLEANING, NULL), 0);
	assert_int_equal(catalog_set_checksum(g->c, fifo, row.checksum), 0);
	assert_int_equal(catalog_transition(g->c, fifo, 1u << CATALOG_CLEANING, CATALOG_MIGRATED, NULL), 0);
	assert_int_equal(catalog_commit(g->c), 0);
	nonsense = file(g, "nonsense", 10);
	assert_int_equal(catalog_get(g->c, nonsense, &row), 0);
	memset(row.handle, 0xff, sizeof row.handle);
	assert_int_equal(catalog_begin(g->c), 0);
	catalog_set_promise(g->c, &row);
	assert_int_equal(catalog_commit(g->c), 0);
	run_all(g, &p);
	expect(g, fifo, AUDIT_DAMAGED, "fifo");
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
	int fd = open(path_in(g->target_dir, "sparse"), O_CREAT | O_WRONLY, 0644);
	uint64_t began, island;

	assert_true(data != MAP_FAILED && fd >= 0);
	memcpy(data + 3 * MIB + 10, "island", 6);
	memcpy(data + size - 3, "end", 3);
	assert_int_equal(pwrite(fd, "island", 6, 3 * MIB + 10), 6);
	assert_int_equal(pwrite(fd, "end", 3, (off_t)size - 3), 3);
	assert_int_equal(fsync(fd), 0);
	close(fd);
	island = migrated(g, "sparse", data, size);
	munmap(data, size);
	began = clock_mono();
	/* at 4 MiB/s reading the holes would take minutes */
	assert_int_equal(run(g, (struct audit_verify_config){ .rate = 4 * MIB }, &p), 0);
	assert_true(clock_mono() - began < 30 * CLOCK_SEC);
	assert_int_equal(p.files[AUDIT_SAME], 1);
	fd = open(path_in(g->target_dir, "sparse"), O_WRONLY);
	assert_int_equal(pwrite(fd, "x", 1, 300 * MIB), 1);
	close(fd);
	run_all(g, &p);
	expect(g, island, AUDIT_CHANGED, "sparse");
}

static void test_rate(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t began, took;

	for (int i = 0; i < 8; i++) {
		char name[16];

		snprintf(name, sizeof name, "r%d", i);
		file(g, name, MIB);
	}
	began = clock_mono();
	assert_int_equal(run(g, (struct audit_verify_config){ .rate = 5 * MIB }, &p), 0);
	took = clock_mono() - began;
	print_message("8 MiB at 5 MiB/s: %.2f s\n", (double)took / CLOCK_SEC);
	assert_int_equal(p.files[AUDIT_SAME], 8);
	assert_true(took > 1200 * CLOCK_MS && took < 20 * CLOCK_SEC);
	assert_true(g->progress_calls >= 2);
}

/* ---- interrupted ---- */

static void test_resume(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t early = file(g, "early", 8192), gone, late, files = 40;
	char name[16];

	for (unsigned i = 0; i < files; i++) {
		snprintf(name, sizeof name, "n%u", i);
		file(g, name, 256 << 10);
	}
	late = file(g, "late", 8192);
	damage(g, "early", 4096);
	damage(g, "late", 4096);
	g->stop_at = clock_mono() + 700 * CLOCK_MS;
	assert_int_equal(run(g, (struct audit_verify_config){ .rate = 4 * MIB, .depth = 2 }, &p), -EINTR);
	print_message("stopped after %llu of %llu files\n", (unsigned long long)p.done_files, (unsigned long long)p.total_files);
	assert_true(p.done_files > 3 && p.done_files < files);
	expect(g, early, damaged(g), "early");
	assert_null(finding(g, late));
	/* what was verified is not read again: this would be found */
	gone = 3;
	assert_int_equal(unlink(path_in(g->target_dir, "n0")), 0);
	g->stop_at = 0;
	assert_int_equal(run(g, (struct audit_verify_config){ 0 }, &p), 0);
	assert_true(p.resumed);
	expect(g, early, damaged(g), "early");		/* told again */
	expect(g, late, damaged(g), "late");
	assert_null(finding(g, gone));
	assert_int_equal(p.files[AUDIT_SAME], files);
	assert_int_equal(p.files[damaged(g)], 2);
	assert_int_equal(p.done_files, p.total_files);
	/* finished: the next one begins anew; and so does one that is told to */
	assert_int_equal(run(g, (struct audit_verify_config){ 0 }, &p), 0);
	assert_false(p.resumed);
	expect(g, gone, AUDIT_GONE, "n0");
	assert_int_equal(p.files[AUDIT_SAME], files - 1);
	g->stop_at = clock_mono() + 300 * CLOCK_MS;
	assert_int_equal(run(g, (struct audit_verify_config){ .rate = 4 * MIB }, &p), -EINTR);
	g->stop_at = 0;
	run_all(g, &p);
	assert_false(p.resumed);
	assert_int_equal(p.files[AUDIT_SAME], files - 1);
}

static void stop_in_the_middle(struct rig *g, struct audit_verify_progress *p)
{
	g->stop_at = clock_mono() + 900 * CLOCK_MS;
	assert_int_equal(run(g, (struct audit_verify_config){ .rate = 8 * MIB, .restart = true }, p), -EINTR);
	assert_int_equal(p->files[AUDIT_SAME], 0);
	g->stop_at = 0;
}

/* A large file goes on in its middle, unless it was touched. */
static void test_resume_in_a_file(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	uint64_t oid;

	if (damaged(g) != AUDIT_DAMAGED)
		skip();
	oid = file(g, "large", 40 * MIB);
	stop_in_the_middle(g, &p);
	damage(g, "large", 100 * 4096);		/* what was read already: nobody sees it */
	assert_int_equal(run(g, (struct audit_verify_config){ 0 }, &p), 0);
	assert_true(p.resumed);
	assert_int_equal(p.files[AUDIT_SAME], 1);
	undo_damage(g);
	stop_in_the_middle(g, &p);
	damage(g, "large", 100 * 4096);
	usleep(20000);
	assert_int_equal(chmod(path_in(g->target_dir, "large"), 0600), 0);
	assert_int_equal(run(g, (struct audit_verify_config){ 0 }, &p), 0);
	assert_true(p.resumed);
	expect(g, oid, AUDIT_SUSPECT, "large");		/* begun anew */
}

/* kill -9: at most what came after the last save is done again. */
static void test_killed(void **state)
{
	struct rig *g = *state;
	struct audit_verify_progress p;
	struct catalog_identity id;
	struct err e = { 0 };
	unsigned files = 48;
	uint64_t early = file(g, "early", 8192);
	bool created;
	pid_t pid;
	int status;

	for (unsigned i = 0; i < files; i++) {
		char name[16];

		snprintf(name, sizeof name, "n%u", i);
		file(g, name, 256 << 10);
	}
	damage(g, "early", 4096);
	assert_int_equal(catalog_close(g->c), 0);
	g->c = NULL;
	pid = fork();
	if (!pid) {
		if (catalog_open(g->state, false, &id, &g->c, &created, &e))
			_exit(1);
		run(g, (struct audit_verify_config){ .rate = 3 * MIB }, &p);
		_exit(2);	/* too early */
	}
	usleep(2600000);
	assert_int_equal(kill(pid, SIGKILL), 0);
	assert_int_equal(waitpid(pid, &status, 0), pid);
	assert_true(WIFSIGNALED(status));
	assert_int_equal(catalog_open(g->state, false, &id, &g->c, &created, &e), 0);
	assert_int_equal(unlink(path_in(g->target_dir, "n0")), 0);	/* before the place: not looked at again */
	assert_int_equal(run(g, (struct audit_verify_config){ 0 }, &p), 0);
	assert_true(p.resumed);
	expect(g, early, damaged(g), "early");
	assert_int_equal(g->nfound, 1);
	assert_int_equal(p.files[AUDIT_SAME], files);
}

/* ---- against the source ---- */

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
	char *data = bytes(g, n);
	struct stat st;
	uint64_t oid;

	write_file(g->source_dir, name, data, n);
	write_file(g->target_dir, name, data, n);
	assert_int_equal(stat(path_in(g->source_dir, name), &st), 0);
	put_mtime_back(g, name, st.st_mtim);
	oid = migrated(g, name, with_checksum ? data : NULL, n);
	free(data);
	return oid;
}

static uint64_t directory(struct rig *g, const char *name)
{
	struct catalog_row row;

	assert_int_equal(mkdir(path_in(g->target_dir, name), 0755) | mkdir(path_in(g->source_dir, name), 0755), 0);
	fill_row(g, name, &row);
	add_row(g, &row, CATALOG_MIGRATED);
	return row.oid;
}

/* dir/name; the target's file lies in the root, as if an application had moved it there. */
static uint64_t below(struct rig *g, uint64_t dir, const char *dirname, const char *name)
{
	struct catalog_row row;
	char path[300];
	uint8_t sum[16];
	char *data = bytes(g, 5000);

	snprintf(path, sizeof path, "%s/%s", dirname, name);
	write_file(g->source_dir, path, data, 5000);
	write_file(g->target_dir, name, data, 5000);
	fill_row(g, name, &row);
	row.parent = dir;
	checksum(data, 5000, sum);
	add_row(g, &row, CATALOG_FOUND);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_transition(g->c, row.oid, 1u << CATALOG_FOUND, CATALOG_CLEANING, NULL), 0);
	assert_int_equal(catalog_set_checksum(g->c, row.oid, sum), 0);
	assert_int_equal(catalog_transition(g->c, row.oid, 1u << CATALOG_CLEANING, CATALOG_MIGRATED, NULL), 0);
	assert_int_equal(catalog_commit(g->c), 0);
	set_ctime(g, row.oid, name);
	free(data);
	return row.oid;
}

static void change_source(struct rig *g, const char *name, bool keep_mtime)
{
	char *path = path_in(g->source_dir, name);
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
	uint64_t newer = both(g, "newer", 70000, true), sly = both(g, "sly", 70000, true), longer = both(g, "longer", 3 * MIB, true),
		 lost = both(g, "lost", 10, true), bare_newer = both(g, "bare newer", 70000, false),
		 changed = both(g, "changed", 70000, true), bare_bad = both(g, "bare bad", 70000, false),
		 dir = directory(g, "dir"), kept = directory(g, "kept"), inside = below(g, dir, "dir", "inside"), dir2 = directory(g, "turned");

	both(g, "same", 5 * MIB + 77, true);
	both(g, "bare same", 2 * MIB + 5, false);
	both(g, "empty", 0, false);
	below(g, kept, "kept", "deep");
	change_source(g, "newer", false);
	change_source(g, "sly", true);
	change_source(g, "bare newer", false);
	assert_int_equal(truncate(path_in(g->source_dir, "longer"), 3 * MIB + 1), 0);
	assert_int_equal(unlink(path_in(g->source_dir, "lost")), 0);
	assert_int_equal(unlink(path_in(g->source_dir, "dir/inside")) | rmdir(path_in(g->source_dir, "dir")), 0);
	assert_int_equal(rmdir(path_in(g->source_dir, "turned")), 0);
	write_file(g->source_dir, "turned", "a file", 6);
	usleep(20000);
	touch_content(g, "changed");
	damage(g, "bare bad", 4096);
	s = open_source_dir(g);
	assert_int_equal(run(g, (struct audit_verify_config){ .source = s }, &p), 0);
	source_close(s);
	expect(g, newer, AUDIT_SOURCE_CHANGED, "newer");
	expect(g, sly, AUDIT_SOURCE_CHANGED, "sly");
	expect(g, longer, AUDIT_SOURCE_CHANGED, "longer");
	expect(g, lost, AUDIT_SOURCE_CHANGED, "lost");
	expect(g, bare_newer, AUDIT_SOURCE_CHANGED, "bare newer");
	expect(g, changed, AUDIT_CHANGED, "changed");
	expect(g, bare_bad, damaged(g), "bare bad");
	expect(g, dir, AUDIT_SOURCE_CHANGED, "dir");
	expect(g, inside, AUDIT_SOURCE_CHANGED, "dir/inside");
	expect(g, dir2, AUDIT_SOURCE_CHANGED, "turned");
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
	assert_int_equal(run(g, (struct audit_verify_config){ .source = s }, &p), 0);
	source_close(s);
	expect(g, secret, AUDIT_UNREADABLE, "secret");
	expect(g, flipped, AUDIT_SOURCE_CHANGED, "flipped");
	assert_int_equal(p.files[AUDIT_SAME], 1);
	/* a source that does not answer holds nobody who wants to stop, and may answer later */
	for (int closed = 0; closed < 2; closed++) {
		s = with_faults(g, "any stall");
		began = clock_mono();
		g->stop_at = began + 300 * CLOCK_MS;
		assert_int_equal(run(g, (struct audit_verify_config){ .source = s, .restart = true }, &p), -EINTR);
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
	assert_int_equal(run(g, (struct audit_verify_config){ .rate = 8 * MIB }, &p), -EINTR);
	assert_true(p.done_files > 1);
	g->stop_at = 0;
	s = open_source_dir(g);
	assert_int_equal(run(g, (struct audit_verify_config){ .source = s }, &p), 0);
	source_close(s);
	assert_false(p.resumed);
	assert_int_equal(p.files[AUDIT_SAME], 12);
}

/* ---- */

#define T(f) cmocka_unit_test_prestate_setup_teardown(f, setup, teardown, g)

static int all_on(const char *dir, const char *kind)
{
	struct rig *g = calloc(1, sizeof *g);
	char group[64];
	int failed;

	mount_image(g, dir, kind);
	{
		const struct CMUnitTest tests[] = {
			T(test_same), T(test_reads_the_disk), T(test_dirty_pages), T(test_applications), T(test_damage), T(test_states),
			T(test_sparse), T(test_resume), T(test_resume_in_a_file), T(test_against_source), T(test_bad_source),
		};
		const struct CMUnitTest once[] = { T(test_rate), T(test_killed), T(test_kinds_apart) };	/* no matter of the file system */

		const struct CMUnitTest btrfs[] = { T(test_compressed) };

		snprintf(group, sizeof group, "verify on %s", kind);
		failed = cmocka_run_group_tests_name(group, tests, NULL, NULL);
		if (!strcmp(kind, "ext4"))
			failed += cmocka_run_group_tests_name("verify", once, NULL, NULL);
		if (!strcmp(kind, "btrfs"))
			failed += cmocka_run_group_tests_name("verify, compressed", btrfs, NULL, NULL);
	}
	if (umount2(g->mount, 0))
		perror(g->mount);
	unlink(g->image);
	free(g);
	return failed;
}

/* As tests/unit/target/disk.c: the images' file system must not be the one that the mount points are on. */
static int child(const char *dir, pid_t parent)
{
	static const char *const kinds[] = { "ext4", "xfs", "btrfs" };
	char images[2100];
	int failed = 0;

	prctl(PR_SET_PDEATHSIG, SIGKILL);
	if (getppid() != parent)
		return 1;
	snprintf(images, sizeof images, "%s/images", dir);
	if (mkdir(images, 0700) || unshare(CLONE_NEWNS) || mount(NULL, "/", NULL, MS_REC | MS_PRIVATE, NULL)) {
		perror("no private mount namespace");
		return 1;
	}
	disk_forget_mounts();
	if (mount("dmm-test", images, "tmpfs", 0, "mode=0700")) {
		perror("no private mount namespace");
		return 1;
	}
	for (unsigned i = 0; i < 3; i++)
		failed += all_on(dir, kinds[i]);
	return !!failed;
}

int main(void)
{
	const char *tmp = getenv("TMPDIR");
	char dir[2048];
	pid_t parent, pid;
	int status;

	if (geteuid()) {
		fprintf(stderr, "skipped: file systems are mounted by root only\n");
		return SKIPPED;
	}
	snprintf(dir, sizeof dir, "%s/dmm-verify-XXXXXX", tmp ? tmp : "/var/tmp");
	if (!mkdtemp(dir)) {
		perror(dir);
		return 1;
	}
	parent = getpid();
	pid = fork();
	if (!pid)
		exit(child(dir, parent));
	if (pid < 0 || waitpid(pid, &status, 0) != pid)
		status = 1;
	nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
	return WIFEXITED(status) ? WEXITSTATUS(status) : 1;
}
