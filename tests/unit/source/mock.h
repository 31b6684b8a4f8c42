/* SPDX-License-Identifier: GPL-3.0-or-later */
/*
 * A server for MOUNT v3 and NFS v3 on one loopback port that answers what a
 * test tells it to, byte by byte; for replies that no honest server sends.
 *
 * Threads: one for each connection; answer() is called under one lock.
 */
#ifndef DMM_TEST_MOCK_H
#define DMM_TEST_MOCK_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

enum mock_proc {	/* program * 100 + procedure, programs numbered 0 (NFS) and 1 (MOUNT) */
	MOCK_NULL = 0, MOCK_GETATTR = 1, MOCK_LOOKUP = 3, MOCK_READLINK = 5, MOCK_READ = 6,
	MOCK_READDIRPLUS = 17, MOCK_FSSTAT = 18, MOCK_FSINFO = 19, MOCK_MNT = 101,
};

struct mock_call {
	int proc;			/* enum mock_proc, or something else */
	const unsigned char *args;	/* XDR, padded with zeros to 64 bytes at least */
	size_t args_len;
	uint32_t xid;
};

/* The reply: bytes after the RPC header, unless raw. */
struct mock_out {
	unsigned char bytes[1 << 17];
	size_t len;
	bool raw;	/* bytes are the whole message, record mark included */
	bool hangup;	/* close the connection instead */
	uint32_t accept;	/* accept_stat of the RPC header */
};

struct mock;

struct mock *mock_start(void (*answer)(const struct mock_call *c, struct mock_out *out, void *arg),
			void *arg);
uint16_t mock_port(struct mock *m);
void mock_stop(struct mock *m);

/* An honest server with an empty root directory: NULL, MNT, FSINFO, GETATTR. */
void mock_honest(const struct mock_call *c, struct mock_out *out);

void mock_u32(struct mock_out *o, uint32_t v);
void mock_u64(struct mock_out *o, uint64_t v);
void mock_bytes(struct mock_out *o, const void *p, uint32_t len);	/* opaque<> */
/* fattr3 of a directory (type 2) or file (type 1). */
void mock_fattr(struct mock_out *o, uint32_t type, uint64_t size);

#endif
