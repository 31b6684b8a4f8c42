/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Invariant: 0 <= pos <= size at all times, and every access lies between.
 * What a list or an array needs in memory is bounded by the reply's length,
 * because each element takes at least one XDR unit of it.
 *
 * A string with a NUL inside cannot be a name or a link target; it is decoded
 * as "", which every caller refuses.
 */
#include "nfs_zdr.h"

#include <arpa/inet.h>
#include <stddef.h>
#include <stdlib.h>
#include <string.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw-nfs.h>

/* Allocations of one decoding, freed together. */
struct zdr_mem {
	struct zdr_mem *next;
	max_align_t room[];
};

static bool has(const ZDR *z, uint64_t n)
{
	return z->pos >= 0 && z->pos <= z->size && n <= (uint64_t)(z->size - z->pos);
}

static uint64_t padded(uint32_t n)
{
	return ((uint64_t)n + 3) & ~3ull;
}

/* Advance over n bytes and their padding; the last padding of a message may be missing. */
static void skip(ZDR *z, uint32_t n)
{
	z->pos += has(z, padded(n)) ? (int)padded(n) : (int)n;
}

static void *keep(ZDR *z, size_t n)
{
	struct zdr_mem *m = calloc(1, sizeof *m + n);

	if (!m)
		return NULL;
	m->next = z->mem;
	z->mem = m;
	return m->room;
}

void libnfs_zdr_destroy(ZDR *z)
{
	while (z->mem) {
		struct zdr_mem *next = z->mem->next;

		free(z->mem);
		z->mem = next;
	}
}

bool_t libnfs_zdr_u_int(ZDR *z, uint32_t *u)
{
	uint32_t wire;

	if (!has(z, 4))
		return FALSE;
	if (z->x_op == ZDR_ENCODE) {
		wire = htonl(*u);
		memcpy(z->buf + z->pos, &wire, 4);
	} else {
		memcpy(&wire, z->buf + z->pos, 4);
		*u = ntohl(wire);
	}
	z->pos += 4;
	return TRUE;
}

bool_t libnfs_zdr_int(ZDR *z, int32_t *i)
{
	return libnfs_zdr_u_int(z, (uint32_t *)i);
}

bool_t libnfs_zdr_enum(ZDR *z, enum_t *e)
{
	return libnfs_zdr_u_int(z, e);
}

bool_t libnfs_zdr_bool(ZDR *z, bool_t *b)
{
	return libnfs_zdr_u_int(z, b);
}

bool_t libnfs_zdr_uint64_t(ZDR *z, uint64_t *u)
{
	uint32_t high = (uint32_t)(*u >> 32), low = (uint32_t)*u;

	if (!has(z, 8) || !libnfs_zdr_u_int(z, &high) || !libnfs_zdr_u_int(z, &low))
		return FALSE;
	*u = (uint64_t)high << 32 | low;
	return TRUE;
}

bool_t libnfs_zdr_int64_t(ZDR *z, int64_t *i)
{
	return libnfs_zdr_uint64_t(z, (uint64_t *)i);
}

bool_t libnfs_zdr_opaque(ZDR *z, char *p, uint32_t size)
{
	if (!has(z, z->x_op == ZDR_ENCODE ? padded(size) : size))
		return FALSE;
	if (z->x_op == ZDR_ENCODE) {
		memset(z->buf + z->pos, 0, padded(size));
		if (size)
			memcpy(z->buf + z->pos, p, size);
	} else if (size) {
		memcpy(p, z->buf + z->pos, size);
	}
	skip(z, size);
	return TRUE;
}

/* maxsize 0: libnfs passes it for RPC verifiers, meaning "any". */
bool_t libnfs_zdr_bytes(ZDR *z, char **p, uint32_t *size, uint32_t maxsize)
{
	if (!libnfs_zdr_u_int(z, size))
		return FALSE;
	if (z->x_op == ZDR_ENCODE)
		return libnfs_zdr_opaque(z, *p, *size);
	if ((maxsize && *size > maxsize) || !has(z, *size) || *p)
		return FALSE;
	*p = z->buf + z->pos;
	skip(z, *size);
	return TRUE;
}

bool_t libnfs_zdr_string(ZDR *z, char **s, uint32_t maxsize)
{
	uint32_t size = z->x_op == ZDR_ENCODE ? (uint32_t)strlen(*s) : 0;
	char *at;

	if (!libnfs_zdr_u_int(z, &size))
		return FALSE;
	if (z->x_op == ZDR_ENCODE)
		return libnfs_zdr_opaque(z, *s, size);
	if ((maxsize && size > maxsize) || !has(z, size) || *s)
		return FALSE;
	at = z->buf + z->pos;
	if (has(z, (uint64_t)size + 1) && !at[size]) {
		*s = at;		/* terminated by padding, or a zero byte that follows */
	} else {
		*s = keep(z, (size_t)size + 1);
		if (!*s)
			return FALSE;
		memcpy(*s, at, size);
	}
	if (memchr(*s, 0, size))
		**s = 0;
	skip(z, size);
	return TRUE;
}

bool_t libnfs_zdr_array(ZDR *z, char **p, uint32_t *count, uint32_t maxsize, uint32_t elsize,
			zdrproc_t proc)
{
	uint32_t i;

	if (!libnfs_zdr_u_int(z, count))
		return FALSE;
	if (z->x_op == ZDR_DECODE) {
		if ((maxsize && *count > maxsize) || !has(z, 4ull * *count))
			return FALSE;
		*p = keep(z, (size_t)*count * elsize + 1);
		if (!*p)
			return FALSE;
	}
	for (i = 0; i < *count; i++)
		if (!proc(z, *p + (size_t)i * elsize))
			return FALSE;
	return TRUE;
}

bool_t libnfs_zdr_pointer(ZDR *z, char **p, uint32_t size, zdrproc_t proc)
{
	bool_t more = *p != NULL;

	if (!libnfs_zdr_bool(z, &more))
		return FALSE;
	if (!more) {
		*p = NULL;
		return TRUE;
	}
	if (z->x_op == ZDR_DECODE)
		*p = keep(z, size);
	return *p ? proc(z, *p) : FALSE;
}

bool nfs_zdr_active(void)
{
	/* a handle of 4 bytes that says it has 2^31: libnfs's own decoder accepts it */
	char reply[8] = { (char)0x80, 0, 0, 0, 1, 2, 3, 4 };
	nfs_fh3 fh = { .data = { 0, NULL } };
	ZDR z;
	bool refused;

	libnfs_zdrmem_create(&z, reply, sizeof reply, ZDR_DECODE);
	refused = !zdr_nfs_fh3(&z, &fh);
	libnfs_zdr_destroy(&z);
	return refused;
}
