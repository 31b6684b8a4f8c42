/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "check.h"

#include <assert.h>
#include <errno.h>
#include <string.h>

static_assert(sizeof(struct list) == 2 * sizeof(void *), "a list node takes two hooks");

bool check_name(const char *name, size_t len)
{
	if (len < 1 || len > SOURCE_NAME_MAX)
		return false;
	if (name[0] == '.' && (len == 1 || (len == 2 && name[1] == '.')))
		return false;
	return !memchr(name, '/', len) && !memchr(name, 0, len);
}

void check_bad_entry(struct source_req *req, const char *name, size_t len)
{
	size_t i, n = len < sizeof req->bad_name - 1 ? len : sizeof req->bad_name - 1;

	req->bad_entries++;
	for (i = 0; i < n; i++)
		req->bad_name[i] = name[i] >= ' ' && name[i] < 0x7f ? name[i] : '?';
	req->bad_name[n] = 0;
}

static bool time_ok(const struct source_time *t)
{
	return t->nsec < 1000000000u;
}

int check_attr(const struct source_attr *a)
{
	if (a->type < SOURCE_REG || a->type > SOURCE_SOCK)
		return -EPROTO;
	if (a->mode & ~07777u || a->size > INT64_MAX || a->used > INT64_MAX)
		return -EPROTO;
	if (!time_ok(&a->atime) || !time_ok(&a->mtime) || !time_ok(&a->ctime))
		return -EPROTO;
	return 0;
}

void check_reset(struct source_req *req)
{
	req->err = 0;
	req->has_attr = req->eof = false;
	req->data = NULL;
	req->out_length = 0;
	req->entries = NULL;
	req->entry_count = req->bad_entries = 0;
	req->bad_name[0] = 0;
	req->next_cookie = req->out_verifier = 0;
}

static void assert_entries(const struct source_req *req)
{
	const struct source_entry *e = req->entries;
	uint32_t i;

	assert(req->entry_count == 0 || e);
	for (i = 0; i < req->entry_count; i++) {
		assert(check_name(e[i].name, e[i].name_len) && !e[i].name[e[i].name_len]);
		assert(!e[i].has_attr || check_attr(&e[i].attr) == 0);
		assert(!e[i].has_fh || (e[i].fh.len > 0 && e[i].fh.len <= SOURCE_FH_MAX));
	}
}

void check_finish(struct source_req *req, int err)
{
	assert(err <= 0);
	req->err = err;
	if (!err) {
		assert(!req->has_attr || check_attr(&req->attr) == 0);
		switch (req->op) {
		case SOURCE_GETATTR:
			assert(req->has_attr);
			break;
		case SOURCE_LOOKUP:
			assert(req->has_attr && req->out_fh.len > 0 &&
			       req->out_fh.len <= SOURCE_FH_MAX);
			break;
		case SOURCE_READDIR:
			assert_entries(req);
			break;
		case SOURCE_READLINK:
			assert(req->out_length >= 1 && req->out_length <= SOURCE_LINK_MAX);
			break;
		case SOURCE_READ:
			assert(req->out_length <= req->length);
			break;
		case SOURCE_STATFS:
			break;
		}
	}
	req->done(req);
}
