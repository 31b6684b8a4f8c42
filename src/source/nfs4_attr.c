/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "nfs4_attr.h"

#include <errno.h>
#include <stdbool.h>
#include <string.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw-nfs4.h>

#include "base/hash.h"
#include "check.h"

#define LOW(n) (1u << (n))		/* attributes 0..31 */
#define HIGH(n) (1u << ((n) - 32))	/* attributes 32..63 */
#define BIT(n) (1ull << (n))
#define OWNER_MAX 1024			/* NFS4_OPAQUE_LIMIT */

#define OBJECT_LOW (LOW(FATTR4_TYPE) | LOW(FATTR4_CHANGE) | LOW(FATTR4_SIZE) | \
		    LOW(FATTR4_FSID) | LOW(FATTR4_FILEID))
#define OBJECT_HIGH (HIGH(FATTR4_MODE) | HIGH(FATTR4_NUMLINKS) | HIGH(FATTR4_OWNER) | \
		     HIGH(FATTR4_OWNER_GROUP) | HIGH(FATTR4_RAWDEV) | HIGH(FATTR4_SPACE_USED) | \
		     HIGH(FATTR4_TIME_ACCESS) | HIGH(FATTR4_TIME_METADATA) | \
		     HIGH(FATTR4_TIME_MODIFY))

const uint32_t nfs4_attr_object[2] = { OBJECT_LOW, OBJECT_HIGH };
const uint32_t nfs4_attr_entry[2] = {
	OBJECT_LOW | LOW(FATTR4_RDATTR_ERROR) | LOW(FATTR4_FILEHANDLE), OBJECT_HIGH,
};
const uint32_t nfs4_attr_fs[2] = {
	LOW(FATTR4_FILES_FREE) | LOW(FATTR4_FILES_TOTAL),
	HIGH(FATTR4_SPACE_FREE) | HIGH(FATTR4_SPACE_TOTAL),
};
const uint32_t nfs4_attr_server[2] = { LOW(FATTR4_MAXREAD), HIGH(FATTR4_TIME_DELTA) };

/* Bytes not yet read; any read past the end sets bad and yields zeros. */
struct cursor {
	const unsigned char *p;
	size_t left;
	bool bad;
};

static const unsigned char *take(struct cursor *c, size_t n)
{
	const unsigned char *p = c->p;

	if (c->bad || n > c->left) {
		c->bad = true;
		return NULL;
	}
	c->p += n;
	c->left -= n;
	return p;
}

static uint32_t u32(struct cursor *c)
{
	const unsigned char *p = take(c, 4);

	return p ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : 0;
}

static uint64_t u64(struct cursor *c)
{
	uint64_t high = u32(c);

	return high << 32 | u32(c);
}

/* XDR opaque<max>: length, bytes, padding to four.  NULL if it is not there. */
static const void *opaque(struct cursor *c, uint32_t max, uint32_t *len)
{
	const unsigned char *p;

	*len = u32(c);
	if (*len > max)
		c->bad = true;
	p = take(c, *len);
	take(c, -*len & 3);
	return c->bad ? NULL : p;
}

static struct source_time moment(struct cursor *c)
{
	struct source_time t;

	t.sec = (int64_t)u64(c);
	t.nsec = u32(c);
	if (t.nsec > 999999999)
		t.nsec = 999999999;
	return t;
}

static uint32_t owner(struct cursor *c, struct nfs_ids *ids, bool group)
{
	uint32_t len;
	const char *s = opaque(c, OWNER_MAX, &len);

	return s ? nfs_ids_map(ids, group, s, len) : NFS_IDS_NOBODY;
}

static enum source_type type_of(uint32_t type)
{
	static const enum source_type types[] = {
		[NF4REG] = SOURCE_REG, [NF4DIR] = SOURCE_DIR, [NF4BLK] = SOURCE_BLK,
		[NF4CHR] = SOURCE_CHR, [NF4LNK] = SOURCE_LNK, [NF4SOCK] = SOURCE_SOCK,
		[NF4FIFO] = SOURCE_FIFO,
	};

	return type < sizeof types / sizeof *types ? types[type] : 0;
}

/* RFC 7530 5.8.1.9: two 64-bit numbers; most servers leave one of them 0. */
static uint64_t fsid(struct cursor *c)
{
	uint64_t major = u64(c), minor = u64(c);

	return minor ? major ^ hash_u64(minor) : major;
}

static void filehandle(struct cursor *c, struct source_fh *fh)
{
	uint32_t len;
	const void *p = opaque(c, NFS4_FHSIZE, &len);

	if (!p || len == 0) {
		c->bad = true;
		return;
	}
	fh->len = (uint16_t)len;
	memcpy(fh->data, p, len);
}

static void value(unsigned n, struct cursor *c, struct nfs_ids *ids, struct nfs4_attrs *out)
{
	struct source_attr *a = &out->attr;

	switch (n) {
	case FATTR4_TYPE:
		a->type = type_of(u32(c));
		break;
	case FATTR4_CHANGE:
		a->change = u64(c);
		break;
	case FATTR4_SIZE:
		a->size = u64(c);
		break;
	case FATTR4_FSID:
		a->fsid = fsid(c);
		break;
	case FATTR4_RDATTR_ERROR:
		out->read_error = u32(c);
		break;
	case FATTR4_FILEHANDLE:
		filehandle(c, &out->fh);
		break;
	case FATTR4_FILEID:
		a->fileid = u64(c);
		break;
	case FATTR4_FILES_FREE:
		out->files_free = u64(c);
		break;
	case FATTR4_FILES_TOTAL:
		out->files_total = u64(c);
		break;
	case FATTR4_MAXREAD:
		out->max_read = u64(c);
		break;
	case FATTR4_MODE:
		a->mode = u32(c) & 07777;
		break;
	case FATTR4_NUMLINKS:
		a->nlink = u32(c);
		break;
	case FATTR4_OWNER:
		a->uid = owner(c, ids, false);
		break;
	case FATTR4_OWNER_GROUP:
		a->gid = owner(c, ids, true);
		break;
	case FATTR4_RAWDEV:
		a->rdev_major = u32(c);
		a->rdev_minor = u32(c);
		break;
	case FATTR4_SPACE_FREE:
		out->space_free = u64(c);
		break;
	case FATTR4_SPACE_TOTAL:
		out->space_total = u64(c);
		break;
	case FATTR4_SPACE_USED:
		a->used = u64(c);
		break;
	case FATTR4_TIME_ACCESS:
		a->atime = moment(c);
		break;
	case FATTR4_TIME_DELTA:
		out->time_delta = moment(c);
		break;
	case FATTR4_TIME_METADATA:
		a->ctime = moment(c);
		break;
	case FATTR4_TIME_MODIFY:
		a->mtime = moment(c);
		break;
	default:
		c->bad = true;	/* never asked for: its length is unknown */
	}
}

int nfs4_attr_parse(const uint32_t *mask, uint32_t words, const void *block, size_t len,
		    struct nfs_ids *ids, struct nfs4_attrs *out)
{
	struct cursor c = { .p = block, .left = len };
	unsigned n;

	memset(out, 0, sizeof *out);
	for (n = 0; n < words; n++) {
		if (n < 2)
			out->present |= (uint64_t)mask[n] << (32 * n);
		else if (mask[n])
			return -EPROTO;
	}
	for (n = 0; n < 64 && !c.bad; n++)
		if (out->present & BIT(n))
			value(n, &c, ids, out);
	return c.bad || c.left ? -EPROTO : 0;
}

int nfs4_attr_complete(struct nfs4_attrs *a)
{
	const uint64_t needed = BIT(FATTR4_TYPE) | BIT(FATTR4_SIZE) | BIT(FATTR4_FSID) |
				BIT(FATTR4_FILEID) | BIT(FATTR4_MODE) | BIT(FATTR4_TIME_MODIFY);
	struct source_attr *s = &a->attr;

	if ((a->present & needed) != needed)
		return -EPROTO;
	if (!(a->present & BIT(FATTR4_NUMLINKS)))
		s->nlink = 1;
	if (!(a->present & BIT(FATTR4_OWNER)))
		s->uid = NFS_IDS_NOBODY;
	if (!(a->present & BIT(FATTR4_OWNER_GROUP)))
		s->gid = NFS_IDS_NOBODY;
	if (!(a->present & BIT(FATTR4_SPACE_USED)))
		s->used = s->size;
	if (!(a->present & BIT(FATTR4_TIME_ACCESS)))
		s->atime = s->mtime;
	if (!(a->present & BIT(FATTR4_TIME_METADATA)))
		s->ctime = s->mtime;
	if (s->type != SOURCE_BLK && s->type != SOURCE_CHR)
		s->rdev_major = s->rdev_minor = 0;
	return check_attr(s);
}

int nfs4_attr_error(uint32_t status)
{
	switch (status) {
	case NFS4ERR_NAMETOOLONG:
		return -ENAMETOOLONG;
	case NFS4ERR_NOTEMPTY:
		return -ENOTEMPTY;
	case NFS4ERR_DQUOT:
		return -EDQUOT;
	case NFS4ERR_STALE:
	case NFS4ERR_BADHANDLE:
	case NFS4ERR_FHEXPIRED:
	case NFS4ERR_BAD_COOKIE:	/* the listing must start again */
	case NFS4ERR_NOT_SAME:
		return -ESTALE;
	case NFS4ERR_DELAY:
	case NFS4ERR_RESOURCE:
	case NFS4ERR_GRACE:
	case NFS4ERR_LOCKED:
	case NFS4ERR_SHARE_DENIED:
		return -EAGAIN;
	case NFS4ERR_NOTSUPP:
	case NFS4ERR_OP_ILLEGAL:
		return -EOPNOTSUPP;
	case NFS4ERR_WRONGSEC:
		return -EACCES;
	case NFS4ERR_MOVED:
		return -EREMOTE;
	case NFS4ERR_SYMLINK:
		return -ENOTDIR;
	case NFS4ERR_BADCHAR:
	case NFS4ERR_BADNAME:
		return -EINVAL;
	case NFS4ERR_MINOR_VERS_MISMATCH:
		return -EPROTONOSUPPORT;
	case NFS4ERR_PERM: case NFS4ERR_NOENT: case NFS4ERR_IO: case NFS4ERR_NXIO:
	case NFS4ERR_ACCESS: case NFS4ERR_EXIST: case NFS4ERR_XDEV: case NFS4ERR_NOTDIR:
	case NFS4ERR_ISDIR: case NFS4ERR_INVAL: case NFS4ERR_FBIG: case NFS4ERR_NOSPC:
	case NFS4ERR_ROFS: case NFS4ERR_MLINK:
		return -(int)status;	/* these are Linux's numbers */
	case NFS4ERR_TOOSMALL: case NFS4ERR_BADTYPE: case NFS4ERR_BADZDR:
	case NFS4ERR_NOFILEHANDLE: case NFS4ERR_ATTRNOTSUPP:
		return -EPROTO;
	default:
		return -EIO;
	}
}
