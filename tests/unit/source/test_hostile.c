/* SPDX-License-Identifier: GPL-3.0-or-later */
/* Replies that no honest NFS v3 server sends, and some that honest ones may. */
#include <errno.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "call.h"
#include "mock.h"

/* ---- one test: open against a mock, then use it ---- */

typedef void answer_fn(const struct mock_call *c, struct mock_out *o, void *arg);

struct script {
	answer_fn *special;
	int proc;		/* special answers this, the honest mock the rest */
	unsigned kind;		/* for special */
	unsigned asked;		/* how often special was called */
};

static const struct source_fh root = { .len = 4, .data = "root" };

static void answer(const struct mock_call *c, struct mock_out *o, void *arg)
{
	struct script *s = arg;

	if (s->special && (s->proc == c->proc || s->proc < 0)) {
		s->special(c, o, s);
		s->asked++;
	} else {
		mock_honest(c, o);
	}
}

static struct source *open_mock(struct script *s, struct mock **m, struct err *e)
{
	struct source *src = NULL;
	char url[100];

	*m = mock_start(answer, s);
	snprintf(url, sizeof url, "nfs://127.0.0.1:%u/x?mountport=%u", mock_port(*m), mock_port(*m));
	if (source_open(url, &src, e))
		mock_stop(*m);
	return src;
}

static struct source *must_open(struct script *s, struct mock **m)
{
	struct err e = { .code = 0 };
	struct source *src = open_mock(s, m, &e);

	if (!src)
		fail_msg("%s", e.text);
	return src;
}

static void end(struct source *s, struct mock *m)
{
	source_close(s);
	mock_stop(m);
}

/* ---- READ ---- */

static void bad_read(const struct mock_call *c, struct mock_out *o, void *arg)
{
	static const uint32_t lengths[] = { 0x80000000, 0xfffffff0, 0xffffffff, 101, 0x7fffffff };
	struct script *s = arg;
	uint32_t n = s->kind < 5 ? lengths[s->kind] : 0;

	(void)c;
	mock_u32(o, 0);
	mock_u32(o, 0);
	if (s->kind < 5) {		/* a length that cannot be */
		mock_u32(o, n);
		mock_u32(o, 0);
		mock_u32(o, n);
		o->len += 104;		/* so that 101 bytes really are there */
	} else if (s->kind == 5) {	/* count and length differ */
		mock_u32(o, 50);
		mock_u32(o, 0);
		mock_bytes(o, "some bytes", 10);
	} else if (s->kind == 6) {	/* nothing, and not the end */
		mock_u32(o, 0);
		mock_u32(o, 0);
		mock_u32(o, 0);
	} else {			/* cut in the middle */
		mock_u32(o, 50);
	}
}

static void test_read(void **state)
{
	struct script s = { bad_read, MOCK_READ, 0, 0 };
	struct mock *m;
	struct source *src = must_open(&s, &m);
	uint32_t got;
	bool eof;
	char *data;

	(void)state;
	for (s.kind = 0; s.kind < 8; s.kind++)
		assert_int_equal(call_read(src, &root, 0, 100, &data, &got, &eof, NULL), -EPROTO);
	assert_int_equal(s.asked, 8);
	end(src, m);
}

/* ---- READLINK ---- */

static void bad_link(const struct mock_call *c, struct mock_out *o, void *arg)
{
	static char longest[5000];
	struct script *s = arg;

	(void)c;
	memset(longest, 'l', sizeof longest);
	mock_u32(o, 0);
	mock_u32(o, 0);
	switch (s->kind) {
	case 0:
		mock_bytes(o, "", 0);
		break;
	case 1:
		mock_bytes(o, "a\0b", 3);
		break;
	case 2:
		mock_bytes(o, longest, 4096);
		break;
	case 3:
		mock_u32(o, 0x80000004);
		mock_u64(o, 1);
		break;
	case 4:
		mock_bytes(o, longest, 4095);
		break;
	}
}

static void test_readlink(void **state)
{
	struct script s = { bad_link, MOCK_READLINK, 0, 0 };
	struct mock *m;
	struct source *src = must_open(&s, &m);
	uint32_t len;
	char *data;

	(void)state;
	for (s.kind = 0; s.kind < 4; s.kind++)
		assert_int_equal(call_readlink(src, &root, &data, &len), -EPROTO);
	assert_int_equal(call_readlink(src, &root, &data, &len), 0);
	assert_int_equal(len, 4095);
	free(data);
	end(src, m);
}

/* ---- READDIRPLUS ---- */

static void entry(struct mock_out *o, const char *name, uint32_t len, uint64_t cookie, bool full)
{
	mock_u32(o, 1);
	mock_u64(o, cookie + 100);
	mock_bytes(o, name, len);
	mock_u64(o, cookie);
	mock_u32(o, full);
	if (full)
		mock_fattr(o, 1, 7);
	mock_u32(o, full);
	if (full)
		mock_bytes(o, name, len < 64 ? len : 64);
}

static void list_head(struct mock_out *o)
{
	mock_u32(o, 0);
	mock_u32(o, 0);
	mock_u64(o, 42);	/* verifier */
}

static void list_end(struct mock_out *o, bool eof)
{
	mock_u32(o, 0);
	mock_u32(o, eof);
}

static void bad_names(const struct mock_call *c, struct mock_out *o, void *arg)
{
	char longest[256];

	(void)c;
	(void)arg;
	memset(longest, 'n', sizeof longest);
	list_head(o);
	entry(o, "good", 4, 1, true);
	entry(o, "../etc/passwd", 13, 2, true);
	entry(o, "", 0, 3, true);
	entry(o, longest, 256, 4, true);
	entry(o, "nu\0l", 4, 5, true);
	entry(o, ".", 1, 6, true);
	entry(o, "..", 2, 7, true);
	entry(o, longest, 255, 8, true);
	list_end(o, true);
}

static void test_names(void **state)
{
	struct script s = { bad_names, MOCK_READDIRPLUS, 0, 0 };
	struct mock *m;
	struct source *src = must_open(&s, &m);
	struct call_list l;

	(void)state;
	assert_int_equal(call_readdir(src, &root, &l), 0);
	assert_int_equal(l.bad, 4);
	assert_int_equal(l.count, 2);
	assert_non_null(call_list_find(&l, "good"));
	assert_int_equal(l.entries[1].name_len, 255);
	call_list_free(&l);
	end(src, m);
}

/* READDIRPLUS without attributes; LOOKUP of the first has them, of the second
 * not, the third is gone, the fourth is an entry that had everything. */
static void gaps(const struct mock_call *c, struct mock_out *o, void *arg)
{
	(void)arg;
	if (c->proc == MOCK_READDIRPLUS) {
		list_head(o);
		entry(o, "full", 4, 1, true);
		entry(o, "attr", 4, 2, false);
		entry(o, "bare", 4, 3, false);
		entry(o, "gone", 4, 4, false);
		list_end(o, true);
	} else if (c->proc == MOCK_LOOKUP) {
		/* args: handle (4 + 4 bytes), then the name */
		const char *name = (const char *)c->args + 12;

		if (!memcmp(name, "gone", 4)) {
			mock_u32(o, 2);
			mock_u32(o, 0);
			return;
		}
		mock_u32(o, 0);
		mock_bytes(o, name, 4);
		mock_u32(o, !memcmp(name, "attr", 4));
		if (!memcmp(name, "attr", 4))
			mock_fattr(o, 1, 9);
		mock_u32(o, 0);
	} else {
		mock_honest(c, o);
	}
}

static void test_gaps(void **state)
{
	struct script s = { gaps, -1, 0, 0 };
	struct mock *m;
	struct source *src = must_open(&s, &m);
	const struct call_entry *e;
	struct source_attr a;
	struct source_fh fh;
	struct call_list l;

	(void)state;
	assert_int_equal(call_readdir(src, &root, &l), 0);
	assert_int_equal(l.count, 4);
	e = call_list_find(&l, "full");
	assert_true(e->has_attr && e->has_fh && e->attr.size == 7);
	e = call_list_find(&l, "attr");
	assert_true(e->has_attr && e->has_fh && e->attr.size == 9);
	assert_memory_equal(e->fh.data, "attr", 4);
	e = call_list_find(&l, "bare");
	assert_true(!e->has_attr && e->has_fh);
	e = call_list_find(&l, "gone");
	assert_true(!e->has_attr && !e->has_fh);
	call_list_free(&l);
	/* a LOOKUP of its own asks on with GETATTR */
	assert_int_equal(call_lookup(src, &root, "bare", &fh, &a), 0);
	assert_int_equal(a.type, SOURCE_DIR);
	assert_int_equal(a.size, 4096);
	end(src, m);
}

static void bad_list(const struct mock_call *c, struct mock_out *o, void *arg)
{
	struct script *s = arg;

	(void)c;
	list_head(o);
	switch (s->kind) {
	case 0:		/* no entries, and not the end */
		list_end(o, false);
		break;
	case 1:		/* the cookie that was asked for */
		entry(o, "x", 1, 0, true);
		list_end(o, false);
		break;
	case 2:		/* a name of 2^31 bytes */
		mock_u32(o, 1);
		mock_u64(o, 1);
		mock_u32(o, 0x80000000);
		break;
	case 3:		/* cut */
		entry(o, "x", 1, 1, true);
		mock_u32(o, 1);
		break;
	}
}

static void test_lists(void **state)
{
	struct script s = { bad_list, MOCK_READDIRPLUS, 0, 0 };
	struct mock *m;
	struct source *src = must_open(&s, &m);
	struct call_list l;

	(void)state;
	for (s.kind = 0; s.kind < 4; s.kind++)
		assert_int_equal(call_readdir(src, &root, &l), -EPROTO);
	end(src, m);
}

/* 2,900 entries without anything: nested deep in the decoder, and 2,900 LOOKUPs. */
static void long_list(const struct mock_call *c, struct mock_out *o, void *arg)
{
	uint64_t i;

	if (c->proc != MOCK_READDIRPLUS) {
		gaps(c, o, arg);
		return;
	}
	list_head(o);
	for (i = 1; i <= 2900; i++)
		entry(o, "attr", 4, i, false);
	list_end(o, true);
}

static void test_long_list(void **state)
{
	struct script s = { long_list, -1, 0, 0 };
	struct mock *m;
	struct source *src = must_open(&s, &m);
	struct call_list l;

	(void)state;
	assert_int_equal(call_readdir(src, &root, &l), 0);
	assert_int_equal(l.count, 2900);
	assert_true(l.entries[2899].has_attr && l.entries[2899].attr.size == 9);
	call_list_free(&l);
	end(src, m);
}

/* ---- attributes and handles ---- */

static void bad_attr(const struct mock_call *c, struct mock_out *o, void *arg)
{
	struct script *s = arg;

	(void)c;
	mock_u32(o, s->kind == 3 ? 10008 : 0);	/* JUKEBOX */
	if (s->kind == 0)
		mock_fattr(o, 2, 1ull << 63);
	if (s->kind == 1)
		mock_fattr(o, 99, 1);
	if (s->kind == 2)
		mock_u64(o, 1);
}

static void test_attr(void **state)
{
	static const int want[] = { -EPROTO, -EPROTO, -EPROTO, -EAGAIN };
	struct script s = { NULL, MOCK_GETATTR, 0, 0 };
	struct mock *m;
	struct source *src = must_open(&s, &m);
	struct source_attr a;

	(void)state;
	s.special = bad_attr;
	for (s.kind = 0; s.kind < 4; s.kind++)
		assert_int_equal(call_getattr(src, &root, &a), want[s.kind]);
	end(src, m);
}

static void bad_mount(const struct mock_call *c, struct mock_out *o, void *arg)
{
	static const uint32_t lengths[] = { 0, 65, 0x80000000, 0xffffffff };
	struct script *s = arg;

	(void)c;
	o->hangup = s->kind == 7;
	mock_u32(o, s->kind == 4 ? 1 : s->kind == 5 ? 2 : s->kind == 6 ? 77 : 0);
	if (s->kind < 4) {
		mock_u32(o, lengths[s->kind]);
		o->len += 80;
	}
}

static void test_mount(void **state)
{
	static const char *const words[] = { "refuses", "rejected", "rejected", "rejected",
					     "no permission", "does not export", "status 77",
					     "closed the connection" };
	struct script s = { bad_mount, MOCK_MNT, 0, 0 };
	struct mock *m;
	struct err e;

	(void)state;
	for (s.kind = 0; s.kind < 8; s.kind++) {
		assert_null(open_mock(&s, &m, &e));
		if (!strstr(e.text, words[s.kind]))
			fail_msg("kind %u: \"%s\"", s.kind, e.text);
	}
}

/* ---- the RPC layer: three bad answers, then a good one ---- */

static void bad_rpc(const struct mock_call *c, struct mock_out *o, void *arg)
{
	struct script *s = arg;

	if (s->asked >= 3) {
		mock_honest(c, o);
		return;
	}
	o->raw = true;
	switch (s->kind) {
	case 0:		/* a record of 2 GiB */
		mock_u32(o, 0xffffffff);
		break;
	case 1:		/* closes */
		o->hangup = true;
		break;
	case 2:		/* no NFS here (yet) */
		o->raw = false;
		o->accept = 1;
		break;
	case 3:		/* a service in trouble */
		o->raw = false;
		o->accept = 5;
		break;
	}
}

static void test_waited_out(void **state)
{
	unsigned kind;

	(void)state;
	for (kind = 0; kind < 4; kind++) {
		struct script s = { NULL, MOCK_GETATTR, kind, 0 };
		struct mock *m;
		struct source *src = must_open(&s, &m);
		struct source_stats st;
		struct source_attr a;

		s.special = bad_rpc;
		assert_int_equal(call_getattr(src, &root, &a), 0);
		assert_int_equal(s.asked, 4);
		source_stats(src, &st);
		assert_true(st.reconnects >= 1 && st.retries >= 3);
		end(src, m);
	}
}

static void odd_header(const struct mock_call *c, struct mock_out *o, void *arg)
{
	struct script *s = arg;

	o->raw = true;
	mock_u32(o, 0x80000000 | 64);
	mock_u32(o, c->xid);
	switch (s->kind) {
	case 0:		/* a verifier of 2^31 bytes */
		mock_u32(o, 1);
		mock_u32(o, 0);
		mock_u32(o, 0);
		mock_u32(o, 0x80000000);
		break;
	case 1:		/* a call instead of a reply */
		mock_u32(o, 0);
		break;
	case 2:		/* denied: bad credentials */
		mock_u32(o, 1);
		mock_u32(o, 1);
		mock_u32(o, 1);
		mock_u32(o, 1);
		break;
	case 3:		/* neither accepted nor denied */
		mock_u32(o, 1);
		mock_u32(o, 7);
		break;
	}
	memset(o->bytes + o->len, 0, 68 - o->len);
	o->len = 68;
}

static void test_headers(void **state)
{
	static const int want[] = { -EPROTO, -EPROTO, -EACCES, -EPROTO };
	static const int procs[] = { MOCK_GETATTR, MOCK_READLINK, MOCK_READ, MOCK_READDIRPLUS };
	struct mock *m;
	unsigned i;

	(void)state;
	for (i = 0; i < 4; i++) {
		struct script s = { NULL, procs[i], 0, 0 };
		struct source *src = must_open(&s, &m);
		struct source_attr a;
		struct call_list l;
		uint32_t got;
		bool eof;
		char *data;

		s.special = odd_header;
		for (s.kind = 0; s.kind < 4; s.kind++) {
			int r = i == 0 ? call_getattr(src, &root, &a) :
				i == 1 ? call_readlink(src, &root, &data, &got) :
				i == 2 ? call_read(src, &root, 0, 9, &data, &got, &eof, NULL) :
					 call_readdir(src, &root, &l);

			assert_int_equal(r, want[s.kind]);
		}
		end(src, m);
	}
}

int main(void)
{
	const struct CMUnitTest tests[] = {
		cmocka_unit_test(test_read),	   cmocka_unit_test(test_readlink),
		cmocka_unit_test(test_names),	   cmocka_unit_test(test_gaps),
		cmocka_unit_test(test_lists),	   cmocka_unit_test(test_long_list),
		cmocka_unit_test(test_attr),	   cmocka_unit_test(test_mount),
		cmocka_unit_test(test_waited_out), cmocka_unit_test(test_headers),
	};

	return cmocka_run_group_tests(tests, NULL, NULL);
}
