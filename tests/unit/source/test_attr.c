/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Attributes of both protocols, owner strings, and the bounds of the decoder. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "nfs3_attr.h"
#include "nfs4_attr.h"
#include "nfs_ids.h"
#include "nfs_page.h"
#include "nfs_zdr.h"
#include "posix_paths.h"

static void assert_sec(uint32_t wire, int64_t want)
{
	assert_int_equal(nfs3_attr_time(wire, 7).sec, want);
	assert_int_equal(nfs3_attr_time(wire, 7).nsec, 7);
}

static void test_v3_times(void **state)
{
	(void)state;
	assert_sec(0, 0);
	assert_sec(1000000000, 1000000000);
	assert_sec(0x7fffffff, 0x7fffffff);		/* 2038-01-19 */
	assert_sec(2209086245u, 2209086245);		/* 2040 */
	assert_sec(0xbfffffff, 0xbfffffffll);		/* 2072-01-28, the end of the window */
	assert_sec(0xc0000000, -0x40000000ll);		/* 1935-12-22, its begin */
	assert_sec((uint32_t)-315521755, -315521755);	/* 1960 */
	assert_sec(0xffffffff, -1);
	assert_int_equal(nfs3_attr_time(1, 4000000000u).nsec, 999999999);
}

static void test_v3_sanity(void **state)
{
	struct fattr3 f = { .type = NF3CHR, .mode = 0102644, .rdev = { 300, 70000 }, .size = 5 };
	struct source_attr a;

	(void)state;
	assert_int_equal(nfs3_attr(&f, &a), 0);
	assert_int_equal(a.type, SOURCE_CHR);
	assert_int_equal(a.mode, 02644);
	assert_int_equal(a.rdev_minor, 70000);
	f.type = NF3REG;
	assert_int_equal(nfs3_attr(&f, &a), 0);
	assert_int_equal(a.rdev_major, 0);
	f.size = 1ull << 63;
	assert_int_equal(nfs3_attr(&f, &a), -EPROTO);
	f.size = 0;
	f.type = (ftype3)8;
	assert_int_equal(nfs3_attr(&f, &a), -EPROTO);
	f.type = (ftype3)0xffffffff;
	assert_int_equal(nfs3_attr(&f, &a), -EPROTO);
}

/* ---- v4 ---- */

struct block {
	unsigned char b[600];
	size_t n;
};

static void put32(struct block *k, uint32_t v)
{
	unsigned char w[4] = { (unsigned char)(v >> 24), (unsigned char)(v >> 16),
			       (unsigned char)(v >> 8), (unsigned char)v };

	memcpy(k->b + k->n, w, 4);
	k->n += 4;
}
static void put64(struct block *k, uint64_t v)
{
	put32(k, (uint32_t)(v >> 32));
	put32(k, (uint32_t)v);
}
static void put_bytes(struct block *k, const char *s, uint32_t len)
{
	put32(k, len);
	memcpy(k->b + k->n, s, len);
	k->n += (len + 3) & ~3u;
}

/* Everything of nfs4_attr_entry in order. */
static struct block full(const char *owner)
{
	struct block k = { .n = 0 };

	put32(&k, 1);			/* type */
	put64(&k, 99);			/* change */
	put64(&k, 12345);		/* size */
	put64(&k, 5);			/* fsid */
	put64(&k, 0);
	put32(&k, 0);			/* rdattr_error */
	put_bytes(&k, "handle", 6);
	put64(&k, 777);			/* fileid */
	put32(&k, 0100755);		/* mode */
	put32(&k, 3);			/* numlinks */
	put_bytes(&k, owner, (uint32_t)strlen(owner));
	put_bytes(&k, "4294967290", 10);
	put64(&k, 0);			/* rawdev */
	put64(&k, 8192);		/* space_used */
	put64(&k, (uint64_t)-315521755);	/* atime */
	put32(&k, 1);
	put64(&k, 10413792000);		/* ctime: 2300 */
	put32(&k, 2);
	put64(&k, (uint64_t)-5000000000);	/* mtime: 1811 */
	put32(&k, 999999999);
	return k;
}

static void test_v4_full(void **state)
{
	struct nfs_ids *ids = nfs_ids_new();
	struct block k = full("1000");
	struct nfs4_attrs a;

	(void)state;
	assert_int_equal(nfs4_attr_parse(nfs4_attr_entry, 2, k.b, k.n, ids, &a), 0);
	assert_int_equal(nfs4_attr_complete(&a), 0);
	assert_int_equal(a.attr.type, SOURCE_REG);
	assert_int_equal(a.attr.mode, 0755);
	assert_int_equal(a.attr.change, 99);
	assert_int_equal(a.attr.size, 12345);
	assert_int_equal(a.attr.fsid, 5);
	assert_int_equal(a.attr.fileid, 777);
	assert_int_equal(a.attr.nlink, 3);
	assert_int_equal(a.attr.uid, 1000);
	assert_int_equal(a.attr.gid, 4294967290u);
	assert_int_equal(a.attr.used, 8192);
	assert_int_equal(a.attr.atime.sec, -315521755);
	assert_int_equal(a.attr.ctime.sec, 10413792000);
	assert_int_equal(a.attr.mtime.sec, -5000000000);
	assert_int_equal(a.attr.mtime.nsec, 999999999);
	assert_int_equal(a.fh.len, 6);
	assert_memory_equal(a.fh.data, "handle", 6);
	nfs_ids_free(ids);
}

static void test_v4_bounds(void **state)
{
	const uint32_t three[3] = { nfs4_attr_entry[0], nfs4_attr_entry[1], 0 };
	const uint32_t more[3] = { nfs4_attr_entry[0], nfs4_attr_entry[1], 1 };
	const uint32_t unknown[2] = { nfs4_attr_entry[0] | 1, nfs4_attr_entry[1] };
	const uint32_t handle[2] = { 1u << 19, 0 };
	struct nfs_ids *ids = nfs_ids_new();
	struct block k = full("root@example.org"), h = { .n = 0 };
	struct nfs4_attrs a;
	size_t n;

	(void)state;
	/* cut anywhere, or one word too long */
	for (n = 0; n < k.n; n++) {
		unsigned char *exact = malloc(n ? n : 1);	/* so that ASan sees the end */

		memcpy(exact, k.b, n);
		assert_int_equal(nfs4_attr_parse(nfs4_attr_entry, 2, exact, n, ids, &a), -EPROTO);
		free(exact);
	}
	assert_int_equal(nfs4_attr_parse(nfs4_attr_entry, 2, k.b, k.n + 4, ids, &a), -EPROTO);
	assert_int_equal(nfs4_attr_parse(three, 3, k.b, k.n, ids, &a), 0);
	assert_int_equal(nfs4_attr_parse(more, 3, k.b, k.n, ids, &a), -EPROTO);
	assert_int_equal(nfs4_attr_parse(unknown, 2, k.b, k.n, ids, &a), -EPROTO);
	/* handles of no and of too many bytes, and of more than there are */
	put_bytes(&h, "", 0);
	assert_int_equal(nfs4_attr_parse(handle, 2, h.b, h.n, ids, &a), -EPROTO);
	h.n = 0;
	put_bytes(&h, (char *)k.b, 128);
	assert_int_equal(nfs4_attr_parse(handle, 2, h.b, h.n, ids, &a), 0);
	h.n = 0;
	put_bytes(&h, (char *)k.b, 129);
	assert_int_equal(nfs4_attr_parse(handle, 2, h.b, h.n, ids, &a), -EPROTO);
	h.n = 0;
	put32(&h, 0xfffffffe);
	assert_int_equal(nfs4_attr_parse(handle, 2, h.b, h.n, ids, &a), -EPROTO);
	/* nothing at all is well-formed, but not an object */
	assert_int_equal(nfs4_attr_parse(NULL, 0, NULL, 0, ids, &a), 0);
	assert_int_equal(nfs4_attr_complete(&a), -EPROTO);
	nfs_ids_free(ids);
}

static void test_owners(void **state)
{
	static const struct {
		const char *s;
		uint32_t id;
	} cases[] = {
		{ "0", 0 }, { "4294967295", 4294967295u }, { "4294967296", NFS_IDS_NOBODY },
		{ "root@some.domain", 0 }, { "root", 0 }, { "daemon@x", 1 },
		{ "no such user@x", NFS_IDS_NOBODY }, { "@x", NFS_IDS_NOBODY },
		{ "", NFS_IDS_NOBODY }, { "-1", NFS_IDS_NOBODY }, { "12 ", NFS_IDS_NOBODY },
	};
	struct nfs_ids *ids = nfs_ids_new();
	char longest[1024];
	size_t i, round;

	(void)state;
	for (round = 0; round < 2; round++) {	/* the second time from memory */
		for (i = 0; i < sizeof cases / sizeof *cases; i++) {
			assert_int_equal(nfs_ids_map(ids, false, cases[i].s, strlen(cases[i].s)),
					 cases[i].id);
			assert_int_equal(nfs_ids_map(ids, true, cases[i].s, strlen(cases[i].s)),
					 cases[i].id);
		}
	}
	memset(longest, 'x', sizeof longest);
	assert_int_equal(nfs_ids_map(ids, false, longest, sizeof longest), NFS_IDS_NOBODY);
	assert_int_equal(nfs_ids_map(ids, false, "ro\0ot", 5), NFS_IDS_NOBODY);
	nfs_ids_free(ids);
}

static void test_errors(void **state)
{
	(void)state;
	assert_int_equal(nfs3_attr_error(NFS3ERR_STALE), -ESTALE);
	assert_int_equal(nfs3_attr_error(NFS3ERR_BADHANDLE), -ESTALE);
	assert_int_equal(nfs3_attr_error(NFS3ERR_JUKEBOX), -EAGAIN);
	assert_int_equal(nfs3_attr_error(NFS3ERR_NAMETOOLONG), -ENAMETOOLONG);
	assert_int_equal(nfs3_attr_error(NFS3ERR_ACCES), -EACCES);
	assert_int_equal(nfs3_attr_error(123456), -EIO);
	assert_int_equal(nfs3_attr_error(0xffffffff), -EIO);
	assert_int_equal(nfs4_attr_error(10013), -EAGAIN);	/* GRACE */
	assert_int_equal(nfs4_attr_error(10029), -ENOTDIR);	/* SYMLINK */
	assert_int_equal(nfs4_attr_error(70), -ESTALE);
	assert_int_equal(nfs4_attr_error(0x80000000), -EIO);
}

static void test_decoder_bounded(void **state)
{
	(void)state;
#ifdef DMM_NFS_ZDR
	assert_true(nfs_zdr_active());
#else
	skip();
#endif
}

/* ---- pages and paths ---- */

static void test_page(void **state)
{
	struct source_req req = { .op = SOURCE_READDIR };
	struct nfs_page p = { .count = 0 };
	struct source_entry *e;
	char name[300];
	int i, round;

	(void)state;
	memset(name, 'l', sizeof name);
	for (round = 0; round < 2; round++) {
		nfs_page_reset(&p);
		req.bad_entries = 0;
		for (i = 0; i < 1000; i++) {
			char n[20];

			snprintf(n, sizeof n, "entry%d", i);
			assert_int_equal(nfs_page_add(&p, &req, n, strlen(n), &e), 0);
			e->attr.size = (uint64_t)i;
		}
		assert_int_equal(nfs_page_add(&p, &req, name, 255, &e), 0);
		assert_non_null(e);
		assert_int_equal(nfs_page_add(&p, &req, ".", 1, &e), 0);
		assert_int_equal(nfs_page_add(&p, &req, "..", 2, &e), 0);
		assert_int_equal(req.bad_entries, 0);
		assert_int_equal(nfs_page_add(&p, &req, name, 256, &e), 0);
		assert_int_equal(nfs_page_add(&p, &req, "", 0, &e), 0);
		assert_int_equal(nfs_page_add(&p, &req, "a\0b", 3, &e), 0);
		assert_int_equal(nfs_page_add(&p, &req, "\n/x", 3, &e), 0);
		assert_null(e);
		assert_int_equal(req.bad_entries, 4);
		assert_string_equal(req.bad_name, "?/x");
		nfs_page_seal(&p, &req);
		assert_int_equal(req.entry_count, 1001);
		assert_string_equal(req.entries[999].name, "entry999");
		assert_int_equal(req.entries[999].attr.size, 999);
		assert_int_equal(strlen(req.entries[1000].name), 255);
	}
	nfs_page_free(&p);
}

static void test_paths_bounded(void **state)
{
	struct posix_paths *p = posix_paths_new(10000);
	char *path;
	uint64_t i;

	(void)state;
	assert_int_equal(posix_paths_put(p, 1, 2, "a/b", "c"), 0);
	path = posix_paths_get(p, 1, 2);
	assert_string_equal(path, "a/b/c");
	free(path);
	assert_null(posix_paths_get(p, 2, 1));
	for (i = 100; i < 1100; i++) {
		assert_int_equal(posix_paths_put(p, 1, i, "", "name"), 0);
		path = posix_paths_get(p, 1, 2);	/* in use: stays */
		assert_non_null(path);
		free(path);
	}
	assert_null(posix_paths_get(p, 1, 100));
	path = posix_paths_get(p, 1, 1099);
	assert_string_equal(path, "name");
	free(path);
	assert_int_equal(posix_paths_put(p, 1, 1099, "x", "y"), 0);
	path = posix_paths_get(p, 1, 1099);
	assert_string_equal(path, "x/y");
	free(path);
	posix_paths_free(p);
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_v3_times),	cmocka_unit_test(test_v3_sanity),
		cmocka_unit_test(test_v4_full),		cmocka_unit_test(test_v4_bounds),
		cmocka_unit_test(test_owners),		cmocka_unit_test(test_errors),
		cmocka_unit_test(test_decoder_bounded), cmocka_unit_test(test_page),
		cmocka_unit_test(test_paths_bounded),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
