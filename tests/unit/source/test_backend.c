/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * The same assertions over the same tree for every back end:
 *
 *   test_source_backend posix | paths | nfs3 | nfs4
 *
 * "paths" is posix without the right to open handles, so that its table of
 * paths is used.  What a source says is compared with the local tree itself.
 */
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <linux/capability.h>
#include <sched.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <unistd.h>

#include <cmocka.h>

#include "call.h"
#include "fake.h"
#include "ganesha.h"
#include "tree.h"

static struct world {
	const char *variant;
	char dir[256], tree[300], url[400];
	struct ganesha *server;
	struct source *source;
	int tree_fd;
	bool mounted;
} w;

static bool is_nfs(void)
{
	return !strncmp(w.variant, "nfs", 3);
}

/* ---- comparing with the local tree ---- */

static enum source_type type_of(mode_t mode)
{
	switch (mode & S_IFMT) {
	case S_IFREG:
		return SOURCE_REG;
	case S_IFDIR:
		return SOURCE_DIR;
	case S_IFLNK:
		return SOURCE_LNK;
	case S_IFBLK:
		return SOURCE_BLK;
	case S_IFCHR:
		return SOURCE_CHR;
	case S_IFIFO:
		return SOURCE_FIFO;
	default:
		return SOURCE_SOCK;
	}
}

static void assert_time(struct source_time t, struct timespec want)
{
	assert_int_equal(t.sec, want.tv_sec);
	assert_int_equal(t.nsec, want.tv_nsec);
}

static void assert_attr(const struct source_attr *a, const struct stat *st)
{
	assert_int_equal(a->type, type_of(st->st_mode));
	assert_int_equal(a->mode, st->st_mode & 07777);
	assert_int_equal(a->uid, st->st_uid);
	assert_int_equal(a->gid, st->st_gid);
	assert_int_equal(a->nlink, st->st_nlink);
	assert_int_equal(a->size, st->st_size);
	assert_int_equal(a->used, st->st_blocks * 512);
	assert_int_equal(a->fileid, st->st_ino);
	assert_time(a->mtime, st->st_mtim);
	assert_time(a->ctime, st->st_ctim);
	if (a->type == SOURCE_BLK || a->type == SOURCE_CHR) {
		assert_int_equal(a->rdev_major, major(st->st_rdev));
		assert_int_equal(a->rdev_minor, minor(st->st_rdev));
	}
}

static void assert_content(const struct source_fh *fh, int dir, const char *name, const struct stat *st)
{
	char *local = malloc(65536), *data;
	int fd = openat(dir, name, O_RDONLY | O_CLOEXEC | O_NOATIME);
	ssize_t n = pread(fd, local, 65536, 0);
	struct source_attr a;
	uint32_t got;
	bool eof;

	assert_int_equal(call_read(w.source, fh, 0, 65536, &data, &got, &eof, &a), 0);
	assert_int_equal(got, n);
	assert_memory_equal(data, local, got);
	assert_int_equal(eof, (off_t)n == st->st_size);
	assert_attr(&a, st);
	free(local);
	free(data);
	close(fd);
}

static void assert_link(const struct source_fh *fh, int dir, const char *name)
{
	char local[SOURCE_LINK_MAX + 1], *data;
	ssize_t n = readlinkat(dir, name, local, sizeof local);
	uint32_t len;

	assert_int_equal(call_readlink(w.source, fh, &data, &len), 0);
	assert_int_equal(len, n);
	assert_memory_equal(data, local, len);
	free(data);
}

static unsigned local_count(int dir)
{
	DIR *d = fdopendir(dup(dir));
	unsigned n = 0;

	rewinddir(d);
	while (readdir(d))
		n++;
	closedir(d);
	return n - 2;
}

static unsigned compare_dir(const struct source_fh *fh, int dir, bool content)
{
	struct call_list list;
	unsigned seen = 0;
	size_t i;

	assert_int_equal(call_readdir(w.source, fh, &list), 0);
	assert_int_equal(list.bad, 0);
	assert_int_equal(list.count, local_count(dir));
	for (i = 0; i < list.count; i++) {
		const struct call_entry *e = &list.entries[i];
		struct source_fh found;
		struct source_attr a;
		struct stat st;

		assert_int_equal(fstatat(dir, e->name, &st, AT_SYMLINK_NOFOLLOW), 0);
		assert_true(e->has_attr && e->has_fh);
		assert_attr(&e->attr, &st);
		seen++;
		if (!content)
			continue;
		assert_int_equal(call_lookup(w.source, fh, e->name, &found, &a), 0);
		assert_attr(&a, &st);
		assert_int_equal(found.len, e->fh.len);
		assert_memory_equal(found.data, e->fh.data, found.len);
		assert_int_equal(call_getattr(w.source, &e->fh, &a), 0);
		assert_attr(&a, &st);
		if (a.type == SOURCE_REG)
			assert_content(&e->fh, dir, e->name, &st);
		else if (a.type == SOURCE_LNK)
			assert_link(&e->fh, dir, e->name);
		if (a.type == SOURCE_DIR) {
			int sub = openat(dir, e->name, O_RDONLY | O_DIRECTORY | O_CLOEXEC | O_NOATIME);

			seen += compare_dir(&e->fh, sub, strcmp(e->name, "many") != 0);
			close(sub);
		}
	}
	call_list_free(&list);
	return seen;
}

static void test_whole_tree(void **state)
{
	unsigned seen = compare_dir(&w.source->root, w.tree_fd, true);

	(void)state;
	assert_true(seen > TREE_MANY + TREE_DEEP + 30);
}

/* ---- single properties ---- */

static void test_root(void **state)
{
	struct source_attr a;
	struct stat st;

	(void)state;
	assert_int_equal(fstat(w.tree_fd, &st), 0);
	assert_attr(&w.source->root_attr, &st);
	assert_int_equal(call_getattr(w.source, &w.source->root, &a), 0);
	assert_attr(&a, &st);
}

static void test_limits(void **state)
{
	struct source_limits l;
	struct source_stats s;

	(void)state;
	source_limits(w.source, &l);
	assert_int_equal(l.read_max, 1 << 20);
	assert_true(l.time_nsec);
	source_stats(w.source, &s);
	assert_true(s.connected);
	assert_string_equal(s.trouble, "");
	assert_true(s.requests[SOURCE_DEMAND] > 0);
}

static void test_atime(void **state)
{
	struct source_fh fh;
	struct source_attr a;

	(void)state;
	assert_int_equal(call_path(w.source, "y1970", &fh, &a), 0);
	assert_int_equal(a.atime.sec, -1);
	assert_int_equal(call_path(w.source, "y2040", &fh, &a), 0);
	assert_int_equal(a.atime.sec, 2209086244);
	assert_int_equal(a.atime.nsec, 987654321);
}

static void test_errors(void **state)
{
	struct source_fh root = w.source->root, fh, none;
	struct source_attr a;
	struct call_list l;
	char longest[256], *data;
	uint32_t n;
	bool eof;

	(void)state;
	memset(longest, 'q', 255);
	longest[255] = 0;
	assert_int_equal(call_lookup(w.source, &root, "nosuch", &fh, NULL), -ENOENT);
	assert_int_equal(call_lookup(w.source, &root, longest, &fh, NULL), -ENOENT);
	assert_int_equal(call_path(w.source, "hello", &fh, NULL), 0);
	assert_int_equal(call_lookup(w.source, &fh, "x", &none, NULL), -ENOTDIR);
	assert_int_equal(call_readdir(w.source, &fh, &l), -ENOTDIR);
	assert_int_equal(call_readlink(w.source, &fh, &data, &n), -EINVAL);
	assert_int_equal(call_read(w.source, &root, 0, 10, &data, &n, &eof, NULL), -EISDIR);
	assert_int_equal(call_path(w.source, "fifo", &fh, NULL), 0);
	assert_true(call_read(w.source, &fh, 0, 10, &data, &n, &eof, NULL) < 0);
	assert_int_equal(call_path(w.source, "chr", &fh, NULL), 0);
	assert_true(call_read(w.source, &fh, 0, 10, &data, &n, &eof, NULL) < 0);
	assert_int_equal(call_getattr(w.source, &fh, &a), 0);
}

static void test_hard_links(void **state)
{
	struct source_fh f1, f2;
	struct source_attr a1, a2;

	(void)state;
	assert_int_equal(call_path(w.source, "a/link1", &f1, &a1), 0);
	assert_int_equal(call_path(w.source, "b/link2", &f2, &a2), 0);
	assert_int_equal(a1.fsid, a2.fsid);
	assert_int_equal(a1.fileid, a2.fileid);
	assert_int_equal(a1.nlink, 2);
	assert_int_equal(f1.len, f2.len);
	assert_memory_equal(f1.data, f2.data, f1.len);
	assert_int_equal(w.source->root_attr.fsid, a1.fsid);
}

static void test_big_file(void **state)
{
	struct source_fh fh;
	struct source_attr a;
	uint64_t at = 0, i;
	uint32_t got;
	bool eof = false;
	char *data;

	(void)state;
	assert_int_equal(call_path(w.source, "five", &fh, NULL), 0);
	while (!eof) {
		assert_int_equal(call_read(w.source, &fh, at, 1 << 20, &data, &got, &eof, &a), 0);
		assert_true(got > 0);
		for (i = 0; i < got; i++)
			if (data[i] != fake_byte(at + i))
				fail_msg("byte %lu differs", (unsigned long)(at + i));
		assert_int_equal(a.size, TREE_FIVE);
		at += got;
		free(data);
	}
	assert_int_equal(at, TREE_FIVE);
	/* at and past the end; an odd range in the middle */
	assert_int_equal(call_read(w.source, &fh, TREE_FIVE, 100, &data, &got, &eof, NULL), 0);
	assert_true(got == 0 && eof);
	free(data);
	assert_int_equal(call_read(w.source, &fh, 1ull << 40, 100, &data, &got, &eof, NULL), 0);
	assert_true(got == 0 && eof);
	free(data);
	assert_int_equal(call_read(w.source, &fh, 1234567, 77, &data, &got, &eof, NULL), 0);
	assert_int_equal(got, 77);
	assert_int_equal(data[76], fake_byte(1234567 + 76));
	free(data);
}

static void test_sparse(void **state)
{
	struct source_fh fh;
	struct source_attr a;
	uint32_t got;
	bool eof;
	char *data;

	(void)state;
	assert_int_equal(call_path(w.source, "sparse", &fh, &a), 0);
	assert_int_equal(a.size, 1 << 30);
	assert_true(a.used <= 65536);
	assert_int_equal(call_read(w.source, &fh, (1 << 30) - 10, 100, &data, &got, &eof, NULL), 0);
	assert_int_equal(got, 10);
	assert_memory_equal(data, "\0\0\0\0\0\0\0end", 10);
	assert_true(eof);
	free(data);
}

static void test_statfs(void **state)
{
	struct source_fs fs;
	struct statvfs v;

	(void)state;
	assert_int_equal(fstatvfs(w.tree_fd, &v), 0);
	assert_int_equal(call_statfs(w.source, &w.source->root, &fs), 0);
	assert_int_equal(fs.bytes_total, (uint64_t)v.f_blocks * v.f_frsize);
	assert_true(fs.bytes_used > 0 && fs.bytes_used < fs.bytes_total);
}

/* A directory that is listed in pages: every name once. */
static void test_pages(void **state)
{
	unsigned char seen[TREE_MANY] = { 0 };
	struct source_fh fh;
	struct call_list l;
	size_t i;

	(void)state;
	assert_int_equal(call_path(w.source, "many", &fh, NULL), 0);
	assert_int_equal(call_readdir(w.source, &fh, &l), 0);
	assert_int_equal(l.count, TREE_MANY);
	assert_true(l.pages >= 2);
	for (i = 0; i < l.count; i++) {
		int n = atoi(l.entries[i].name + 4);

		assert_true(n >= 0 && n < TREE_MANY && !seen[n]);
		seen[n] = 1;
	}
	call_list_free(&l);
}

/* ---- many in flight ---- */

struct flight {
	struct source_req req;
	unsigned number;
	struct call_gate *gate;
	_Atomic unsigned *wrong;
};

static void flight_done(struct source_req *req)
{
	struct flight *f = req->user;
	char want[32];
	int n = snprintf(want, sizeof want, "file%u", f->number);

	if (req->err || (int)req->out_length != n || memcmp(req->data, want, (size_t)n) || !req->eof ||
	    !req->has_attr || req->attr.size != (uint64_t)n)
		++*f->wrong;
	call_gate_pass(f->gate);
}

static void test_in_flight(void **state)
{
	struct call_gate *gate = call_gate_new();
	struct flight *f = calloc(TREE_MANY, sizeof *f);
	_Atomic unsigned wrong = 0;
	struct source_fh fh;
	struct call_list l;
	unsigned i;

	(void)state;
	assert_int_equal(call_path(w.source, "many", &fh, NULL), 0);
	assert_int_equal(call_readdir(w.source, &fh, &l), 0);
	for (i = 0; i < TREE_MANY; i++) {
		f[i].number = (unsigned)atoi(l.entries[i].name + 4);
		f[i].gate = gate;
		f[i].wrong = &wrong;
		f[i].req = (struct source_req){
			.op = SOURCE_READ, .lane = i % 3 ? SOURCE_BACKGROUND : SOURCE_DEMAND,
			.fh = l.entries[i].fh, .length = 4096, .done = flight_done, .user = &f[i],
		};
		source_submit(w.source, &f[i].req);
		if (i >= 256)	/* 256 in flight, about */
			call_gate_wait(gate, i - 255, 30);
	}
	assert_true(call_gate_wait(gate, TREE_MANY, 30));
	assert_int_equal(wrong, 0);
	call_gate_free(gate);
	call_list_free(&l);
	free(f);
}

/* A handle goes on naming its object after a rename, and is stale after its death. */
static void test_handle_lives(void **state)
{
	struct source_fh fh;
	struct source_attr a, b;
	int fd = openat(w.tree_fd, "temp", O_WRONLY | O_CREAT | O_CLOEXEC, 0644);

	(void)state;
	close(fd);
	assert_int_equal(call_path(w.source, "temp", &fh, &a), 0);
	if (strcmp(w.variant, "paths")) {
		assert_int_equal(renameat(w.tree_fd, "temp", w.tree_fd, "moved"), 0);
		assert_int_equal(call_getattr(w.source, &fh, &b), 0);
		assert_int_equal(a.fileid, b.fileid);
		unlinkat(w.tree_fd, "moved", 0);
	} else {
		unlinkat(w.tree_fd, "temp", 0);
	}
	assert_int_equal(call_getattr(w.source, &fh, &b), -ESTALE);
	fh.len = 5;
	memset(fh.data, 0xee, sizeof fh.data);
	assert_true(call_getattr(w.source, &fh, &b) < 0);
}

/* A mount below the source is part of it (local sources). */
static void test_nested_mount(void **state)
{
	struct source_fh fh;
	struct source_attr a;
	uint32_t got;
	bool eof;
	char *data;

	(void)state;
	if (!w.mounted)
		skip();
	assert_int_equal(call_path(w.source, "emptydir/inner/file", &fh, &a), 0);
	assert_true(a.fsid != w.source->root_attr.fsid);
	assert_int_equal(call_read(w.source, &fh, 0, 100, &data, &got, &eof, NULL), 0);
	assert_int_equal(got, 5);
	assert_memory_equal(data, "inner", 5);
	free(data);
}

/* What is asked for when the source goes away is answered: -ECANCELED or done. */
static void close_done(struct source_req *req)
{
	call_gate_pass(req->user);
}

static void test_close_in_flight(void **state)
{
	struct call_gate *gate = call_gate_new();
	struct source_req *reqs = calloc(200, sizeof *reqs);
	struct source_fh fh;
	struct source *s;
	struct err e;
	unsigned i;

	(void)state;
	assert_int_equal(source_open(w.url, &s, &e), 0);
	assert_int_equal(call_path(s, "five", &fh, NULL), 0);
	for (i = 0; i < 200; i++) {
		reqs[i] = (struct source_req){ .op = SOURCE_READ, .lane = i & 1, .fh = fh,
					       .length = 1 << 20, .done = close_done, .user = gate };
		source_submit(s, &reqs[i]);
	}
	source_close(s);
	assert_int_equal(call_gate_count(gate), 200);
	call_gate_free(gate);
	free(reqs);
}

/* ---- set-up ---- */

static void mount_inner(void)
{
	char path[400];
	FILE *f;

	if (is_nfs() || unshare(CLONE_NEWNS) || mount("none", "/", NULL, MS_REC | MS_PRIVATE, NULL))
		return;
	snprintf(path, sizeof path, "%s/emptydir", w.tree);
	if (mount("tmpfs", path, "tmpfs", 0, "mode=0700"))
		return;
	w.mounted = true;
	strcat(path, "/inner");
	mkdir(path, 0755);
	strcat(path, "/file");
	f = fopen(path, "we");
	fputs("inner", f);
	fclose(f);
}

static void drop_handle_right(void)
{
	struct __user_cap_header_struct h = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct d[2];

	if (!syscall(SYS_capget, &h, d)) {
		d[0].effective &= ~(1u << CAP_DAC_READ_SEARCH);
		syscall(SYS_capset, &h, d);
	}
}

static int setup(void **state)
{
	struct err e;

	(void)state;
	if (!tree_temp(w.dir, sizeof w.dir))
		return -1;
	snprintf(w.tree, sizeof w.tree, "%s/tree", w.dir);
	mkdir(w.tree, 0755);
	if (!tree_make(w.tree, strcmp(w.variant, "nfs3") != 0))
		return -1;
	mount_inner();
	if (is_nfs()) {
		w.server = ganesha_start(w.dir, w.tree);
		if (!w.server)
			return -1;
		ganesha_url(w.server, (unsigned)(w.variant[3] - '0'), "/tree", w.url, sizeof w.url);
	} else {
		snprintf(w.url, sizeof w.url, "file://%s", w.tree);
	}
	if (!strcmp(w.variant, "paths"))
		drop_handle_right();
	w.tree_fd = open(w.tree, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
	if (source_open(w.url, &w.source, &e)) {
		fprintf(stderr, "%s\n", e.text);
		return -1;
	}
	return 0;
}

static int teardown(void **state)
{
	char path[400];

	(void)state;
	source_close(w.source);
	if (w.server)
		ganesha_stop(w.server);
	snprintf(path, sizeof path, "%s/emptydir", w.tree);
	if (w.mounted)
		umount2(path, MNT_DETACH);
	close(w.tree_fd);
	tree_remove(w.dir);
	return 0;
}

int main(int argc, char **argv)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_atime),	       cmocka_unit_test(test_root),
		cmocka_unit_test(test_whole_tree),     cmocka_unit_test(test_limits),
		cmocka_unit_test(test_errors),	       cmocka_unit_test(test_hard_links),
		cmocka_unit_test(test_big_file),       cmocka_unit_test(test_sparse),
		cmocka_unit_test(test_statfs),	       cmocka_unit_test(test_pages),
		cmocka_unit_test(test_in_flight),      cmocka_unit_test(test_handle_lives),
		cmocka_unit_test(test_nested_mount),   cmocka_unit_test(test_close_in_flight),
	};

	w.variant = argc > 1 ? argv[1] : "posix";
	if (geteuid() || (is_nfs() && !ganesha_possible())) {
		fprintf(stderr, "needs root%s\n", is_nfs() ? " and nfs-ganesha" : "");
		return 77;
	}
	return cmocka_run_group_tests_name(w.variant, tests, setup, teardown);
}
