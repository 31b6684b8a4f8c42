/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A row and its columns: what is packed, and what is not stored because it
 * follows from the rest.  doc/catalog.md has the table; the budget of 120
 * bytes an object is kept here.
 *
 * attr (23 bits, the lists' index is on its upper part):
 *   22..20 list it waits on, 7 = none     7..4 type
 *   19..12 priority                       3    has a checksum
 *   11..8  state                          2..0 CATALOG_F_*
 *
 * extra: a mask byte, then the fields it names in the order of their bits; NULL when the
 * mask would be 0.  Numbers are LEB128, times nanoseconds since 1970 in 8
 * bytes, big-endian, or (outside 1677..2262) seconds in 8 and nanoseconds in 4 bytes.
 *
 * What comes out of the file is not trusted: it is bounded, and what does
 * not decode is -EUCLEAN.
 */
#include "internal.h"

#include <errno.h>
#include <string.h>

#include "base/hash.h"

enum {
	X_ATIME = 1, X_FILEID = 2, X_CHANGE = 4,
	X_CHANGE_CTIME = 8,	/* it is ctime in ns, as many servers make it */
	X_USED = 16, X_FSID = 32, X_NLINK = 64,
	X_MORE = 128,		/* a second mask byte follows */
};
enum { X2_LINK_OID = 1, X2_ATIME_WIDE = 2 };

#define NS 1000000000ll

bool catalog_codec_state_known(unsigned s)
{
	return s <= CATALOG_QUARANTINED || (s >= CATALOG_FIRST_TERMINAL && s < CATALOG_STATE_COUNT);
}

static bool time_ok(const struct catalog_time *t)
{
	return t->nsec < NS;
}

int catalog_codec_check(const struct catalog_row *r)
{
	if (r->type < CATALOG_REG || r->type > CATALOG_HARDLINK || !catalog_codec_state_known(r->state) ||
	    r->flags > ATTR_FLAGS_MAX || r->handle_len > sizeof r->handle ||
	    r->name_len >= sizeof r->name || (!r->name_len && r->parent) ||
	    memchr(r->name, 0, r->name_len) || memchr(r->name, '/', r->name_len))
		return -EINVAL;
	if (!time_ok(&r->atime) || !time_ok(&r->mtime) || !time_ok(&r->ctime))
		return -EINVAL;
	if (r->type == CATALOG_HARDLINK && (!r->link_oid || r->link_oid > CATALOG_OID_MAX))
		return -EINVAL;
	if (!r->oid)
		return -EINVAL;
	if (r->oid > CATALOG_OID_MAX || r->parent > CATALOG_OID_MAX || r->size > INT64_MAX)
		return -EOVERFLOW;
	return 0;
}

unsigned catalog_codec_type(uint32_t attr)
{
	return attr >> 4 & 15;
}

unsigned catalog_codec_state(uint32_t attr)
{
	return attr >> 8 & 15;
}

unsigned catalog_codec_list(uint32_t attr)
{
	return attr >> 20 & 7;
}

unsigned catalog_codec_priority(uint32_t attr)
{
	return attr >> 12 & 255;
}

/* The list follows from type and state. */
uint32_t catalog_codec_relist(uint32_t attr)
{
	static const uint8_t list_of[] = {
		[CATALOG_FOUND] = ATTR_LIST_CONTENT,
		[CATALOG_CLEANING] = ATTR_LIST_CLEANING,
		[CATALOG_QUARANTINED] = ATTR_LIST_QUARANTINED,
	};
	unsigned type = catalog_codec_type(attr), state = catalog_codec_state(attr);
	uint32_t list = ATTR_LIST_NONE;

	if (type != CATALOG_HARDLINK && state <= CATALOG_QUARANTINED)
		list = type == CATALOG_DIR && state == CATALOG_FOUND ? ATTR_LIST_DIRS : list_of[state];
	return (attr & 0xfffff) | list << 20;
}

uint32_t catalog_codec_attr(const struct catalog_row *r)
{
	return catalog_codec_relist((uint32_t)r->priority << 12 | (uint32_t)r->state << 8 |
				    (uint32_t)r->type << 4 |
				    (r->has_checksum ? ATTR_HAS_CHECKSUM : 0) | r->flags);
}

uint32_t catalog_codec_with_state(uint32_t attr, unsigned state)
{
	return catalog_codec_relist((attr & ~0xf00u) | state << 8);
}

uint32_t catalog_codec_with_priority(uint32_t attr, unsigned priority)
{
	return (attr & ~0xff000u) | (priority & 255) << 12;
}

int64_t catalog_codec_name_key(uint64_t parent, const char *name, size_t n)
{
	return (int64_t)(parent << 24 | hash_bytes(name, n, 0) >> 40);
}

/* Nanoseconds since 1970, if they fit. */
static bool time_ns(const struct catalog_time *t, int64_t *ns)
{
	return !__builtin_mul_overflow(t->sec, NS, ns) && !__builtin_add_overflow(*ns, t->nsec, ns);
}

static struct catalog_time ns_time(int64_t ns)
{
	struct catalog_time t = { ns / NS, 0 };
	int64_t rest = ns % NS;

	if (rest < 0) {
		rest += NS;
		t.sec--;
	}
	t.nsec = (uint32_t)rest;
	return t;
}

static uint8_t *put_be(uint8_t *p, uint64_t v, int bytes)
{
	for (int i = bytes - 1; i >= 0; i--)
		*p++ = (uint8_t)(v >> 8 * i);
	return p;
}

static uint8_t *put_wide(uint8_t *p, const struct catalog_time *t)
{
	return put_be(put_be(p, (uint64_t)t->sec, 8), t->nsec, 4);
}

static uint8_t *put_varint(uint8_t *p, uint64_t v)
{
	for (; v >= 128; v >>= 7)
		*p++ = (uint8_t)(v | 128);
	*p++ = (uint8_t)v;
	return p;
}

void catalog_codec_bind_time(sqlite3_stmt *s, int at, const struct catalog_time *t)
{
	uint8_t wide[12];
	int64_t ns;

	if (!t->sec && !t->nsec)
		sqlite3_bind_null(s, at);
	else if (time_ns(t, &ns))
		sqlite3_bind_int64(s, at, ns);
	else {
		put_wide(wide, t);
		sqlite3_bind_blob(s, at, wide, sizeof wide, SQLITE_TRANSIENT);
	}
}

/* Blocks of 4 KiB: what a file without holes uses on most file systems. */
static uint64_t usual_used(uint64_t size)
{
	return (size + 4095) & ~4095ull;
}

bool catalog_codec_change_is_ctime(const struct catalog_row *r)
{
	int64_t ns;

	return r->change && time_ns(&r->ctime, &ns) && r->change == (uint64_t)ns;
}

static uint8_t *put_first(uint8_t *p, uint8_t *mask, const struct catalog *c,
			  const struct catalog_row *r, bool wide, int64_t atime)
{
	if (wide)
		p = put_wide(p, &r->atime);
	else if (*mask & X_ATIME)
		p = put_be(p, (uint64_t)atime, 8);
	if (r->fileid) {
		*mask |= X_FILEID;
		p = put_varint(p, r->fileid);
	}
	if (catalog_codec_change_is_ctime(r))
		*mask |= X_CHANGE_CTIME;
	else if (r->change) {
		*mask |= X_CHANGE;
		p = put_be(p, r->change, 8);
	}
	if (r->used != usual_used(r->size)) {
		*mask |= X_USED;
		p = put_varint(p, r->used);
	}
	if (r->fsid != c->now.fsid) {
		*mask |= X_FSID;
		p = put_varint(p, r->fsid);
	}
	if (r->nlink != 1) {
		*mask |= X_NLINK;
		p = put_varint(p, r->nlink);
	}
	return p;
}

size_t catalog_codec_extra(const struct catalog *c, const struct catalog_row *r, uint8_t buf[80])
{
	uint8_t more = r->link_oid ? X2_LINK_OID : 0, *p = buf + 1;
	bool wide = false;
	int64_t ns = 0;

	buf[0] = 0;
	if (r->atime.sec || r->atime.nsec) {
		buf[0] |= X_ATIME;
		wide = !time_ns(&r->atime, &ns);
		more |= wide ? X2_ATIME_WIDE : 0;
	}
	if (more) {
		buf[0] |= X_MORE;
		*p++ = more;
	}
	p = put_first(p, &buf[0], c, r, wide, ns);
	if (r->link_oid)
		p = put_varint(p, r->link_oid);
	return buf[0] ? (size_t)(p - buf) : 0;
}

/* A cursor that stays at the end once something did not fit. */
struct cursor {
	const uint8_t *p, *end;
	bool bad;
};

static uint64_t get_be(struct cursor *k, int bytes)
{
	uint64_t v = 0;

	if (k->end - k->p < bytes) {
		k->bad = true;
		k->p = k->end;
		return 0;
	}
	while (bytes--)
		v = v << 8 | *k->p++;
	return v;
}

static uint64_t get_varint(struct cursor *k)
{
	uint64_t v = 0;

	for (int shift = 0; shift < 64 && k->p < k->end; shift += 7) {
		v |= (uint64_t)(*k->p & 127) << shift;
		if (!(*k->p++ & 128))
			return v;
	}
	k->bad = true;
	return 0;
}

static struct catalog_time get_wide(struct cursor *k)
{
	struct catalog_time t = { (int64_t)get_be(k, 8), 0 };

	t.nsec = (uint32_t)get_be(k, 4);
	return t;
}

static int get_extra(const struct catalog *c, const uint8_t *p, size_t n, struct catalog_row *r)
{
	struct cursor k = { p, p + n, false };
	uint8_t mask = n ? (uint8_t)get_be(&k, 1) : 0;
	uint8_t more = mask & X_MORE ? (uint8_t)get_be(&k, 1) : 0;
	int64_t ns = 0;

	if (mask & X_ATIME)
		r->atime = more & X2_ATIME_WIDE ? get_wide(&k) : ns_time((int64_t)get_be(&k, 8));
	r->fileid = mask & X_FILEID ? get_varint(&k) : 0;
	if (mask & X_CHANGE)
		r->change = get_be(&k, 8);
	else if (mask & X_CHANGE_CTIME)
		r->change = time_ns(&r->ctime, &ns) ? (uint64_t)ns : 0;
	r->used = mask & X_USED ? get_varint(&k) : usual_used(r->size);
	r->fsid = mask & X_FSID ? get_varint(&k) : c->now.fsid;
	r->nlink = mask & X_NLINK ? (uint32_t)get_varint(&k) : 1;
	r->link_oid = more & X2_LINK_OID ? get_varint(&k) : 0;
	return k.bad || k.p != k.end ? -EUCLEAN : 0;
}

static int column_time(sqlite3_stmt *s, int col, struct catalog_time *t)
{
	struct cursor k;

	switch (sqlite3_column_type(s, col)) {
	case SQLITE_NULL:
		return 0;
	case SQLITE_INTEGER:
		*t = ns_time(sqlite3_column_int64(s, col));
		return 0;
	default:
		k.p = sqlite3_column_blob(s, col);
		k.end = k.p + sqlite3_column_bytes(s, col);
		k.bad = false;
		*t = get_wide(&k);
		return k.bad || t->nsec >= NS ? -EUCLEAN : 0;
	}
}

static int column_bytes(sqlite3_stmt *s, int col, void *to, size_t room, size_t *n)
{
	const void *p = sqlite3_column_blob(s, col);

	*n = (size_t)sqlite3_column_bytes(s, col);
	if (*n > room)
		return -EUCLEAN;
	if (*n)
		memcpy(to, p, *n);
	return 0;
}

static int get_variable(const struct catalog *c, sqlite3_stmt *s, struct catalog_row *r)
{
	const uint8_t *extra = sqlite3_column_blob(s, 9);
	size_t n;

	if (column_bytes(s, 2, r->name, sizeof r->name - 1, &n))
		return -EUCLEAN;
	r->name_len = (uint16_t)n;
	r->name[n] = 0;
	if (column_time(s, 5, &r->mtime) || column_time(s, 6, &r->ctime) ||
	    column_bytes(s, 7, r->handle, sizeof r->handle, &n))
		return -EUCLEAN;
	r->handle_len = (uint8_t)n;
	if (r->has_checksum &&
	    (column_bytes(s, 8, r->checksum, sizeof r->checksum, &n) || n != sizeof r->checksum))
		return -EUCLEAN;
	return get_extra(c, extra, (size_t)sqlite3_column_bytes(s, 9), r);
}

int catalog_codec_row(const struct catalog *c, sqlite3_stmt *s, struct catalog_row *r)
{
	uint32_t attr = (uint32_t)sqlite3_column_int64(s, 3);

	memset(r, 0, offsetof(struct catalog_row, name));
	r->oid = (uint64_t)sqlite3_column_int64(s, 0);
	r->parent = (uint64_t)sqlite3_column_int64(s, 1);
	r->type = (uint8_t)catalog_codec_type(attr);
	r->state = (uint8_t)catalog_codec_state(attr);
	r->flags = attr & ATTR_FLAGS_MAX;
	r->priority = (uint8_t)(attr >> 12);
	r->has_checksum = attr & ATTR_HAS_CHECKSUM;
	r->size = (uint64_t)sqlite3_column_int64(s, 4);
	if (!catalog_codec_state_known(r->state) || r->type < CATALOG_REG || r->type > CATALOG_HARDLINK)
		return -EUCLEAN;
	return get_variable(c, s, r);
}
