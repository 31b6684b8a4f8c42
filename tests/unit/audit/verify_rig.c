/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "verify_rig.h"

#include <fcntl.h>
#include <ftw.h>
#include <stdlib.h>
#include <sys/mman.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#define XXH_INLINE_ALL
#include <xxhash.h>

#include "base/clock.h"
#include "base/hash.h"

/* ---- the world ---- */

void rig_shell(const char *fmt, ...)
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

void rig_mount(struct rig *g, const char *dir, const char *kind)
{
	bool xfs = !strcmp(kind, "xfs"), ext4 = !strcmp(kind, "ext4");

	g->kind = kind;
	g->seed = 20081117;
	snprintf(g->dir, sizeof g->dir, "%s", dir);
	snprintf(g->mount, sizeof g->mount, "%s/%s", dir, kind);
	snprintf(g->image, sizeof g->image, "%s/images/%s", dir, kind);
	if (mkdir(g->mount, 0755))
		exit(1);
	rig_shell("truncate -s %s %s && mkfs.%s -q %s %s >/dev/null && mount -o loop,strictatime%s %s %s",
		  xfs ? "320M" : "256M", g->image, kind, ext4 ? "-F" : "-f", g->image, ext4 ? ",noinit_itable" : "", g->image, g->mount);
}

void rig_umount(struct rig *g)
{
	if (umount2(g->mount, 0))
		perror(g->mount);
	unlink(g->image);
}

bool rig_first(const struct rig *g)
{
	return !strcmp(g->kind, "ext4");
}

static int remove_one(const char *path, const struct stat *st, int what, struct FTW *ftw)
{
	(void)st, (void)what, (void)ftw;
	return remove(path);
}

int rig_remove(const char *dir)
{
	return nftw(dir, remove_one, 16, FTW_DEPTH | FTW_PHYS | FTW_MOUNT);
}

int rig_setup(void **state)
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

static void forget_findings(struct rig *g)
{
	while (g->nfound) {
		g->nfound--;
		free((void *)g->found[g->nfound].path);
		free((void *)g->found[g->nfound].text);
	}
}

int rig_teardown(void **state)
{
	struct rig *g = *state;

	forget_findings(g);
	if (g->c)
		catalog_close(g->c);
	target_close(g->t);
	rig_remove(g->source_dir);
	return rig_remove(g->target_dir);
}

/* ---- content ---- */

char *rig_bytes(struct rig *g, size_t n)
{
	char *p = malloc(n + 8);

	assert_non_null(p);
	for (size_t i = 0; i < n; i += 8) {
		uint64_t v = hash_u64(++g->seed);

		memcpy(p + i, &v, 8);
	}
	return p;
}

/* By the definition: one chunk: plain; more: the sum of the chunks, seeded with their number + 1. */
void rig_checksum(const char *data, size_t n, uint8_t out[16])
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

char *rig_path(const char *dir, const char *name)
{
	static char path[2][4096];
	static int turn;

	turn = !turn;
	snprintf(path[turn], sizeof path[turn], "%s/%s", dir, name);
	return path[turn];
}

void rig_write(const char *dir, const char *name, const char *data, size_t n)
{
	int fd = open(rig_path(dir, name), O_CREAT | O_WRONLY | O_TRUNC, 0644);

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

void rig_row(struct rig *g, const char *name, struct catalog_row *row)
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

void rig_add_row(struct rig *g, const struct catalog_row *row, enum catalog_state state)
{
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_add(g->c, row), 0);
	if (state == CATALOG_CLEANING || state == CATALOG_MIGRATED || state == CATALOG_OVERWRITTEN)
		assert_int_equal(catalog_transition(g->c, row->oid, 1u << CATALOG_FOUND, CATALOG_CLEANING, NULL), 0);
	if (state != CATALOG_FOUND && state != CATALOG_CLEANING)
		assert_int_equal(catalog_transition(g->c, row->oid, ~0u, state, NULL), 0);
	assert_int_equal(catalog_commit(g->c), 0);
}

void rig_set_ctime(struct rig *g, uint64_t oid, const char *name)
{
	struct stat st;

	assert_int_equal(fstatat(target_root_fd(g->t), name, &st, 0), 0);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_set_ctime(g->c, oid, (struct catalog_time){ st.st_ctim.tv_sec, (uint32_t)st.st_ctim.tv_nsec }), 0);
	assert_int_equal(catalog_commit(g->c), 0);
}

uint64_t rig_migrated(struct rig *g, const char *name, const char *data, size_t n)
{
	struct catalog_row row;

	rig_row(g, name, &row);
	if (data) {
		rig_checksum(data, n, row.checksum);
		row.has_checksum = true;
	}
	rig_add_row(g, &row, CATALOG_FOUND);
	assert_int_equal(catalog_begin(g->c), 0);
	assert_int_equal(catalog_transition(g->c, row.oid, 1u << CATALOG_FOUND, CATALOG_CLEANING, NULL), 0);
	if (data)
		assert_int_equal(catalog_set_checksum(g->c, row.oid, row.checksum), 0);
	assert_int_equal(catalog_transition(g->c, row.oid, 1u << CATALOG_CLEANING, CATALOG_MIGRATED, NULL), 0);
	assert_int_equal(catalog_commit(g->c), 0);
	rig_set_ctime(g, row.oid, name);
	return row.oid;
}

uint64_t rig_file(struct rig *g, const char *name, size_t n)
{
	char *data = rig_bytes(g, n);
	uint64_t oid;

	rig_write(g->target_dir, name, data, n);
	oid = rig_migrated(g, name, data, n);
	free(data);
	return oid;
}

/* ---- below the page cache ---- */

char *rig_page(struct rig *g, const char *name, size_t at)
{
	static char page[4096];
	int fd = open(rig_path(g->target_dir, name), O_RDONLY);

	assert_true(fd >= 0);
	assert_int_equal(pread(fd, page, sizeof page, (off_t)at), sizeof page);	/* caches it, too */
	close(fd);
	return page;
}

void rig_damage(struct rig *g, const char *name, size_t at)
{
	char *page = rig_page(g, name, at);
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

void rig_undo_damage(struct rig *g)
{
	int fd = open(g->image, O_RDWR);
	char c;

	assert_int_equal(pread(fd, &c, 1, g->flipped), 1);
	c ^= 4;
	assert_int_equal(pwrite(fd, &c, 1, g->flipped), 1);
	close(fd);
}

enum audit_verdict rig_damaged(const struct rig *g)
{
	return strcmp(g->kind, "btrfs") ? AUDIT_DAMAGED : AUDIT_UNREADABLE;
}

/* ---- as applications do ---- */

void rig_touch(struct rig *g, const char *name)
{
	int fd = open(rig_path(g->target_dir, name), O_WRONLY);

	assert_int_equal(pwrite(fd, "application", 11, 5), 11);
	assert_int_equal(fsync(fd), 0);
	close(fd);
}

void rig_put_mtime(struct rig *g, const char *name, struct timespec mtime)
{
	struct timespec ts[2] = { { .tv_nsec = UTIME_OMIT }, mtime };

	assert_int_equal(utimensat(AT_FDCWD, rig_path(g->target_dir, name), ts, 0), 0);
}

/* ---- running ---- */

static void on_finding(void *arg, const struct audit_finding *f)
{
	struct rig *g = arg;

	assert_true(g->nfound < RIG_FINDINGS);
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

int rig_run(struct rig *g, struct audit_verify_config cfg, struct audit_verify_progress *out)
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

void rig_run_all(struct rig *g, struct audit_verify_progress *out)
{
	assert_int_equal(rig_run(g, (struct audit_verify_config){ .restart = true }, out), 0);
}

const struct audit_finding *rig_finding(struct rig *g, uint64_t oid)
{
	const struct audit_finding *f = NULL;

	for (unsigned i = 0; i < g->nfound; i++)
		if (g->found[i].oid == oid) {
			assert_null(f);		/* told once */
			f = &g->found[i];
		}
	return f;
}

void rig_expect(struct rig *g, uint64_t oid, enum audit_verdict v, const char *name)
{
	const struct audit_finding *f = rig_finding(g, oid);

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
