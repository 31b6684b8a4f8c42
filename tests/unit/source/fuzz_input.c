/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * Everything of this module that takes bytes from outside apart, as one
 * libFuzzer-style target.  The first byte chooses the decoder.
 *
 * As an ordinary test (this file's main): valid inputs are built with libnfs's
 * encoders, then mutated at random, from a fixed seed.  For libFuzzer build
 * with clang -fsanitize=fuzzer -DDMM_LIBFUZZER.
 */
#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <nfsc/libnfs.h>
#include <nfsc/libnfs-raw-mount.h>
#include <nfsc/libnfs-raw-nfs.h>
#include <nfsc/libnfs-raw-nfs4.h>

#include "check.h"
#include "fault_rules.h"
#include "nfs3_attr.h"
#include "nfs4_attr.h"
#include "url.h"

enum { ATTR4, LIST3, COMPOUND4, READ3, LINK3, LOOKUP3, MOUNT3, RULES, URL, KINDS };

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void attr4(const uint8_t *p, size_t n)
{
	static struct nfs_ids *ids;
	struct nfs4_attrs a;
	uint32_t mask[2];

	if (n < sizeof mask)
		return;
	if (!ids)
		ids = nfs_ids_new();
	memcpy(mask, p, sizeof mask);
	if (nfs4_attr_parse(mask, 2, p + sizeof mask, n - sizeof mask, ids, &a))
		return;
	if (a.fh.len > SOURCE_FH_MAX)
		abort();
	if (!nfs4_attr_complete(&a) && check_attr(&a.attr))
		abort();
}

/* Reads what a decoder points to, so that a wrong pointer shows. */
static volatile unsigned sink;

static void touch(const void *p, size_t n)
{
	const unsigned char *b = p;

	while (n--)
		sink += *b++;
}

static void walk_list3(const READDIRPLUS3res *r)
{
	const entryplus3 *e;
	struct source_attr a;
	struct source_fh fh;

	if (r->status != NFS3_OK)
		return;
	for (e = r->READDIRPLUS3res_u.resok.reply.entries; e; e = e->nextentry) {
		touch(e->name, strlen(e->name));
		if (e->name_attributes.attributes_follow)
			nfs3_attr(&e->name_attributes.post_op_attr_u.attributes, &a);
		if (e->name_handle.handle_follows)
			nfs3_attr_fh(&e->name_handle.post_op_fh3_u.handle, &fh);
	}
}

static void walk_op4(const nfs_resop4 *op)
{
	const entry4 *e;

	if (op->nfs_resop4_u.opgetattr.status != NFS4_OK)
		return;
	if (op->resop == OP_READ)
		touch(op->nfs_resop4_u.opread.READ4res_u.resok4.data.data_val,
		      op->nfs_resop4_u.opread.READ4res_u.resok4.data.data_len);
	if (op->resop != OP_READDIR)
		return;
	for (e = op->nfs_resop4_u.opreaddir.READDIR4res_u.resok4.reply.entries; e; e = e->nextentry) {
		touch(e->name.utf8string_val, e->name.utf8string_len);
		touch(e->attrs.attr_vals.attrlist4_val, e->attrs.attr_vals.attrlist4_len);
		touch(e->attrs.attrmask.bitmap4_val, 4 * (size_t)e->attrs.attrmask.bitmap4_len);
	}
}

static void replies(unsigned kind, uint8_t *p, size_t n)
{
	union {
		READDIRPLUS3res list;
		COMPOUND4res compound;
		READ3res read;
		READLINK3res link;
		LOOKUP3res lookup;
		mountres3 mount;
	} u;
	ZDR z;
	uint32_t i;

	memset(&u, 0, sizeof u);
	libnfs_zdrmem_create(&z, (char *)p, (uint32_t)n, ZDR_DECODE);
	if (kind == LIST3 && zdr_READDIRPLUS3res(&z, &u.list))
		walk_list3(&u.list);
	if (kind == COMPOUND4 && zdr_COMPOUND4res(&z, &u.compound))
		for (i = 0; i < u.compound.resarray.resarray_len; i++)
			walk_op4(&u.compound.resarray.resarray_val[i]);
	if (kind == READ3 && zdr_READ3res(&z, &u.read) && u.read.status == NFS3_OK)
		touch(u.read.READ3res_u.resok.data.data_val, u.read.READ3res_u.resok.data.data_len);
	if (kind == LINK3 && zdr_READLINK3res(&z, &u.link) && u.link.status == NFS3_OK)
		touch(u.link.READLINK3res_u.resok.data, strlen(u.link.READLINK3res_u.resok.data));
	if (kind == LOOKUP3)
		zdr_LOOKUP3res(&z, &u.lookup);
	if (kind == MOUNT3)
		zdr_mountres3(&z, &u.mount);
	libnfs_zdr_destroy(&z);
}

static void texts(unsigned kind, const uint8_t *p, size_t n)
{
	char text[512], out[2048];
	struct source_req req = { .op = SOURCE_READ, .name = "name" };
	struct fault_rules *r;
	struct err e;
	struct url u;

	if (n >= sizeof text)
		n = sizeof text - 1;
	memcpy(text, p, n);
	text[n] = 0;
	if (kind == URL) {
		if (!url_parse(text, &u, &e) && !url_format(&u, out, sizeof out, &e) &&
		    url_parse(out, &u, &e))
			abort();	/* what was formatted must parse */
		return;
	}
	r = fault_rules_parse(text, &e);
	if (r)
		fault_rules_apply(r, &req);
	fault_rules_free(r);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
	uint8_t *copy;
	unsigned kind;

	if (size < 1)
		return 0;
	kind = data[0] % KINDS;
	/* its own allocation, so that a step past the end is seen; decoders write to it */
	copy = malloc(size - 1 + (size == 1));
	memcpy(copy, data + 1, size - 1);
	if (kind == ATTR4)
		attr4(copy, size - 1);
	else if (kind >= RULES)
		texts(kind, copy, size - 1);
	else
		replies(kind, copy, size - 1);
	free(copy);
	return 0;
}

#ifndef DMM_LIBFUZZER

#define ROUNDS 150000
#define SEED_MAX 2048

struct seed {
	uint8_t bytes[SEED_MAX];
	size_t size;
};

static struct seed encode(unsigned kind, zdrproc_t proc, void *value)
{
	struct seed s = { .bytes = { (uint8_t)kind } };
	ZDR z;

	libnfs_zdrmem_create(&z, (char *)s.bytes + 1, SEED_MAX - 1, ZDR_ENCODE);
	if (!proc(&z, value))
		abort();
	s.size = 1 + libnfs_zdr_getpos(&z);
	return s;
}

static struct seed text(unsigned kind, const char *t)
{
	struct seed s = { .bytes = { (uint8_t)kind }, .size = 1 + strlen(t) };

	memcpy(s.bytes + 1, t, strlen(t));
	return s;
}

static struct seed list3(void)
{
	char fh[32] = "a handle";
	entryplus3 e[3];
	READDIRPLUS3res r = { .status = NFS3_OK };

	memset(e, 0, sizeof e);
	for (int i = 0; i < 3; i++) {
		e[i].name = (char *)(uintptr_t)(i ? "four" : "name");
		e[i].cookie = (unsigned)i + 1;
		e[i].name_attributes.attributes_follow = i != 1;
		e[i].name_attributes.post_op_attr_u.attributes.type = NF3REG;
		e[i].name_handle.handle_follows = 1;
		e[i].name_handle.post_op_fh3_u.handle.data.data_len = sizeof fh;
		e[i].name_handle.post_op_fh3_u.handle.data.data_val = fh;
		e[i].nextentry = i < 2 ? &e[i + 1] : NULL;
	}
	r.READDIRPLUS3res_u.resok.reply.entries = e;
	return encode(LIST3, (zdrproc_t)zdr_READDIRPLUS3res, &r);
}

/* type, size, fileid, owner, mtime; as a block of XDR */
static const uint32_t attr_mask[2] = { 1u << 1 | 1u << 4 | 1u << 8 | 1u << 20,
				       1u << 1 | 1u << 4 | 1u << 21 };
static const char attr_block[] =
	"\0\0\0\1" "\0\0\0\0\0\0\0\5" "\0\0\0\0\0\0\0\1\0\0\0\0\0\0\0\2" "\0\0\0\0\0\0\0\7"
	"\0\0\1\244" "\0\0\0\4" "1000" "\0\0\0\0\1\2\3\4\0\0\0\5";

static struct seed attrs(void)
{
	struct seed s = { .bytes = { ATTR4 }, .size = 9 + sizeof attr_block - 1 };

	memcpy(s.bytes + 1, attr_mask, 8);
	memcpy(s.bytes + 9, attr_block, sizeof attr_block - 1);
	return s;
}

static struct seed compound(void)
{
	uint32_t mask[2] = { attr_mask[0], attr_mask[1] };
	entry4 e[2];
	nfs_resop4 op[4];
	COMPOUND4res r = { .resarray = { 4, op } };

	memset(e, 0, sizeof e);
	memset(op, 0, sizeof op);
	for (int i = 0; i < 2; i++) {
		e[i].cookie = 3;
		e[i].name = (component4){ 4, (char *)(uintptr_t)"name" };
		e[i].attrs.attrmask = (bitmap4){ 2, mask };
		e[i].attrs.attr_vals = (attrlist4){ sizeof attr_block - 1,
						    (char *)(uintptr_t)attr_block };
		e[i].nextentry = i ? NULL : &e[1];
	}
	op[0].resop = OP_PUTFH;
	op[1].resop = OP_READDIR;
	op[1].nfs_resop4_u.opreaddir.READDIR4res_u.resok4.reply.entries = e;
	op[2].resop = OP_GETATTR;
	op[2].nfs_resop4_u.opgetattr.GETATTR4res_u.resok4.obj_attributes = e[0].attrs;
	op[3].resop = OP_READ;
	op[3].nfs_resop4_u.opread.READ4res_u.resok4.data.data_len = 9;
	op[3].nfs_resop4_u.opread.READ4res_u.resok4.data.data_val = (char *)(uintptr_t)"some data";
	return encode(COMPOUND4, (zdrproc_t)zdr_COMPOUND4res, &r);
}

static size_t make_seeds(struct seed *s)
{
	READ3res read = { .status = NFS3_OK };
	READLINK3res link = { .status = NFS3_OK };
	LOOKUP3res lookup = { .status = NFS3_OK };
	mountres3 mount = { .fhs_status = MNT3_OK };
	size_t n = 0;

	read.READ3res_u.resok.data.data_len = 9;
	read.READ3res_u.resok.data.data_val = (char *)(uintptr_t)"some data";
	link.READLINK3res_u.resok.data = (char *)(uintptr_t)"a/target";
	lookup.LOOKUP3res_u.resok.object.data.data_len = 8;
	lookup.LOOKUP3res_u.resok.object.data.data_val = (char *)(uintptr_t)"8 bytes.";
	mount.mountres3_u.mountinfo.fhandle.fhandle3_len = 8;
	mount.mountres3_u.mountinfo.fhandle.fhandle3_val = (char *)(uintptr_t)"8 bytes.";
	s[n++] = attrs();
	s[n++] = list3();
	s[n++] = compound();
	s[n++] = encode(READ3, (zdrproc_t)zdr_READ3res, &read);
	s[n++] = encode(LINK3, (zdrproc_t)zdr_READLINK3res, &link);
	s[n++] = encode(LOOKUP3, (zdrproc_t)zdr_LOOKUP3res, &lookup);
	s[n++] = encode(MOUNT3, (zdrproc_t)zdr_mountres3, &mount);
	s[n++] = text(RULES, "read name=*.c after=2 count=3 every=2 delay=10s; any err=EIO\nlookup stall");
	s[n++] = text(URL, "nfs://[::1]:2049/a%20b/c?version=3&mountport=5&uid=1&gid=2");
	s[n++] = text(URL, "file:///a/./b//c");
	return n;
}

static uint64_t state = 88172645463325252ull;

static uint32_t rnd(uint32_t below)	/* xorshift64, Marsaglia 2003 */
{
	state ^= state << 13;
	state ^= state >> 7;
	state ^= state << 17;
	return (uint32_t)(state >> 32) % below;
}

static void mutate(struct seed *s)
{
	static const uint32_t nasty[] = { 0, 1, 3, 0x7fffffff, 0x80000000, 0xffffffff, 0xfffffffc,
					  0x40000000, 65, 129, 1025 };
	unsigned times = 1 + rnd(4);

	while (times--) {
		size_t at = s->size > 1 ? 1 + rnd((uint32_t)s->size - 1) : 0;
		uint32_t v = __builtin_bswap32(nasty[rnd(sizeof nasty / sizeof *nasty)]);

		switch (rnd(4)) {
		case 0:
			s->bytes[at] ^= (uint8_t)(1u << rnd(8));
			break;
		case 1:		/* a length, where lengths are */
			at = 1 + ((at - 1) & ~(size_t)3);
			if (at + 4 <= s->size)
				memcpy(s->bytes + at, &v, 4);
			break;
		case 2:
			s->size = at ? at : 1;
			break;
		case 3:
			s->bytes[at] = (uint8_t)rnd(256);
			break;
		}
	}
}

int main(void)
{
	static struct seed seeds[16], s;
	size_t n = make_seeds(seeds), i;

	for (i = 0; i < n; i++)
		LLVMFuzzerTestOneInput(seeds[i].bytes, seeds[i].size);
	if (!sink) {
		fprintf(stderr, "the seeds were not decoded\n");
		return 1;
	}
	for (i = 0; i < ROUNDS; i++) {
		s = seeds[rnd((uint32_t)n)];
		mutate(&s);
		LLVMFuzzerTestOneInput(s.bytes, s.size);
	}
	return 0;
}

#endif
