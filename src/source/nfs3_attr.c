/* SPDX-License-Identifier: GPL-3.0-or-later */
#include "nfs3_attr.h"

#include <errno.h>
#include <string.h>

#include "check.h"

#define WINDOW_SPLIT 0xc0000000u

struct source_time nfs3_attr_time(uint32_t seconds, uint32_t nseconds)
{
	struct source_time t = { .sec = seconds, .nsec = nseconds };

	if (seconds >= WINDOW_SPLIT)
		t.sec -= 1ll << 32;
	/* some servers keep an exclusive create's verifier here: any 32 bits */
	if (t.nsec > 999999999)
		t.nsec = 999999999;
	return t;
}

static enum source_type type_of(enum ftype3 type)
{
	static const enum source_type types[] = {
		[NF3REG] = SOURCE_REG, [NF3DIR] = SOURCE_DIR, [NF3BLK] = SOURCE_BLK,
		[NF3CHR] = SOURCE_CHR, [NF3LNK] = SOURCE_LNK, [NF3SOCK] = SOURCE_SOCK,
		[NF3FIFO] = SOURCE_FIFO,
	};

	return (uint32_t)type < sizeof types / sizeof *types ? types[type] : 0;
}

int nfs3_attr(const struct fattr3 *f, struct source_attr *a)
{
	*a = (struct source_attr){
		.type = type_of(f->type),
		.mode = f->mode & 07777,
		.uid = f->uid,
		.gid = f->gid,
		.nlink = f->nlink,
		.size = f->size,
		.used = f->used,
		.fsid = f->fsid,
		.fileid = f->fileid,
		.atime = nfs3_attr_time(f->atime.seconds, f->atime.nseconds),
		.mtime = nfs3_attr_time(f->mtime.seconds, f->mtime.nseconds),
		.ctime = nfs3_attr_time(f->ctime.seconds, f->ctime.nseconds),
	};
	if (a->type == SOURCE_BLK || a->type == SOURCE_CHR) {
		a->rdev_major = f->rdev.specdata1;
		a->rdev_minor = f->rdev.specdata2;
	}
	return check_attr(a);
}

int nfs3_attr_fh(const struct nfs_fh3 *from, struct source_fh *to)
{
	if (from->data.data_len < 1 || from->data.data_len > NFS3_FHSIZE)
		return -EPROTO;
	to->len = (uint16_t)from->data.data_len;
	memcpy(to->data, from->data.data_val, to->len);
	return 0;
}

int nfs3_attr_error(uint32_t status)
{
	switch (status) {
	case NFS3ERR_NAMETOOLONG:
		return -ENAMETOOLONG;
	case NFS3ERR_NOTEMPTY:
		return -ENOTEMPTY;
	case NFS3ERR_DQUOT:
		return -EDQUOT;
	case NFS3ERR_STALE:
	case NFS3ERR_BADHANDLE:
	case NFS3ERR_BAD_COOKIE:	/* the listing must start again */
		return -ESTALE;
	case NFS3ERR_REMOTE:
		return -EREMOTE;
	case NFS3ERR_NOTSUPP:
		return -EOPNOTSUPP;
	case NFS3ERR_TOOSMALL:
		return -EPROTO;
	case NFS3ERR_BADTYPE:
		return -EPROTO;
	case NFS3ERR_JUKEBOX:
		return -EAGAIN;
	case NFS3ERR_PERM: case NFS3ERR_NOENT: case NFS3ERR_IO: case NFS3ERR_NXIO:
	case NFS3ERR_ACCES: case NFS3ERR_EXIST: case NFS3ERR_XDEV: case NFS3ERR_NODEV:
	case NFS3ERR_NOTDIR: case NFS3ERR_ISDIR: case NFS3ERR_INVAL: case NFS3ERR_FBIG:
	case NFS3ERR_NOSPC: case NFS3ERR_ROFS: case NFS3ERR_MLINK:
		return -(int)status;	/* these are Linux's numbers */
	default:
		return -EIO;
	}
}
