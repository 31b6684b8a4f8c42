/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * One row: what it is compared with, and what a difference means (D8).
 *
 *   the inode's times   as recorded          touched, or not recorded
 *   size differs        DAMAGED              CHANGED
 *   content differs     DAMAGED              SUSPECT when size and mtime are as migrated, else CHANGED
 *
 * The inode is looked at after its content was read: whoever writes moves the ctime first.
 *
 * Against the source the bytes there decide.  Where they differ from ours and ours are still what was recorded (or nothing was
 * recorded, and the source says itself that it has another version), it is the source that has changed.
 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "verify.h"

static void verdict(struct verify_item *item, enum audit_verdict v, const char *fmt, ...)
	__attribute__((format(printf, 3, 4)));

static void verdict(struct verify_item *item, enum audit_verdict v, const char *fmt, ...)
{
	va_list ap;

	item->verdict = v;
	item->counted = true;
	va_start(ap, fmt);
	vsnprintf(item->text, sizeof item->text, fmt, ap);
	va_end(ap);
}

static void handle_of(const struct catalog_row *row, struct target_handle *h)
{
	memset(h, 0, sizeof *h);
	if (row->handle_len < 2 || row->handle[0] > TARGET_HANDLE_MAX || row->handle[0] + 2 != row->handle_len)
		return;
	h->len = row->handle[0];
	h->type = row->handle[1];
	memcpy(h->data, row->handle + 2, h->len);
}

static bool same_time(const struct timespec *t, const struct catalog_time *c)
{
	return t->tv_sec == c->sec && (uint32_t)t->tv_nsec == c->nsec;
}

/*
 * Nothing has touched the inode since DMM left it.  The ctime alone does not tell on kernels whose file times tick in
 * milliseconds: a write in the tick of the recording leaves it as it was.  Then the mtime is not the source's any more.
 */
static bool untouched(const struct catalog_row *row, const struct stat *st)
{
	return (row->ctime.sec || row->ctime.nsec) && same_time(&st->st_ctim, &row->ctime) &&
	       same_time(&st->st_mtim, &row->mtime);
}

/* Errors that say nothing about the file. */
static bool is_ours(int r)
{
	return r == -ENOMEM || r == -EMFILE || r == -ENFILE || r == -EINTR || r == -ECANCELED;
}

static void differs(struct verify_item *item, const struct stat *st)
{
	const struct catalog_row *row = &item->row;

	if (untouched(row, st))
		verdict(item, AUDIT_DAMAGED,
			"damaged: its bytes differ from those that were migrated, and nothing has touched it since");
	else if ((uint64_t)st->st_size == row->size && same_time(&st->st_mtim, &row->mtime))
		verdict(item, AUDIT_SUSPECT,
			"its bytes differ; size and modification time are as migrated, but the inode has been touched since");
	else
		verdict(item, AUDIT_CHANGED, "changed since it was migrated");
}

static void size_differs(struct verify_item *item, const struct stat *st)
{
	unsigned long long was = item->row.size, is = (unsigned long long)st->st_size;

	if (untouched(&item->row, st))
		verdict(item, AUDIT_DAMAGED,
			"damaged: it has %llu bytes instead of %llu, and nothing has touched it since it was migrated",
			is, was);
	else
		verdict(item, AUDIT_CHANGED, "changed since it was migrated: %llu bytes instead of %llu", is, was);
}

/* 0: sum and st are valid; 1: the verdict is there; -errno: see verify_file().  sum NULL: only a look at the inode. */
static int read_target(struct verify_job *j, struct verify_item *item, struct verify_buffer *b, uint8_t *sum,
		       struct stat *st)
{
	uint64_t size = item->row.size, at = 0;
	struct target_handle h;
	int r;

	handle_of(&item->row, &h);
	if (sum)
		r = verify_disk_sum(j, &h, size, j->source ? NULL : item, b, sum, st, &at);
	else
		r = verify_disk_look(j, &h, size, st);
	if (!r || is_ours(r))
		return r;
	if (r == -ESTALE || r == -ENOENT)
		verdict(item, AUDIT_GONE, "deleted since it was migrated");
	else if (r == -EOVERFLOW)
		size_differs(item, st);
	else if (r == -EMEDIUMTYPE)
		verdict(item, AUDIT_DAMAGED, "damaged: the inode is not a regular file any more");
	else
		verdict(item, AUDIT_UNREADABLE, "it cannot be read from the disk at byte %llu: %s", (unsigned long long)at,
			strerrordesc_np(-r));
	return 1;
}

/* What the content must be; an empty file needs no record. */
static bool expected(const struct catalog_row *row, uint8_t sum[CHECKSUM_SIZE])
{
	if (row->has_checksum)
		memcpy(sum, row->checksum, CHECKSUM_SIZE);
	else if (!row->size)
		checksum_of("", 0, checksum_seed(0, 0), sum);
	return row->has_checksum || !row->size;
}

static int against_record(struct verify_job *j, struct verify_item *item, struct verify_buffer *b)
{
	uint8_t want[CHECKSUM_SIZE], is[CHECKSUM_SIZE];
	bool known = expected(&item->row, want);
	struct stat st;
	int r = read_target(j, item, b, known ? is : NULL, &st);

	if (r)
		return r < 0 ? r : 0;
	if (!known)
		verdict(item, AUDIT_NO_CHECKSUM, "migrated without a checksum");
	else if (memcmp(is, want, sizeof is))
		differs(item, &st);
	else
		verdict(item, AUDIT_SAME, "as migrated");
	return 0;
}

/* ---- the source again ---- */

static bool as_promised(const struct catalog_row *row, const struct source_attr *a)
{
	return a->type == SOURCE_REG && a->size == row->size && a->mtime.sec == row->mtime.sec &&
	       a->mtime.nsec == row->mtime.nsec;
}

static void source_differs(struct verify_item *item, const struct source_attr *a)
{
	if (as_promised(&item->row, a))
		verdict(item, AUDIT_SOURCE_CHANGED,
			"the source has other bytes now, though its size and modification time are as migrated");
	else
		verdict(item, AUDIT_SOURCE_CHANGED, "the source has another version now");
}

static int source_trouble(struct verify_item *item, int r)
{
	if (is_ours(r))
		return r;
	if (r == -ENOENT)
		verdict(item, AUDIT_SOURCE_CHANGED, "the source has no such name any more");
	else
		verdict(item, AUDIT_UNREADABLE, "it cannot be read from the source again: %s", strerrordesc_np(-r));
	return 0;
}

static int against_source(struct verify_job *j, struct verify_item *item, struct verify_buffer *b)
{
	uint8_t is[CHECKSUM_SIZE], there[CHECKSUM_SIZE], want[CHECKSUM_SIZE];
	struct catalog_row *row = &item->row;
	bool known = expected(row, want);
	struct source_attr a;
	struct source_fh fh;
	struct stat st;
	int r = verify_source_find(j->source, row, &fh, &a);

	if (r)
		return source_trouble(item, r);
	r = read_target(j, item, b, is, &st);
	if (r)
		return r < 0 ? r : 0;
	if (a.type == SOURCE_REG && a.size == row->size) {
		r = verify_source_sum(j->source, row, &fh, &a, there);
		if (r && r != -ESTALE)
			return source_trouble(item, r);
		if (!r && !memcmp(is, there, sizeof is)) {
			verdict(item, AUDIT_SAME, "as on the source");
			return 0;
		}
		if (r)		/* while we were reading */
			a.mtime.nsec = ~0u;
	}
	if (known ? !memcmp(is, want, sizeof is) : !as_promised(row, &a))
		source_differs(item, &a);
	else
		differs(item, &st);
	return 0;
}

/* Does the source still have this name, with something of this type? */
static int check_name(struct verify_job *j, struct verify_item *item)
{
	static const enum source_type types[] = {
		[CATALOG_DIR] = SOURCE_DIR, [CATALOG_LNK] = SOURCE_LNK, [CATALOG_BLK] = SOURCE_BLK,
		[CATALOG_CHR] = SOURCE_CHR, [CATALOG_FIFO] = SOURCE_FIFO, [CATALOG_SOCK] = SOURCE_SOCK,
	};
	struct catalog_row *row = &item->row;
	struct source_attr a;
	struct source_fh fh;
	int r;

	if (!row->parent)
		return 0;
	r = verify_source_find(j->source, row, &fh, &a);
	if (r)
		return source_trouble(item, r);
	if (row->type < sizeof types / sizeof *types && types[row->type] && a.type != types[row->type])
		verdict(item, AUDIT_SOURCE_CHANGED, "the source has an object of another type under this name now");
	return 0;
}

int verify_file(struct verify_job *j, struct verify_item *item, struct verify_buffer *b)
{
	const struct catalog_row *row = &item->row;
	bool file = row->type == CATALOG_REG;

	switch (row->state) {
	case CATALOG_FOUND:
	case CATALOG_CLEANING:
	case CATALOG_QUARANTINED:
		if (file)
			verdict(item, AUDIT_WAITING, "not migrated yet");
		return 0;
	case CATALOG_OVERWRITTEN:
		if (file)
			verdict(item, AUDIT_NO_CHECKSUM, "overwritten by an application before it arrived");
		return 0;
	case CATALOG_MIGRATED:
		if (!file)
			return j->source ? check_name(j, item) : 0;
		return j->source ? against_source(j, item, b) : against_record(j, item, b);
	default:	/* deleted, shadowed, excluded, given up: the target has nothing of ours */
		return 0;
	}
}
